# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0
"""Building blocks of the DCE-UNet: FF-Parser, dynamic conditional fusion, stages, heads."""

from .dynamic_fusion import DynamicConditionalFusion, NoFusion
from .ff_parser import FFParser, resample_spectrum
from .heads import PredictionHeads, patches_to_space, space_to_patches
from .residual import ResidualBlock, conv, initialise_convolutions, norm_groups, per_level
from .stages import Decoder, Encoder, SelfAttentionBlock, Stage
