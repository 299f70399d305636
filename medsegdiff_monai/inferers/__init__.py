# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from .diffusion_segmentation import DiffusionSegmentationInferer
from .ensemble import EnsembleStatistics, binary_entropy, predictive_entropy
from .prediction import CaseScores, EnsembleScores, SegmentationPrediction
from .training import DiffusionTrainingInferer
