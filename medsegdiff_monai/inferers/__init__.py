# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0
"""Inferers that join a network with a sampler, for segmentation and for training, and ensembles of members."""

from .diffusion_segmentation import DiffusionSegmentationInferer, member_noise
from .ensemble import EnsembleScores, EnsembleStatistics, SegmentationPrediction, binary_entropy
from .training import DiffusionTrainingInferer
