# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from .dpm_solver import DPMSolverScheduler
from .linear_step import LinearStepScheduler, linear_step, log_snr_timesteps
from .prediction import MaskScale, predicted_original
from .subsequence import DDIMSubsequenceScheduler, DDPMSubsequenceScheduler
