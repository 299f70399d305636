# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

import struct
from pathlib import Path
from typing import Any

import numpy as np
from PIL import BmpImagePlugin, Image, ImageFile, JpegImagePlugin, PngImagePlugin

from medsegdiff_monai.data.reading.header import (
    DEFLATE_RATIO,
    JPEG_RATIO,
    TRANSPARENT,
    FileHeader,
    UnreadableFileError,
    check_declared,
)

ORIENTATION_TAG = 0x0112  # of EXIF and TIFF
_OPENERS: dict[str, type[ImageFile.ImageFile]] = {
    "PNG": PngImagePlugin.PngImageFile,
    "JPEG": JpegImagePlugin.JpegImageFile,
    "BMP": BmpImagePlugin.BmpImageFile,
}
_IMAGE_CHANNELS = {"P": 3, "RGB": 3, "RGBA": 3}
_BMP_PADDING = 3  # bytes at most, which the last row may lack
_PNG_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by colour type


def valid_orientation(value: Any) -> int | None:
    """An orientation as a file states it, or None where it is none of the eight."""
    return int(value) if isinstance(value, int) and 1 <= value <= 8 else None


def shown_size(size: tuple[int, int], orientation: int | None) -> tuple[int, int]:
    """Columns and rows of a picture as it is shown, from those that are stored (or the reverse)."""
    return size if orientation is None or orientation < 5 else (size[1], size[0])


def turned(pixels: np.ndarray, orientation: int | None) -> np.ndarray:
    """A view of stored pixels, ``(columns, rows, ...)``, as they are shown by an orientation of EXIF 2.32, 4.6.4."""
    flips = {2: (0,), 3: (0, 1), 4: (1,), 6: (0,), 7: (0, 1), 8: (1,)}
    shown = np.swapaxes(pixels, 0, 1) if orientation is not None and orientation >= 5 else pixels
    return np.flip(shown, flips.get(orientation or 1, ()))


def as_shown() -> Image.Exif:
    """EXIF that says that a picture is stored as it is to be shown."""
    exif = Image.Exif()
    exif[ORIENTATION_TAG] = 1
    return exif


def picture_header(path: Path, kind: str) -> FileHeader:
    """The header of a PNG, JPEG or BMP file, whichever of them ``kind`` says, checked."""
    with _OPENERS[kind](path) as picture:
        channels = _IMAGE_CHANNELS.get(picture.mode, 1)
        values = picture.width * picture.height * channels
        check_declared(picture.size, values, _needed_bytes(picture, path), path.stat().st_size)
        if (pictures := getattr(picture, "n_frames", 1)) > 1:
            raise UnreadableFileError(f"is an animation of {pictures} pictures: save the one to segment.")
        orientation = _orientation(picture, path)
        return FileHeader(kind, shown_size(picture.size, orientation), channels, orientation)


def _needed_bytes(picture: ImageFile.ImageFile, path: Path) -> float:
    """Least number of bytes of the file of a picture of this size."""
    pixels = picture.width * picture.height
    if isinstance(picture, JpegImagePlugin.JpegImageFile):
        return pixels / JPEG_RATIO
    if isinstance(picture, PngImagePlugin.PngImageFile):
        bits, colour = _png_depth(path)
        return pixels * bits * _PNG_SAMPLES[colour] / 8 / DEFLATE_RATIO
    decoder, _, offset, arguments = picture.tile[0]
    if decoder != "raw" or not isinstance(arguments, tuple):
        return 0  # run lengths, which may leave out as much as they like
    return offset + arguments[1] * picture.height - _BMP_PADDING


def _png_depth(path: Path) -> tuple[int, int]:
    """Bits of a sample and colour type."""
    with path.open("rb") as file:
        head = file.read(26)
    return head[24], head[25]


def _orientation(picture: ImageFile.ImageFile, path: Path) -> int | None:
    """EXIF orientation; None where there is none or EXIF is damaged, which viewers pass over as well."""
    if isinstance(picture, PngImagePlugin.PngImageFile) and "exif" not in picture.info:
        picture.info |= {"exif": exif} if (exif := _png_exif(path)) else {}
    try:
        # Not the method of PNG files, which decodes all pixels.
        return valid_orientation(Image.Image.getexif(picture).get(ORIENTATION_TAG))
    except Exception:  # the parser raises anything
        return None


def _png_exif(path: Path) -> bytes | None:
    """Content of the chunk ``eXIf``, which may follow the pixels."""
    with path.open("rb") as file:
        file.seek(8)
        while len(head := file.read(8)) == 8:
            length, name = struct.unpack(">I4s", head)
            if name == b"eXIf":
                return file.read(min(length, 2**16))
            file.seek(length + 4, 1)  # with the checksum
    return None


def read_picture(path: Path, header: FileHeader, is_label: bool) -> np.ndarray:
    """Pixels of a PNG, JPEG or BMP file as they are stored, of shape ``(rows, columns)`` or ``(rows, columns, 3)``.

    As an image, a palette picture becomes RGB and a black-and-white one grey. As a label, both keep their numbers.
    """
    with _OPENERS[header.kind](path) as picture:
        mode = picture.mode
        if mode == "CMYK":
            raise UnreadableFileError("is in CMYK, the colours of a printer: save it in RGB or grey.")
        if is_label and header.kind == "PNG" and mode in ("RGB", "RGBA") and _png_depth(path)[0] == 16:
            raise UnreadableFileError("is a label in colour of 16 bits: save it as grey.")
        if mode in ("LA", "RGBA"):
            if picture.getchannel("A").getextrema() != (255, 255):
                raise UnreadableFileError(TRANSPARENT)
            return np.asarray(picture.convert(mode[:-1]))
        return np.asarray(picture if is_label else picture.convert({"P": "RGB", "1": "L"}.get(mode, mode)))
