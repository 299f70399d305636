# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

import gzip
import math
from contextlib import AbstractContextManager
from itertools import product
from pathlib import Path
from typing import IO, Any

import nibabel as nib
import numpy as np
from monai.data.utils import correct_nifti_header_if_necessary
from nibabel.arrayproxy import ArrayProxy

from medsegdiff_monai.data.grids import grid_spacing
from medsegdiff_monai.data.reading.header import (
    DEFLATE_RATIO,
    GZIP,
    NIFTI,
    TRANSPARENT,
    FileHeader,
    UnreadableFileError,
    check_declared,
)

__all__ = ["nifti_header", "read_nifti", "stated_header"]

_LENGTH_UNIT = 0b111  # bits of xyzt_units
_IN_MM = {1: 1000.0, 3: 0.001}  # metres and micrometres; 2 is mm, and 0, unknown, is taken for mm
_BYTES_AT_ONCE = 2**22


def _is_compressed(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == GZIP


def _opened(path: Path) -> AbstractContextManager[IO[bytes]]:
    return gzip.open(path, "rb") if _is_compressed(path) else path.open("rb")  # type: ignore[return-value]


def stated_header(path: Path) -> Any:
    """The header of a NIfTI-1 or NIfTI-2 file, compressed with gzip or not, as it stands there, without extensions."""
    with _opened(path) as file:
        head = file.read(nib.Nifti2Header.sizeof_hdr)
    kind: Any = nib.Nifti2Header if head.startswith(b"n+2", 4) else nib.Nifti1Header
    return kind(head[: kind.sizeof_hdr])


def nifti_header(path: Path) -> FileHeader:
    """The header of a NIfTI file, checked."""
    header = stated_header(path)
    shape, channels = _axes(header)
    needed = header.get_data_offset() + math.prod(header.get_data_shape()) * header.get_data_dtype().itemsize
    ratio = DEFLATE_RATIO if _is_compressed(path) else 1
    check_declared(header.get_data_shape(), math.prod(shape) * channels, needed / ratio, path.stat().st_size)
    affine = _affine(header)
    unit = _IN_MM.get(int(header["xyzt_units"]) & _LENGTH_UNIT, 1.0)
    codes = {name: int(header[name]) for name in ("sform_code", "qform_code", "xyzt_units")}
    return FileHeader(
        NIFTI,
        shape,
        channels,
        affine=affine,
        spacing=tuple(n * unit for n in grid_spacing(affine, len(shape))),
        metadata={**codes, "original_affine": affine, "space": "RAS"},
    )


def _affine(header: Any) -> np.ndarray:
    """Voxel to world (RAS, mm), as MONAI mends it where it contradicts the voxel sizes."""
    stated = np.array(header.get_best_affine(), dtype=np.float64)
    if not np.isfinite(stated).all():
        raise UnreadableFileError("states no place in space (its affine has numbers that are not finite): mend it.")
    is_volume = min((*header.get_data_shape()[:3], 1, 1)[:3]) > 1
    if is_volume and np.linalg.matrix_rank(stated[:3, :3]) < 3:
        raise UnreadableFileError("states no place in space (two axes of its affine are one): mend its header.")
    # Of an image without voxels, which the correction does not look at.
    kind: Any = nib.Nifti2Image if isinstance(header, nib.Nifti2Header) else nib.Nifti1Image
    image = kind(np.broadcast_to(np.uint8(0), header.get_data_shape()), stated, header)
    return np.array(correct_nifti_header_if_necessary(image).affine, dtype=np.float64)


def _axes(header: Any) -> tuple[tuple[int, ...], int]:
    """Voxels along two or three spatial axes, and the number of channels.

    The axes of NIfTI are X, Y, Z, time and the components of a vector. Channels lie along any one of the last two, or
    are the colours of a voxel.
    """
    shape, dtype = tuple(int(n) for n in header.get_data_shape()), header.get_data_dtype()
    if dtype.kind == "c":
        raise UnreadableFileError("holds complex numbers: save their magnitude.")
    further = [n for n in shape[3:] if n != 1]
    colours = 1 if dtype.names is None else len(dtype.names)
    written = " x ".join(str(n) for n in shape)
    if len(shape) < 2:
        raise UnreadableFileError(f"has the shape {written or 'of no axis'}: an image has two or three spatial axes.")
    if len(further) > 1 or (further and colours > 1):
        raise UnreadableFileError(f"has the shape {written}, more than three axes and channels: save a part of it.")
    return shape[:3], (further[0] if further else 1) * min(colours, 3)


def read_nifti(path: Path, header: FileHeader) -> np.ndarray:
    """Voxels of a NIfTI file, of shape ``(*spatial, channels)``, float32, with slope and intercept applied.

    They are read in pieces, so that no copy of all of them in the file's own type is made.
    """
    stated = stated_header(path)
    dtype = stated.get_data_dtype()
    slope, inter = (None, None) if dtype.names else stated.get_slope_inter()
    scaling = (1.0 if slope is None else slope, 0.0 if inter is None else inter)
    columns, rows, planes = (*header.shape, 1)[:3]
    shape = columns, rows, planes, 1 if dtype.names else header.channels
    together = max(1, _BYTES_AT_ONCE // (columns * rows * dtype.itemsize))
    voxels = np.empty((columns, rows, planes, header.channels), np.float32)
    with _opened(path) as file:
        stored = ArrayProxy(file, (shape, dtype, stated.get_data_offset(), *scaling), mmap=False)
        for channel, first in product(range(shape[3]), range(0, planes, together)):
            part = slice(first, first + together)
            piece = stored[:, :, part, channel]
            if dtype.names is None:
                voxels[:, :, part, channel] = piece
                continue
            if len(dtype.names) > 3 and not (piece[dtype.names[3]] == 255).all():
                raise UnreadableFileError(TRANSPARENT)
            voxels[:, :, part] = np.stack([piece[name] for name in dtype.names[:3]], axis=-1)
    return voxels.reshape((*header.shape, header.channels))
