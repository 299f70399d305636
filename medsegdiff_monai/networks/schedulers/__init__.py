# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0
"""Schedulers: samplers as a table of four numbers a step, prediction types, and the scale of masks."""

from .linear_step import LinearStepScheduler, linear_step, log_snr_timesteps
from .prediction import MaskScale, predicted_original
from .samplers import DDIMSubsequenceScheduler, DDPMSubsequenceScheduler, DPMSolverScheduler
