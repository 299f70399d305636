# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from monai.config import PathLike

from medsegdiff_monai.utils import check_writable, printable, replace_atomically

__all__ = [
    "CURVE_COLOURS",
    "REFERENCE_COLOUR",
    "REGION_COLOURS",
    "display_window",
    "displayable",
    "draw_contour",
    "draw_image",
    "draw_letters",
    "draw_scale_bar",
    "new_figure",
    "pixels_of",
    "plain",
    "region_colour",
    "rgb",
    "round_length",
    "save_figure",
]

# Colours that stay apart for the colour-blind (Okabe and Ito, https://jfly.uni-koeln.de/color/).
_ORANGE, _SKY_BLUE, _GREEN, _YELLOW = "#E69F00", "#56B4E9", "#009E73", "#F0E442"
_BLUE, _VERMILION, _PURPLE, _BLACK = "#0072B2", "#D55E00", "#CC79A7", "#000000"
# Regions lie on dark images, so black and blue are left out; curves lie on white paper.
REGION_COLOURS = (_ORANGE, _SKY_BLUE, _GREEN, _YELLOW, _PURPLE, _VERMILION)
CURVE_COLOURS = (_BLUE, _VERMILION, _GREEN, _PURPLE, _ORANGE, _SKY_BLUE, _BLACK)
# No region has it, so that a reference cannot be taken for a region's own contour.
REFERENCE_COLOUR = "#FFFFFF"

_DPI = 150
# What lies beyond these percentiles is shown as black or white: one bright vessel would leave everything else dark.
_DARKEST, _BRIGHTEST = 0.5, 99.5
_BAR_SHARE = 0.33  # of the width that a scale bar may have
_LETTERS = (
    (0.02, 0.5, "left", "center"),
    (0.98, 0.5, "right", "center"),
    (0.5, 0.98, "center", "top"),
    (0.5, 0.02, "center", "bottom"),
)


def region_colour(index: int) -> str:
    """Colour of the region at a place in its order, as ``#RRGGBB``; after the last one they start again."""
    return REGION_COLOURS[index % len(REGION_COLOURS)]


def rgb(colour: str) -> tuple[int, int, int]:
    """Red, green and blue from 0 to 255 of a colour ``#RRGGBB``."""
    red, green, blue = bytes.fromhex(colour[1:])
    return red, green, blue


def display_window(image: np.ndarray) -> tuple[float, float]:
    """The values of an image, of any shape, that are shown black and white; the second is the larger one.

    Bytes are shown as they are, from 0 to 255; anything else from the 0.5th to the 99.5th percentile of its finite
    values, so that a few bright pixels do not darken the rest.
    """
    if image.dtype == np.uint8:
        return 0.0, 255.0
    finite = image[np.isfinite(image)]
    low, high = (float(v) for v in np.percentile(finite, (_DARKEST, _BRIGHTEST))) if finite.size else (0.0, 1.0)
    if low == high and finite.size:  # hardly any pixel differs: show those that do
        low, high = float(finite.min()), float(finite.max())
    return low, high if high > low else low + 1.0


def displayable(image: np.ndarray) -> np.ndarray:
    """An image, of any shape, as float in [0, 1]: bytes as they are, anything else within its display window."""
    numbers = image if image.dtype == np.uint8 else image.astype(float)
    low, high = display_window(numbers)
    return np.clip(np.nan_to_num((numbers - low) / (high - low)), 0.0, 1.0)


def plain(text: str) -> str:
    """Text in one line that Matplotlib draws as it is and does not read as a formula, such as the name of a file."""
    return printable(text).replace("$", r"\$")


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of a width and a height in inches, which pyplot knows nothing of."""
    return Figure(figsize=(width, height), dpi=_DPI, layout="constrained")


def draw_image(axes: Axes, image: np.ndarray, aspect: float = 1.0) -> None:
    """Draw ``(rows, columns)`` or ``(rows, columns, 3)`` in [0, 1]; the aspect is a pixel's height over its width."""
    axes.imshow(image, cmap="gray", vmin=0.0, vmax=1.0, aspect=aspect)


def draw_contour(
    axes: Axes, mask: np.ndarray, colour: str, style: str = "solid", width: float = 1.5, edged: bool = True
) -> None:
    """Outline a mask ``(rows, columns)``, not 0 in the foreground, closed along the border of the image drawn before.

    The width is in points. A line that is edged has a dark edge, which makes it show on any background.
    """
    foreground = np.pad(mask != 0, 1)
    if not foreground.any():
        return
    rows, columns = foreground.shape
    contours = axes.contour(
        np.arange(columns) - 1, np.arange(rows) - 1, foreground.astype(float), [0.5], colors=colour, linestyles=style
    )
    effects = [withStroke(linewidth=width + 1.2, foreground="black", alpha=0.6)] if edged else []
    contours.set(linewidth=width, path_effects=effects, clip_on=False, zorder=3)  # above the frame, where they meet it
    axes.set(xlim=(-0.5, columns - 2.5), ylim=(rows - 2.5, -0.5))  # the rim of padding stays out of sight


def round_length(most: float) -> float:
    """The longest of 1, 2 and 5 times a power of ten that is not above a length, which must be positive."""
    power = 10.0 ** math.floor(math.log10(most))
    return next(step * power for step in (5.0, 2.0, 1.0) if step * power <= most * (1.0 + 1e-9))


def draw_scale_bar(axes: Axes, columns: int, rows: int, millimetres: float, aspect: float) -> None:
    """Draw a bar of a round length, with the length, in the lower right corner of an image of these columns and rows.

    A pixel is that many millimetres wide; its height over its width is the aspect.
    """
    length = round_length(_BAR_SHARE * columns * millimetres)
    width, height = length / millimetres, 0.015 * columns / aspect
    left, top = 0.97 * columns - 0.5 - width, rows - 0.5 - 0.03 * columns / aspect - height
    axes.add_patch(Rectangle((left, top), width, height, facecolor="white", edgecolor="none", zorder=5))
    axes.add_patch(Rectangle((left, top), width, height, fill=False, edgecolor="black", linewidth=1.5, zorder=4))
    _write(axes, left + width / 2, top - 0.015 * columns / aspect, f"{length:g} mm", "center", "bottom", inside=False)


def draw_letters(axes: Axes, letters: Sequence[str]) -> None:
    """Write the patient's sides at the left, right, top and bottom of a slice."""
    for letter, (x, y, horizontal, vertical) in zip(letters, _LETTERS):
        _write(axes, x, y, letter, horizontal, vertical, inside=True)


def _write(axes: Axes, x: float, y: float, text: str, horizontal: str, vertical: str, inside: bool) -> None:
    """Write white on any background, at a place in shares of the axes or in pixels of the image."""
    transform = axes.transAxes if inside else axes.transData
    font = {"color": "white", "fontsize": 8, "fontweight": "bold"}
    edge = [withStroke(linewidth=2.0, foreground="black")]
    axes.text(x, y, text, font, transform=transform, ha=horizontal, va=vertical, path_effects=edge, zorder=5)


def pixels_of(figure: Figure) -> np.ndarray:
    """RGB pixels ``(rows, columns, 3)`` of a figure of :func:`new_figure`, uint8."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def save_figure(figure: Figure, path: PathLike) -> Path:
    """Save a figure; the suffix of the path gives the format.

    Raises:
        InputError: when the folder cannot be written to.
    """
    target = Path(path)
    check_writable(target.parent)
    replace_atomically(target, figure.savefig)
    return target
