# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

import gzip
import math
import os
import stat
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from medsegdiff_monai.utils import InputError

MAX_VALUES = 2**29  # of one file, all channels together: 2 GiB as float32
DEFLATE_RATIO = 1032  # bytes that a byte of deflate stands for at most
JPEG_RATIO = 512  # pixels that a byte of JPEG stands for at most: a block of 8 x 8 takes one bit or more
TRANSPARENT = "is partly transparent: save it without transparency."
NIFTI = "NIfTI"
GZIP = b"\x1f\x8b"  # the first bytes of a file that is compressed with it
_READ = ("PNG", "JPEG", "BMP", "TIFF", NIFTI)
_DICOM = "a DICOM file"
_HEAD = 544  # bytes: those of a NIfTI-2 header and of what says whether extensions follow

# Where the bytes begin, the bytes (any of several), and what they begin; the first that fits holds.
_SIGNATURES: tuple[tuple[int, bytes | tuple[bytes, ...], str], ...] = (
    (12, b"CgBI", "a PNG file in Apple's own variant"),
    (0, b"\x89PNG\r\n\x1a\n", "PNG"),
    (0, b"\xff\xd8\xff\xf7", "a JPEG-LS file"),
    (0, b"\xff\xd8\xff", "JPEG"),
    (0, b"BM", "BMP"),
    (0, (b"II\x2a\x00", b"MM\x00\x2a", b"II\x2b\x00", b"MM\x00\x2b"), "TIFF"),
    (344, b"n+1\x00", NIFTI),
    (4, b"n+2\x00", NIFTI),
    (344, b"ni1\x00", "a NIfTI file in two parts"),
    (0, (b"\x5c\x01\x00\x00", b"\x00\x00\x01\x5c"), "an Analyze file"),
    # PS3.10's prefix after its preamble, or, without them, an element of group 0002 or 0008 in little endian.
    (128, b"DICM", _DICOM),
    (0, (b"\x02\x00\x00\x00", b"\x08\x00\x05\x00", b"\x08\x00\x08\x00"), _DICOM),
    (8, b"WEBP", "a WebP file"),
    (0, b"GIF8", "a GIF file"),
    (0, (b"\x00\x00\x00\x0cjP  ", b"\xff\x4f\xff\x51"), "a JPEG 2000 file"),
    (0, (b"\x00\x00\x00\x0cJXL ", b"\xff\x0a"), "a JPEG XL file"),
    (4, b"ftyp", "a HEIC, AVIF or video file"),
    (0, b"8BPS", "a Photoshop file"),
    (0, b"%PDF", "a PDF file"),
    (0, b"\x76\x2f\x31\x01", "an OpenEXR file"),
    (0, tuple(b"P%d%c" % (number, space) for number in range(1, 8) for space in b"\n \r\t"), "a PNM file"),
    (0, b"NRRD", "an NRRD file"),
    (0, (b"ObjectType", b"NDims"), "a MetaImage file"),
    (0, b"\x93NUMPY", "a NumPy file"),
    (0, b"\x89HDF", "an HDF5, MATLAB or MINC file"),
    (0, b"MATLAB", "a MATLAB file"),
    (0, b"PK\x03\x04", "a ZIP archive"),
    (0, b"BZh", "a bzip2 file"),
    (0, b"\xfd7zXZ", "an xz file"),
    (0, b"\x28\xb5\x2f\xfd", "a Zstandard file"),
    (0, b"7z\xbc\xaf", "a 7z archive"),
)


class UnreadableFileError(Exception):
    """A file that is not read. Its message is the rest of a sentence that begins with which file it is."""


@contextmanager
def naming(which: str) -> Iterator[None]:
    """Turn whatever fails while a file is read into one ``InputError`` about it, such as ``"The image file a.png"``."""
    try:
        yield
    except InputError:  # of another file
        raise
    except UnreadableFileError as e:
        raise InputError(f"{which} {e}") from e
    except MemoryError as e:
        raise InputError(f"{which} does not fit into the memory: free some or make it smaller.") from e
    except Exception as e:  # decoders raise anything
        if isinstance(e, OSError) and e.errno:
            raise InputError(f"{which} cannot be read ({e.strerror}): mend its permissions or its disk.") from e
        damage = "it is damaged, truncated or of a rare form that is not read"
        raise InputError(f"{which} cannot be read: {damage}; replace it.") from e


