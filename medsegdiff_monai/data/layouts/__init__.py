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

from .brats import read_brats
from .ddti import read_ddti
from .folder import read_folder
from .layout import LayoutCase, LayoutData
from .msd import read_msd
from .pairs import UNITED_LABELS
from .refuge2 import read_refuge2
from .splits import DEFAULT_SPLIT, SECTIONS, parse_split, sections_of, split_by_patient
