# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

"""Mutations of NIfTI files: fields of the header, values of voxels, and gzip about them."""

from __future__ import annotations

import gzip
import struct

import numpy as np

from .mutate_bytes import BYTE_MUTATORS, Mutator, limit_number, overwritten

__all__ = ["NIFTI_MUTATORS"]

_GZIP = b"\x1f\x8b"
_DATATYPES = (0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 768, 1024, 1536, 1792, 2048, 2304)
_REALS = (0.0, -1.0, 1.0, 1e-30, 1e30, float("nan"), float("inf"), -float("inf"))
_PIXDIM, _DIM, _SLOPE, _SROW = 76, 40, 112, 280


def _unpacked(content: bytes) -> bytes:
    return gzip.decompress(content) if content[:2] == _GZIP else content


def _packed(raw: bytes, like: bytes) -> bytes:
    return gzip.compress(raw, 6, mtime=0) if like[:2] == _GZIP else raw


def nifti_dimensions(content: bytes, rng: np.random.Generator) -> bytes:
    """Other numbers of dimensions or voxels."""
    raw = _unpacked(content)
    for _ in range(int(rng.integers(1, 4))):
        number = int(rng.integers(-1, 9)) if rng.random() < 0.5 else limit_number(rng, 15)
        raw = overwritten(raw, _DIM + 2 * int(rng.integers(0, 8)), struct.pack("<h", number))
    return _packed(raw, content)


def nifti_type(content: bytes, rng: np.random.Generator) -> bytes:
    """Another datatype, number of bits or place of the voxels."""
    raw = _unpacked(content)
    field = int(rng.integers(0, 3))
    if field == 0:
        raw = overwritten(raw, 70, struct.pack("<h", int(rng.choice(_DATATYPES))))
    elif field == 1:
        raw = overwritten(raw, 72, struct.pack("<h", int(rng.choice((0, 1, 7, 8, 16, 32, 64, 128, -1)))))
    else:
        raw = overwritten(raw, 108, struct.pack("<f", float(rng.choice((0, 16, 351, 353, 1e6, 3e9, -352, np.nan)))))
    return _packed(raw, content)


def nifti_scaling(content: bytes, rng: np.random.Generator) -> bytes:
    """Another slope or intercept."""
    raw = _unpacked(content)
    place = _SLOPE + 4 * int(rng.integers(0, 2))
    return _packed(overwritten(raw, place, struct.pack("<f", float(rng.choice(_REALS)))), content)


def nifti_geometry(content: bytes, rng: np.random.Generator) -> bytes:
    """Another distance, code, unit, quaternion or number of the affine."""
    raw = _unpacked(content)
    for _ in range(int(rng.integers(1, 4))):
        field, number = int(rng.integers(0, 4)), struct.pack("<f", float(rng.choice(_REALS)))
        if field == 0:
            raw = overwritten(raw, _PIXDIM + 4 * int(rng.integers(0, 8)), number)
        elif field == 1:
            raw = overwritten(raw, _SROW + 4 * int(rng.integers(0, 12)), number)
        elif field == 2:
            raw = overwritten(raw, 252 + 2 * int(rng.integers(0, 2)), struct.pack("<h", int(rng.integers(-1, 6))))
        else:
            raw = overwritten(raw, int(rng.choice((123, 256, 260, 264))), number)
    return _packed(raw, content)


def nifti_frame(content: bytes, rng: np.random.Generator) -> bytes:
    """Another size of the header, magic, extension or text."""
    raw = _unpacked(content)
    field = int(rng.integers(0, 4))
    if field == 0:
        raw = overwritten(raw, 0, struct.pack("<i", int(rng.choice((0, 347, 540, 348 << 16, -1)))))
    elif field == 1:
        raw = overwritten(raw, 344, (b"ni1\0", b"n+2\0", b"\0\0\0\0", b"n+1x")[int(rng.integers(0, 4))])
    elif field == 2:
        extension = struct.pack("<ii", int(rng.choice((0, 7, 16, 2**31 - 1, -16))), 6)
        raw = raw[:348] + b"\1\0\0\0" + extension + raw[352:]
    else:
        raw = overwritten(raw, 148, rng.bytes(80))
    return _packed(raw, content)


def nifti_voxels(content: bytes, rng: np.random.Generator) -> bytes:
    """Voxels that are constant, or NaN or infinite here and there (as float32)."""
    raw = _unpacked(content)
    (bits,) = struct.unpack("<h", raw[72:74])
    count = 8 * (len(raw) - 352) // max(bits, 8)
    values = rng.random(count).astype(np.float32) * 200
    kind = int(rng.integers(0, 4))
    if kind == 0:
        values[:] = float(rng.choice((0, 5, *_REALS)))
    else:
        values[rng.random(count) < rng.choice((0.001, 0.5))] = (np.nan, np.inf, -3e38)[kind - 1]
    raw = overwritten(raw[:352], 70, struct.pack("<hh", 16, 32)) + values.tobytes()
    return _packed(raw, content)


def nifti_packing(content: bytes, rng: np.random.Generator) -> bytes:
    """Packed twice, unpacked under the same name, more bytes than voxels, or damaged within whole packing."""
    raw = _unpacked(content)
    kind = int(rng.integers(0, 4))
    if kind == 0:
        return gzip.compress(content, mtime=0)
    if kind == 1:
        return raw if content[:2] == _GZIP else gzip.compress(raw, mtime=0)
    if kind == 2:
        return _packed(raw + b"\0" * int(rng.choice((1, 1000, 40_000_000))), content)
    return _packed(BYTE_MUTATORS[int(rng.integers(0, len(BYTE_MUTATORS)))](raw, rng), content)


NIFTI_MUTATORS: tuple[Mutator, ...] = (
    nifti_dimensions,
    nifti_dimensions,
    nifti_type,
    nifti_scaling,
    nifti_geometry,
    nifti_frame,
    nifti_voxels,
    nifti_packing,
)