@dataclass(frozen=True)
class FileHeader:
    """The statements of an image file about itself, read without its pixels."""

    kind: str  # one of those that are read
    shape: tuple[int, ...]  # columns and rows of a picture as it is shown, or voxels along two or three axes of NIfTI
    channels: int  # three of a picture with a palette
    orientation: int | None = None  # of a picture, as EXIF numbers it from 1 to 8; None where the file states none
    affine: np.ndarray = field(default_factory=lambda: np.eye(4))  # voxel to world (RAS, mm)
    spacing: tuple[float, ...] | None = None  # of voxels in mm; a picture states at most its printed size
    metadata: dict[str, Any] = field(default_factory=dict)  # further entries for the metadata of the image

    @property
    def values(self) -> int:
        """Number of values of the image; as float32 they take four bytes each."""
        return math.prod(self.shape) * self.channels


def check_declared(shape: tuple[int, ...], values: int, needed_bytes: float, file_bytes: int) -> None:
    """Refuse a declared size above ``MAX_VALUES``, or one that needs more bytes than a file has, before allocating."""
    size = " x ".join(str(n) for n in shape)
    if min(shape) < 1:
        raise UnreadableFileError(f"has no pixels ({size}): replace it.")
    if needed_bytes > file_bytes:
        damage = f"it is damaged or truncated, as its {file_bytes} bytes cannot hold {size} pixels as it declares"
        raise UnreadableFileError(f"cannot be read: {damage}; replace it.")
    if values > MAX_VALUES:
        excess = f"it declares {size} pixels with {values} values in all, at most {MAX_VALUES} are read"
        raise UnreadableFileError(f"is too large: {excess}; make it smaller.")


def file_kind(path: Path) -> str:
    """The kind of an image file, as its first bytes and not its name tell: PNG, JPEG, BMP, TIFF or NIfTI."""
    _check_is_file(path)
    with path.open("rb") as file:
        head = file.read(_HEAD)
    if not head:
        raise UnreadableFileError("cannot be read: it is empty; replace it.")
    compressed = head.startswith(GZIP)
    if compressed:
        try:
            with gzip.open(path, "rb") as unpacked:
                head = unpacked.read(_HEAD)
        except (EOFError, gzip.BadGzipFile, zlib.error) as e:
            raise UnreadableFileError("cannot be read: it is damaged or truncated; replace it.") from e
    kind = next((kind for at, magic, kind in _SIGNATURES if head.startswith(magic, at)), "")
    if compressed and kind != NIFTI:
        raise UnreadableFileError("is compressed with gzip and holds no NIfTI: unpack it and give the image in it.")
    if kind == _DICOM:
        raise UnreadableFileError(f"is {kind}: segment it with `python -m medsegdiff_monai dicom`.")
    if kind not in _READ:
        known = ", ".join(_READ)
        if kind:
            raise UnreadableFileError(f"is {kind}, which is not read: save it as one of {known}.")
        raise UnreadableFileError(f"cannot be read: it is no image of a known kind ({known}); replace it.")
    return kind


def _check_is_file(path: Path) -> None:
    """Refuse what is not there, or cannot be opened without waiting, as a pipe."""
    try:
        mode = os.stat(path).st_mode
    except (FileNotFoundError, NotADirectoryError, ValueError) as e:  # a ValueError is of a name with a null byte
        reason = "does not exist: restore it or mend the datalist."
        if path.is_symlink():
            reason = f"is a link to {os.readlink(path)}, which does not exist: restore that file."
        raise UnreadableFileError(reason) from e
    if not stat.S_ISREG(mode):
        what = "a folder" if stat.S_ISDIR(mode) else "a pipe, socket or device"
        raise UnreadableFileError(f"is {what}, not a file: give an image file.")
