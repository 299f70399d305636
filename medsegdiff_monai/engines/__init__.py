# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0
"""Engine parts: evaluator, preparation of batches, networks for training, learning rate schedule."""

from .evaluator import DiffusionSegmentationEvaluator
from .training import (
    DiffusionSegmentationPrepareBatch,
    EpochCosineSchedule,
    averaged_network,
    trainable_denoiser,
)
