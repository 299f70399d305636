# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from .dce_unet import VARIANTS, DCEUNet
from .denoisers import ContextDenoiser, ImageOnlyDenoiser
from .medsegdiff import MedSegDiff
