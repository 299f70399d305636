# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import gzip
import math
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO, Any

import nibabel as nib
import numpy as np
from monai.data.utils import correct_nifti_header_if_necessary
from nibabel.volumeutils import apply_read_scaling

from medsegdiff_monai.data.grids import grid_spacing
from medsegdiff_monai.data.reading.header import DEFLATE_RATIO, FileHeader, check_declared
from medsegdiff_monai.data.reading.kinds import NIFTI, is_gzip
from medsegdiff_monai.data.reading.unreadable import UnreadableFileError

__all__ = ["nifti_header", "read_nifti", "stated_header"]

_LENGTH_UNIT = 0b111  # bits of xyzt_units
_IN_MM = {1: 1000.0, 3: 0.001}  # metres and micrometres; 2 is mm, and 0, unknown, is taken for mm
_BYTES_AT_ONCE = 2**22


def _opened(path: Path) -> AbstractContextManager[IO[bytes]]:
    with path.open("rb") as file:
        compressed = is_gzip(file.read(2))
    return gzip.open(path, "rb") if compressed else path.open("rb")  # type: ignore[return-value]


def stated_header(path: Path) -> Any:
    """The header of a NIfTI-1 or NIfTI-2 file as it stands there, without its extensions.

    Args:
        path: the file, compressed with gzip or not.
    """
    with _opened(path) as file:
        head = file.read(nib.Nifti2Header.sizeof_hdr)
    kind: Any = nib.Nifti2Header if head.startswith(b"n+2", 4) else nib.Nifti1Header
    return kind(head[: kind.sizeof_hdr])


def nifti_header(path: Path) -> FileHeader:
    """The header of a NIfTI file.

    Args:
        path: the file, compressed with gzip or not.

    Raises:
        UnreadableFileError: when it has too few or too many axes, or declares a size that it cannot have.
    """
    header = stated_header(path)
    shape, channels = _axes(header)
    itemsize, count = header.get_data_dtype().itemsize, math.prod(header.get_data_shape())
    with path.open("rb") as file:
        ratio = DEFLATE_RATIO if is_gzip(file.read(2)) else 1
    needed = (header.get_data_offset() + count * itemsize) / ratio
    check_declared(header.get_data_shape(), math.prod(shape) * channels, needed, path.stat().st_size)
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
    image = kind(np.broadcast_to(np.uint8(0), header.get_data_shape()), header.get_best_affine(), header)
    return np.array(correct_nifti_header_if_necessary(image).affine, dtype=np.float64)


def _axes(header: Any) -> tuple[tuple[int, ...], int]:
    """Voxels along two or three spatial axes, and the number of channels.

    The axes of NIfTI are X, Y, Z, time and the components of a vector. Channels lie along any one of the last two, or
    are the colours of a voxel.
    """
    shape = tuple(int(n) for n in header.get_data_shape())
    further = [n for n in shape[3:] if n != 1]
    colours = _colours(header.get_data_dtype())
    written = " x ".join(str(n) for n in shape)
    if len(shape) < 2:
        raise UnreadableFileError(f"has the shape {written or 'of no axis'}: an image has two or three spatial axes.")
    if len(further) > 1 or (further and colours > 1):
        raise UnreadableFileError(f"has the shape {written}, more than three axes and channels: save a part of it.")
    return shape[:3], (further[0] if further else 1) * min(colours, 3)


def _colours(dtype: np.dtype) -> int:
    if dtype.kind == "c":
        raise UnreadableFileError("holds complex numbers: save their magnitude.")
    return 1 if dtype.names is None else len(dtype.names)


def read_nifti(path: Path, header: FileHeader) -> np.ndarray:
    """Voxels of a NIfTI file.

    They are read in pieces, so that no copy of all of them in the file's own type is made.

    Args:
        path: the file.
        header: its header.

    Returns:
        An array of shape ``(*spatial, channels)``, float32, with slope and intercept applied.

    Raises:
        UnreadableFileError: when it is truncated or partly transparent.
    """
    stated = stated_header(path)
    dtype = stated.get_data_dtype()
    colours = _colours(dtype)
    slope, inter = stated.get_slope_inter() if colours == 1 else (None, None)
    columns, rows, planes = (*header.shape, 1)[:3]
    voxels = np.empty((columns, rows, planes, header.channels), np.float32)
    lines = max(1, _BYTES_AT_ONCE // (columns * dtype.itemsize))
    with _opened(path) as file:
        file.seek(stated.get_data_offset())
        for channel in range(header.channels if colours == 1 else 1):
            for where, shape in _blocks(rows, planes, lines):
                data = _exactly(file, columns * math.prod(shape) * dtype.itemsize)
                piece = np.frombuffer(data, dtype).reshape((columns, *shape), order="F")
                if colours == 1:
                    voxels[:, *where, channel] = apply_read_scaling(piece, slope, inter)
                else:
                    voxels[:, *where] = _coloured(piece)
    return voxels.reshape((*header.shape, header.channels))


def _blocks(rows: int, planes: int, lines: int) -> Iterator[tuple[tuple[slice, slice], tuple[int, int]]]:
    """Rows and planes of at most ``lines`` lines (or one plane's row), in the order of the file, and their numbers."""
    together = max(1, lines // rows)
    height = rows if lines >= rows else lines
    for plane in range(0, planes, together):
        depth = min(together, planes - plane)
        for row in range(0, rows, height):
            count = min(height, rows - row)
            yield (slice(row, row + count), slice(plane, plane + depth)), (count, depth)


def _coloured(piece: np.ndarray) -> np.ndarray:
    names = piece.dtype.names or ()
    if len(names) > 3 and not (piece[names[3]] == 255).all():
        raise UnreadableFileError("is partly transparent: save it without transparency.")
    return np.stack([piece[name] for name in names[:3]], axis=-1)


def _exactly(file: IO[bytes], size: int) -> bytes:
    data = file.read(size)
    if len(data) < size:
        raise UnreadableFileError("cannot be read: it is damaged or truncated; replace it.")
    return data
