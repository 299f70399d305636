# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from medsegdiff_monai.data.reading.header import NIFTI, FileHeader, UnreadableFileError, file_kind, naming
from medsegdiff_monai.data.reading.nifti import nifti_header, read_nifti
from medsegdiff_monai.data.reading.picture import picture_header, read_picture, shown_size, turned
from medsegdiff_monai.data.reading.tiff import read_tiff, tiff_header

__all__ = ["label_turn", "read_header", "read_image", "read_label"]

_ROUNDING = 1e-3


def read_header(path: str | os.PathLike[str], which: str | None = None) -> FileHeader:
    """The statements of an image file about itself, checked against its size and against the limit on values.

    The arguments are those of :func:`read_image`.
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
    """The label values of a file, of the shape of :func:`read_image`; its own EXIF orientation says how it is shown.

    Palettes are not applied. Colours that are equal are one channel, and values that are whole up to 0.001 are whole.
    """
    with naming(which or f"The file {path}"):
        pixels, header = _pixels(Path(path), is_label=True)
        if pixels.shape[-1] == 3 and all(np.array_equal(pixels[..., 0], pixels[..., c]) for c in (1, 2)):
            pixels = pixels[..., :1].copy()
        with np.errstate(invalid="ignore"):  # of infinite values, which stay as they are
            whole = all(np.abs(part - np.rint(part)).max() <= _ROUNDING for part in pixels)
        return _channel_first(np.rint(pixels, out=pixels) if whole else pixels), header


def label_turn(label: FileHeader, image: FileHeader) -> int:
    """The EXIF orientation by which a label, as it was read, is turned to lie on its image as that is shown.

    A label that states an orientation lies as it says. One that states none was drawn on the image as it is shown or as
    it is stored; its size has to tell which, or an ``UnreadableFileError`` is raised.
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
