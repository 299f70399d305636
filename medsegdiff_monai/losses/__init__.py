# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0
"""Losses of training."""

from .mask_denoising import MaskDenoisingLoss
