# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

"""Image files to arrays: PNG, JPEG, BMP, TIFF and NIfTI, each checked by its header before its pixels are read.

``reader`` is the way in. ``header`` holds what all kinds share, and tells the kind of a file by its first bytes.
"""

from .header import MAX_VALUES, NIFTI, FileHeader, naming
from .nifti import stated_header
from .picture import as_shown, shown_size, turned
from .reader import label_turn, read_header, read_image, read_label
