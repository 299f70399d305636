# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0
"""Networks: the DCE-UNet, MedSegDiff with sampler and fusion inside, and denoisers made of other networks."""

from .dce_unet import VARIANTS, DCEUNet
from .denoisers import ContextDenoiser, ImageOnlyDenoiser
from .medsegdiff import MedSegDiff
