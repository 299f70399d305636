# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

"""Pictures of cases, results and training, drawn with Matplotlib and without its global state.

- ``case``: a case as it is shown: image, masks, maps and members on one grid.
- ``views``: how volumes lie on the screen, and which of their slices are shown.
- ``overlay``: a segmented case and a case in validation, column by column; ``animation``: how its mask comes about.
- ``overview``: several cases, a row each; ``reliability``: the reliability diagram.
- ``drawing``: colours, contours, scale bars and figures, which all of them share.
"""

from .animation import ANIMATION_SUFFIXES, save_animation
from .case import PicturedCase
from .drawing import REFERENCE_COLOUR, REGION_COLOURS, display_window, region_colour, rgb
from .overlay import save_overlay, validation_picture
from .overview import save_overview
from .reliability import reliability_figure, save_reliability_diagram
from .views import Plane, View, largest_view, plane_of, views_of
