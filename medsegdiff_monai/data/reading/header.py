# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from medsegdiff_monai.data.reading.unreadable import UnreadableFileError

__all__ = ["DEFLATE_RATIO", "JPEG_RATIO", "MAX_VALUES", "FileHeader", "check_declared"]

# Of one file, all channels together: 2 GiB as float32.
MAX_VALUES = 2**29
DEFLATE_RATIO = 1032  # bytes that a byte of deflate stands for at most
JPEG_RATIO = 512  # pixels that a byte of JPEG stands for at most: a block of 8 x 8 takes one bit or more


@dataclass(frozen=True)
class FileHeader:
    """The statements of an image file about itself, read without its pixels.

    Attributes:
        kind: ``"PNG"``, ``"JPEG"``, ``"BMP"``, ``"TIFF"`` or ``"NIfTI"``.
        shape: columns and rows of a picture as it is shown, or voxels along the two or three axes of a NIfTI file.
        channels: number of channels of the image; a palette's colours are three.
        orientation: EXIF orientation of a picture, 1 to 8; None where the file states none.
        affine: voxel to world (RAS, mm), of shape ``(4, 4)``; the identity for a picture.
        spacing: distances of neighbouring voxels in mm; None for a picture, which states at most how large it is
            printed.
        metadata: further entries for the metadata of the image.
    """

    kind: str
    shape: tuple[int, ...]
    channels: int
    orientation: int | None = None
    affine: np.ndarray = field(default_factory=lambda: np.eye(4))
    spacing: tuple[float, ...] | None = None
    metadata: dict[str, Any] = field(default_factory=dict)

    @property
    def values(self) -> int:
        """Number of values of the image; as float32 they take four bytes each."""
        return math.prod(self.shape) * self.channels


def check_declared(shape: tuple[int, ...], values: int, needed_bytes: float, file_bytes: int) -> None:
    """Refuse sizes that a file cannot hold, or that are beyond the limit, before anything is allocated.

    Args:
        shape: declared size of the image, for the message.
        values: declared number of values, all channels together.
        needed_bytes: number of bytes that the file has at least if it holds that many values.
        file_bytes: number of bytes that it has.

    Raises:
        UnreadableFileError: when the declared size is not possible or above ``MAX_VALUES``.
    """
    size = " x ".join(str(n) for n in shape)
    if min(shape) < 1:
        raise UnreadableFileError(f"has no pixels ({size}): replace it.")
    if needed_bytes > file_bytes:
        raise UnreadableFileError(
            f"cannot be read: it is damaged or truncated, as its {file_bytes} bytes cannot hold {size} pixels as it "
            "declares; replace it."
        )
    if values > MAX_VALUES:
        raise UnreadableFileError(
            f"is too large: it declares {size} pixels with {values} values in all, at most {MAX_VALUES} are read; "
            "make it smaller."
        )
