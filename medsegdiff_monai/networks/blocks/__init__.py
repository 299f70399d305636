# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from .attention import SelfAttentionBlock
from .dynamic_fusion import DynamicConditionalFusion, NoFusion
from .ff_parser import FFParser, resample_spectrum
from .heads import PredictionHeads
from .levels import check_levels, per_level
from .patches import patches_to_space, space_to_patches
from .residual import ResidualBlock, conv, initialise_convolutions, norm_groups
from .stages import Decoder, Encoder, Stage
