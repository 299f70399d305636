# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import base64
import io

import numpy as np
from matplotlib import colormaps
from PIL import Image

__all__ = ["colour_bar", "display_window", "grey_levels", "map_levels", "map_picture", "picture"]

_FADED = 0.1  # values under this share of the scale let more and more of the image through


def display_window(image: np.ndarray) -> tuple[float, float]:
    """The values of an image that are shown black and white.

    Bytes are shown as they are, from 0 to 255; anything else from the 0.5th to the 99.5th percentile of its finite
    values, so that a few bright pixels do not darken the rest.

    Args:
        image: image of any shape.

    Returns:
        The two values; the second is the larger one.
    """
    if image.dtype == np.uint8:
        return 0.0, 255.0
    finite = image[np.isfinite(image)]
    low, high = (float(v) for v in np.percentile(finite, (0.5, 99.5))) if finite.size else (0.0, 1.0)
    if low == high and finite.size:  # hardly any pixel differs: show those that do
        low, high = float(finite.min()), float(finite.max())
    return low, high if high > low else low + 1.0


def grey_levels(image: np.ndarray, window: tuple[float, float]) -> np.ndarray:
    """An image as bytes: 0 at the lower end of the window and below, 255 at the upper end and above, 0 if not finite.

    Args:
        image: image of any shape.
        window: see :func:`display_window`.

    Returns:
        uint8 of the same shape.
    """
    if image.dtype == np.uint8:
        return image
    low, high = window
    scaled = (np.nan_to_num(image.astype(np.float32), nan=low, posinf=low, neginf=low) - low) / (high - low)
    return np.rint(255.0 * np.clip(scaled, 0.0, 1.0)).astype(np.uint8)


def map_levels(values: np.ndarray, top: float) -> np.ndarray:
    """A map as bytes: 0 for 0 and 255 for the top of its scale.

    Args:
        values: map of any shape, from 0 to ``top``.
        top: top of the scale.

    Returns:
        uint8 of the same shape.
    """
    return np.rint(values * (255.0 / top)).astype(np.uint8)


def picture(levels: np.ndarray) -> str:
    """A grey or RGB picture as PNG in base64.

    Args:
        levels: uint8, of shape ``(rows, columns)`` or ``(rows, columns, 3)``.

    Returns:
        The text behind ``data:image/png;base64,``.
    """
    return _png(Image.fromarray(np.ascontiguousarray(levels)))


def map_picture(levels: np.ndarray, colours: str) -> str:
    """A map as a palette picture whose pixels are its levels, PNG in base64, or nothing where the map is 0 throughout.

    Level 0 is transparent, and the levels of the lowest tenth of the scale let the image through the more, the lower.

    Args:
        levels: uint8, of shape ``(rows, columns)``.
        colours: name of Matplotlib's colour map.

    Returns:
        The text behind ``data:image/png;base64,``.
    """
    if not levels.any():
        return ""
    coloured = Image.fromarray(np.ascontiguousarray(levels)).convert("L")
    coloured.putpalette(colormaps[colours](np.arange(256), bytes=True)[:, :3].tobytes())
    alpha = np.rint(255.0 * np.clip(np.arange(256) / (255.0 * _FADED), 0.0, 1.0)).astype(np.uint8)
    return _png(coloured, transparency=alpha.tobytes())


def colour_bar(colours: str) -> str:
    """The colours of a map from 0 on the left to the top of its scale, PNG in base64."""
    row = colormaps[colours](np.arange(256), bytes=True)[:, :3]
    return picture(np.broadcast_to(row, (8, 256, 3)))


def _png(image: Image.Image, **options: bytes) -> str:
    file = io.BytesIO()
    image.save(file, format="PNG", **options)
    return base64.b64encode(file.getvalue()).decode("ascii")
