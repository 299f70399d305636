# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image

__all__ = ["ORIENTATION_TAG", "as_shown", "shown_size", "turned", "valid_orientation"]

ORIENTATION_TAG = 0x0112  # of EXIF and TIFF


def valid_orientation(value: Any) -> int | None:
    """An orientation as a file states it, or None where it is none of the eight."""
    return int(value) if isinstance(value, int) and 1 <= value <= 8 else None


def shown_size(size: tuple[int, int], orientation: int | None) -> tuple[int, int]:
    """Columns and rows of a picture as it is shown, from those that are stored (or the reverse)."""
    return size if orientation is None or orientation < 5 else (size[1], size[0])


def turned(pixels: np.ndarray, orientation: int | None) -> np.ndarray:
    """A view of a stored picture as it is shown.

    Args:
        pixels: stored pixels, of shape ``(columns, rows, ...)``.
        orientation: tag 0x0112 of EXIF 2.32, section 4.6.4: which sides the first row and column are shown at.

    Returns:
        The picture as it is shown, of shape ``(columns, rows, ...)``.
    """
    flips = {2: (0,), 3: (0, 1), 4: (1,), 6: (0,), 7: (0, 1), 8: (1,)}
    shown = np.swapaxes(pixels, 0, 1) if orientation is not None and orientation >= 5 else pixels
    return np.flip(shown, flips.get(orientation or 1, ()))


def as_shown() -> Image.Exif:
    """EXIF that says that a picture is stored as it is to be shown."""
    exif = Image.Exif()
    exif[ORIENTATION_TAG] = 1
    return exif
