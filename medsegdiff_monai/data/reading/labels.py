# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import numpy as np

from medsegdiff_monai.data.reading.header import FileHeader
from medsegdiff_monai.data.reading.orientation import shown_size
from medsegdiff_monai.data.reading.unreadable import UnreadableFileError

__all__ = ["label_map", "label_turn"]

_ROUNDING = 1e-3


def label_map(pixels: np.ndarray) -> np.ndarray:
    """The values of a label file: those of one channel where all are equal, and whole where rounding explains it.

    Args:
        pixels: float32, of shape ``(*spatial, channels)``.
    """
    if pixels.shape[-1] == 3 and all(np.array_equal(pixels[..., 0], pixels[..., c]) for c in (1, 2)):
        pixels = pixels[..., :1].copy()
    with np.errstate(invalid="ignore"):  # of infinite values, which stay as they are
        whole = all(np.abs(part - np.rint(part)).max() <= _ROUNDING for part in pixels)
    return np.rint(pixels, out=pixels) if whole else pixels


def label_turn(label: FileHeader, image: FileHeader) -> int:
    """The orientation by which a label, as it was read, is to be turned to lie on its image as it is shown.

    A label that states an EXIF orientation lies as it says. One that states none was drawn on the image as it is shown
    or as it is stored, and its size has to tell which.

    Args:
        label: header of the label.
        image: header of its image.

    Raises:
        UnreadableFileError: when it may have been either.
    """
    orientation = image.orientation or 1
    if orientation == 1 or label.orientation is not None:
        return 1
    size, shown = label.shape[:2], (image.shape[0], image.shape[1])
    stored = shown_size(shown, orientation)
    if size == shown == stored:
        raise UnreadableFileError(
            f"may lie on its image as it is shown or as it is stored, which differ by the EXIF orientation "
            f"{orientation}: give the label that orientation too, or 1 where it lies on the image as shown."
        )
    return orientation if size == stored else 1
