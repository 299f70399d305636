# Copyright (c) MedSegDiff-MONAI contributors
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#     http://www.apache.org/licenses/LICENSE-2.0
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.

from .attention import SelfAttentionBlock
from .dynamic_fusion import DynamicConditionalFusion, NoFusion
from .ff_parser import FFParser, resample_spectrum
from .heads import PredictionHeads
from .levels import check_levels, per_level
from .patches import patches_to_space, space_to_patches
from .residual import ResidualBlock, conv, initialise_convolutions, norm_groups
from .stages import Decoder, Encoder, Stage
