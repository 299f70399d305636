# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

"""Cases and how they are found, named and loaded.

``reading`` reads image files, ``layouts`` data sets as their owners give them, ``phantoms`` draws data sets.
"""

from .cases import IMAGE_SUFFIXES, case_name
from .datalists import find_cases, load_cases, read_datalist
from .loaders import EvaluationLoader, ScreenedDataset, TrainingLoader
from .regions import Regions
