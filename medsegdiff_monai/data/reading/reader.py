# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

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
        file = Path(path)
        kind = file_kind(file)
        if kind == NIFTI:
            return nifti_header(file)
        return tiff_header(file) if kind == "TIFF" else picture_header(file, kind)


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
    which = which or f"The file {path}"
    with naming(which):
        return _read(Path(path), which, is_label=False)


def read_label(path: str | os.PathLike[str], which: str | None = None) -> tuple[np.ndarray, FileHeader]:
    """The label values of a file, of the shape of :func:`read_image`; its own EXIF orientation says how it is shown.

    Palettes are not applied. Colours that are equal are one channel, and values that are whole up to 0.001 are whole.
    """
    which = which or f"The file {path}"
    with naming(which):
        label, header = _read(Path(path), which, is_label=True)
        if len(label) == 3 and all(np.array_equal(label[0], label[c]) for c in (1, 2)):
            label = label[:1].copy()
        with np.errstate(invalid="ignore"):  # of infinite values, which stay as they are
            whole = all(np.abs(part - np.rint(part)).max() <= _ROUNDING for channel in label for part in channel)
        return np.rint(label, out=label) if whole else label, header


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


def _read(path: Path, which: str, is_label: bool) -> tuple[np.ndarray, FileHeader]:
    """Pixels of shape ``(C, *spatial)``, float32, and the header."""
    header = read_header(path, which)
    if header.kind == NIFTI:
        pixels = read_nifti(path, header)
    else:
        stored = (read_tiff if header.kind == "TIFF" else read_picture)(path, header, is_label)
        stored = stored.reshape((*stored.shape[:2], -1)).swapaxes(0, 1)
        pixels = np.ascontiguousarray(turned(stored, header.orientation), dtype=np.float32)
    if pixels.shape[-1] == 1:  # with the usual strides
        return pixels.reshape((1, *pixels.shape[:-1])), header
    return np.moveaxis(pixels, -1, 0), header
