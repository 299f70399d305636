# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from medsegdiff_monai.data.reading.header import FileHeader
from medsegdiff_monai.data.reading.kinds import NIFTI, file_kind
from medsegdiff_monai.data.reading.labels import label_map
from medsegdiff_monai.data.reading.nifti import nifti_header, read_nifti
from medsegdiff_monai.data.reading.orientation import turned
from medsegdiff_monai.data.reading.picture import picture_header, read_picture
from medsegdiff_monai.data.reading.tiff import read_tiff, tiff_header
from medsegdiff_monai.data.reading.unreadable import naming

__all__ = ["read_header", "read_image", "read_label"]


def read_header(path: str | os.PathLike[str], which: str | None = None) -> FileHeader:
    """The statements of an image file about itself, checked against its size and against the limit on values.

    Args:
        path: PNG, JPEG, BMP, TIFF or NIfTI file, whatever its name.
        which: the file as the subject of a sentence; None for ``The file <path>``.

    Raises:
        InputError: when the file is none of these, or declares a size that it cannot have or that is too large.
    """
    with naming(which or f"The file {path}"):
        return _header(Path(path))


def read_image(path: str | os.PathLike[str], which: str | None = None) -> tuple[np.ndarray, FileHeader]:
    """The intensities of an image file, a picture as it is shown.

    Args:
        path: PNG, JPEG, BMP, TIFF or NIfTI file, whatever its name.
        which: the file as the subject of a sentence; None for ``The file <path>``.

    Returns:
        The image of shape ``(C, columns, rows)`` or ``(C, X, Y[, Z])``, float32, and its header.

    Raises:
        InputError: when the file cannot be read, or not without guessing.
    """
    with naming(which or f"The file {path}"):
        pixels, header = _pixels(Path(path), is_label=False)
        return _channel_first(pixels), header


def read_label(path: str | os.PathLike[str], which: str | None = None) -> tuple[np.ndarray, FileHeader]:
    """The label values of a file, a picture as its own EXIF orientation says that it is shown.

    Palettes are not applied. Colours that are equal are one channel, and values that are whole up to 0.001 are whole.

    Args:
        path: PNG, JPEG, BMP, TIFF or NIfTI file, whatever its name.
        which: the file as the subject of a sentence; None for ``The file <path>``.

    Returns:
        The label of shape ``(C, columns, rows)`` or ``(C, X, Y[, Z])``, float32, and its header.

    Raises:
        InputError: when the file cannot be read, or not without guessing.
    """
    with naming(which or f"The file {path}"):
        pixels, header = _pixels(Path(path), is_label=True)
        return _channel_first(label_map(pixels)), header


def _header(path: Path) -> FileHeader:
    kind = file_kind(path)
    if kind == NIFTI:
        return nifti_header(path)
    return tiff_header(path) if kind == "TIFF" else picture_header(path, kind)


def _pixels(path: Path, is_label: bool) -> tuple[np.ndarray, FileHeader]:
    """Pixels of shape ``(*spatial, channels)``, float32, contiguous, and the header."""
    header = _header(path)
    if header.kind == NIFTI:
        return read_nifti(path, header), header
    read = read_tiff if header.kind == "TIFF" else read_picture
    stored = read(path, header, is_label)
    stored = stored.reshape((*stored.shape[:2], -1)).swapaxes(0, 1)
    return np.ascontiguousarray(turned(stored, header.orientation), dtype=np.float32), header


def _channel_first(pixels: np.ndarray) -> np.ndarray:
    """A view of shape ``(C, *spatial)``, with the usual strides where there is one channel."""
    spatial = pixels.shape[:-1]
    return pixels.reshape((1, *spatial)) if pixels.shape[-1] == 1 else np.moveaxis(pixels, -1, 0)
