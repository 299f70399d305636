# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
from PIL import BmpImagePlugin, Image, ImageFile, JpegImagePlugin, PngImagePlugin

from medsegdiff_monai.data.reading.header import DEFLATE_RATIO, JPEG_RATIO, FileHeader, check_declared
from medsegdiff_monai.data.reading.orientation import ORIENTATION_TAG, shown_size, valid_orientation
from medsegdiff_monai.data.reading.unreadable import UnreadableFileError

__all__ = ["picture_header", "read_picture"]

_OPENERS: dict[str, type[ImageFile.ImageFile]] = {
    "PNG": PngImagePlugin.PngImageFile,
    "JPEG": JpegImagePlugin.JpegImageFile,
    "BMP": BmpImagePlugin.BmpImageFile,
}
_IMAGE_CHANNELS = {"P": 3, "RGB": 3, "RGBA": 3}
_BMP_PADDING = 3  # bytes at most, which the last row may lack
_PNG_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by colour type


def picture_header(path: Path, kind: str) -> FileHeader:
    """The header of a PNG, JPEG or BMP file.

    Args:
        path: the file.
        kind: which of the three it is.

    Raises:
        UnreadableFileError: when it holds several pictures, or declares a size that it cannot have.
    """
    with _OPENERS[kind](path) as picture:
        channels = _IMAGE_CHANNELS.get(picture.mode, 1)
        values = picture.width * picture.height * channels
        check_declared(picture.size, values, _needed_bytes(picture, path), path.stat().st_size)
        if (pictures := getattr(picture, "n_frames", 1)) > 1:
            raise UnreadableFileError(f"is an animation of {pictures} pictures: save the one to segment.")
        orientation = _orientation(picture, path)
        return FileHeader(kind, shown_size(picture.size, orientation), channels, orientation)


def _needed_bytes(picture: ImageFile.ImageFile, path: Path) -> float:
    """Number of bytes that the file of a picture of this size has at least."""
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
        exif = _png_exif(path)
        if exif is not None:
            picture.info["exif"] = exif
    try:
        # Not the method of PNG files, which decodes all pixels.
        exif_tags = Image.Image.getexif(picture)
        return valid_orientation(exif_tags.get(ORIENTATION_TAG))
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
    """Pixels of a PNG, JPEG or BMP file as they are stored.

    The numbers of a palette picture are places in its palette and those of a black-and-white picture are bits: as an
    image they become RGB and grey, as a label they stay.

    Args:
        path: the file.
        header: its header.
        is_label: whether its numbers are label values.

    Returns:
        An array of shape ``(rows, columns)`` or ``(rows, columns, 3)``.

    Raises:
        UnreadableFileError: when the colours are no intensities of grey or RGB, or are partly transparent.
    """
    with _OPENERS[header.kind](path) as picture:
        if picture.mode == "CMYK":
            raise UnreadableFileError("is in CMYK, the colours of a printer: save it in RGB or grey.")
        if is_label and header.kind == "PNG" and picture.mode in ("RGB", "RGBA") and _png_depth(path)[0] == 16:
            raise UnreadableFileError("is a label in colour of 16 bits: save it as grey.")
        return np.asarray(_standard_mode(picture, is_label))


def _standard_mode(picture: Any, is_label: bool) -> Any:
    """A picture in a mode whose numbers are what is asked for, without an alpha channel."""
    if picture.mode in ("LA", "RGBA"):
        if picture.getchannel("A").getextrema() != (255, 255):
            raise UnreadableFileError("is partly transparent: save it without transparency.")
        return picture.convert(picture.mode[:-1])
    if is_label:
        return picture
    return picture.convert({"P": "RGB", "1": "L"}.get(picture.mode, picture.mode))
