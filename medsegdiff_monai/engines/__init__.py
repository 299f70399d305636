# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from .evaluator import DiffusionSegmentationEvaluator, MemberMeasurements
from .networks import averaged_network, trainable_denoiser
from .prepare_batch import DiffusionSegmentationPrepareBatch
from .schedule import EpochCosineSchedule
