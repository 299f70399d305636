# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from .header import MAX_VALUES, FileHeader
from .kinds import NIFTI
from .labels import label_turn
from .nifti import stated_header
from .orientation import as_shown, turned
from .reader import read_header, read_image, read_label
