# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

__all__ = ["CURVE_COLOURS", "REFERENCE_COLOUR", "REGION_COLOURS", "region_colour", "rgb"]

# Colours that stay apart for the colour-blind (Okabe and Ito, https://jfly.uni-koeln.de/color/).
_ORANGE, _SKY_BLUE, _GREEN, _YELLOW = "#E69F00", "#56B4E9", "#009E73", "#F0E442"
_BLUE, _VERMILION, _PURPLE, _BLACK = "#0072B2", "#D55E00", "#CC79A7", "#000000"

# Regions lie on dark images, so black and blue are left out; curves lie on white paper.
REGION_COLOURS = (_ORANGE, _SKY_BLUE, _GREEN, _YELLOW, _PURPLE, _VERMILION)
CURVE_COLOURS = (_BLUE, _VERMILION, _GREEN, _PURPLE, _ORANGE, _SKY_BLUE, _BLACK)
# No region has it, so that a reference cannot be taken for a region's own contour.
REFERENCE_COLOUR = "#FFFFFF"


def region_colour(index: int) -> str:
    """Colour of the region at a place in its order, as ``#RRGGBB``; after the last one they start again."""
    return REGION_COLOURS[index % len(REGION_COLOURS)]


def rgb(colour: str) -> tuple[int, int, int]:
    """Red, green and blue from 0 to 255 of a colour ``#RRGGBB``."""
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return red, green, blue
