# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from .cases import IMAGE_SUFFIXES, case_name
from .datalists import load_cases, read_datalist
from .folders import find_cases
from .loaders import EvaluationLoader, TrainingLoader
from .regions import Regions
from .screened_dataset import ScreenedDataset
