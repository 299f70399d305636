# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from medsegdiff_monai.utils import check_writable, printable, replace_atomically

__all__ = ["DPI", "displayable", "draw_contour", "draw_image", "new_figure", "pixels_of", "plain", "save_figure"]

DPI = 150
# What lies beyond these percentiles is shown as black or white: one bright vessel would leave everything else dark.
_DARKEST, _BRIGHTEST = 0.5, 99.5


def displayable(image: np.ndarray) -> np.ndarray:
    """An image, of any shape, as float in [0, 1]: bytes as they are, anything else stretched over its finite range."""
    if image.dtype == np.uint8:
        return image / 255.0
    finite = image[np.isfinite(image)].astype(float)
    low, high = np.percentile(finite, (_DARKEST, _BRIGHTEST)) if finite.size else (0.0, 1.0)
    if high <= low:
        low, high = float(finite.min()), float(finite.max())
    stretched = (image.astype(float) - low) / (high - low if high > low else 1.0)
    return np.clip(np.nan_to_num(stretched), 0.0, 1.0)


def plain(text: str) -> str:
    """Text in one line that Matplotlib draws as it is and does not read as a formula, such as the name of a file."""
    return printable(text).replace("$", r"\$")


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of a width and a height in inches, which pyplot knows nothing of."""
    return Figure(figsize=(width, height), dpi=DPI, layout="constrained")


def draw_image(axes: Axes, image: np.ndarray, aspect: float = 1.0) -> None:
    """Draw an image.

    Args:
        axes: where.
        image: ``(rows, columns)`` or ``(rows, columns, 3)``, in [0, 1] as :func:`displayable` gives it.
        aspect: height of a pixel over its width.
    """
    axes.imshow(image, cmap="gray", vmin=0.0, vmax=1.0, aspect=aspect)


def draw_contour(
    axes: Axes, mask: np.ndarray, colour: str, style: str = "solid", width: float = 1.5, edged: bool = True
) -> None:
    """Outline a mask, closed along the border of the image.

    Args:
        axes: where an image of the mask's shape has been drawn.
        mask: ``(rows, columns)``, foreground where not 0.
        colour: colour of the line.
        style: style of the line, as ``"dashed"``.
        width: its width in points.
        edged: whether it gets a dark edge, which makes it show on any background.
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


def pixels_of(figure: Figure) -> np.ndarray:
    """RGB pixels ``(rows, columns, 3)`` of a figure of :func:`new_figure`, uint8."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def save_figure(figure: Figure, path: str | os.PathLike[str]) -> Path:
    """Save a figure; the suffix of the path gives the format.

    Raises:
        InputError: when the folder cannot be written to.
    """
    target = Path(path)
    check_writable(target.parent)
    replace_atomically(target, figure.savefig)
    return target
