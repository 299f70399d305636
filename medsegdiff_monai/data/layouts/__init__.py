# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

"""Data sets as their owners give them, read into cases and shared out to the sections of a datalist.

Each ``read_*`` gives a ``LayoutData``: the usable cases, and for everything else which file it is and what to do.
"""

from .brats import contrast_files, read_brats
from .ddti import read_ddti
from .folder import UNITED_LABELS, read_folder
from .layout import DEFAULT_SPLIT, SECTIONS, LayoutCase, LayoutData, parse_split, sections_of, split_by_patient
from .msd import read_msd
from .refuge2 import read_refuge2
