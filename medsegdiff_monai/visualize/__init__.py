# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from .animation import ANIMATION_SUFFIXES, save_animation
from .case import PicturedCase
from .colours import CURVE_COLOURS, REFERENCE_COLOUR, REGION_COLOURS, region_colour, rgb
from .curve import save_curve
from .overlay import save_overlay
from .overview import OverviewRow, save_overview
from .planes import Plane, plane_of
from .reliability import save_reliability_diagram
from .validation import validation_picture
from .views import View, largest_view, views_of
