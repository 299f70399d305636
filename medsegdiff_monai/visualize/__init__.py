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

from .case import PicturedCase
from .colours import CURVE_COLOURS, REFERENCE_COLOUR, REGION_COLOURS, region_colour, rgb
from .curve import save_curve
from .film import FILM_SUFFIXES, save_film
from .overlay import save_overlay
from .overview import OverviewRow, save_overview
from .planes import Plane, plane_of
from .reliability import save_reliability_diagram
from .validation import validation_picture
from .views import View, largest_view, views_of
