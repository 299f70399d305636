# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke

from medsegdiff_monai.visualize.views import View

__all__ = ["draw_letters", "draw_scale_bar", "round_length"]

_SHARE = 0.33  # of the width that a scale bar may have
_PLACES = (
    (0.02, 0.5, "left", "center"),
    (0.98, 0.5, "right", "center"),
    (0.5, 0.98, "center", "top"),
    (0.5, 0.02, "center", "bottom"),
)


def round_length(most: float) -> float:
    """The longest of 1, 2 and 5 times a power of ten that is not above a length, which must be positive."""
    power = 10.0 ** math.floor(math.log10(most))
    return next(step * power for step in (5.0, 2.0, 1.0) if step * power <= most * (1.0 + 1e-9))


def draw_scale_bar(axes: Axes, columns: int, rows: int, millimetres: float, aspect: float) -> None:
    """Draw a bar of a round length in the lower right corner, with the length.

    Args:
        axes: where an image of these columns and rows has been drawn.
        columns: width of the image in pixels.
        rows: height of the image in pixels.
        millimetres: width of a pixel in mm.
        aspect: height of a pixel over its width.
    """
    length = round_length(_SHARE * columns * millimetres)
    width, height = length / millimetres, 0.015 * columns / aspect
    left, top = 0.97 * columns - 0.5 - width, rows - 0.5 - 0.03 * columns / aspect - height
    axes.add_patch(Rectangle((left, top), width, height, facecolor="white", edgecolor="none", zorder=5))
    outline = Rectangle((left, top), width, height, facecolor="none", edgecolor="black", linewidth=1.5, zorder=4)
    axes.add_patch(outline)
    _write(axes, left + width / 2, top - 0.015 * columns / aspect, f"{length:g} mm", "center", "bottom", inside=False)


def draw_letters(axes: Axes, view: View) -> None:
    """Write the patient's sides at the borders of a slice, where they are known."""
    letters: Sequence[str] = view.plane.letters or ()
    for letter, (x, y, horizontal, vertical) in zip(letters, _PLACES):
        _write(axes, x, y, letter, horizontal, vertical, inside=True)


def _write(axes: Axes, x: float, y: float, text: str, horizontal: str, vertical: str, inside: bool) -> None:
    """Write white on any background, at a place in shares of the axes or in pixels of the image."""
    axes.text(
        x,
        y,
        text,
        transform=axes.transAxes if inside else axes.transData,
        ha=horizontal,
        va=vertical,
        color="white",
        fontsize=8,
        fontweight="bold",
        path_effects=[withStroke(linewidth=2.0, foreground="black")],
        zorder=5,
    )
