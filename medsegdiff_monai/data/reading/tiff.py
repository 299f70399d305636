# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

import io
import logging
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from PIL.JpegImagePlugin import JpegImageFile
from tifffile import COMPRESSION, PHOTOMETRIC, TiffFile

from medsegdiff_monai.data.reading.header import (
    DEFLATE_RATIO,
    JPEG_RATIO,
    MAX_VALUES,
    TRANSPARENT,
    FileHeader,
    UnreadableFileError,
    check_declared,
)
from medsegdiff_monai.data.reading.picture import ORIENTATION_TAG, shown_size, valid_orientation

__all__ = ["read_tiff", "tiff_header"]

_MAX_DIRECTORIES = 64  # a page and its smaller copies are fewer
_SMALLER_COPY, _MASK = 1, 4  # bits of NewSubfileType
# Compressions that are read, and the bytes that one of theirs stands for at most (None: any number).
_RATIOS = {
    **dict.fromkeys((COMPRESSION.CCITTRLE, COMPRESSION.CCITT_T4, COMPRESSION.CCITT_T6, COMPRESSION.LZMA)),
    COMPRESSION.NONE: 1,
    COMPRESSION.JPEG: None,  # see JPEG_RATIO
    COMPRESSION.LZW: 4096,  # a code stands for a string of the table
    COMPRESSION.ADOBE_DEFLATE: DEFLATE_RATIO,
    COMPRESSION.DEFLATE: DEFLATE_RATIO,
    COMPRESSION.PACKBITS: 64,  # two bytes stand for 128
    COMPRESSION.ZSTD: 32768,  # a block of 2**17 equal bytes takes four
}
_COLOURS = (PHOTOMETRIC.MINISWHITE, PHOTOMETRIC.MINISBLACK, PHOTOMETRIC.RGB, PHOTOMETRIC.PALETTE)
_ALPHA = (1, 2)  # of ExtraSamples, with the colours multiplied by it or not
_BYTE = 8


def tiff_header(path: Path) -> FileHeader:
    """The header of a TIFF file, checked."""
    with _page(path) as page:
        orientation = valid_orientation(page.tags.valueof(ORIENTATION_TAG))
        channels = 3 if page.photometric == PHOTOMETRIC.PALETTE else page.samplesperpixel - _has_alpha(page)
        return FileHeader("TIFF", shown_size((page.imagewidth, page.imagelength), orientation), channels, orientation)


@contextmanager
def _page(path: Path) -> Iterator[Any]:
    """The one page of a TIFF file, checked."""
    logger = logging.getLogger("tifffile")  # it prints what it doubts; what matters of that is raised here
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        with TiffFile(path) as tiff:
            page = _only_page(tiff)
            _check_form(page)
            _check_size(page, path.stat().st_size)
            yield page
    finally:
        logger.setLevel(level)


def _only_page(tiff: TiffFile) -> Any:
    directories: list[Any] = list(islice(tiff.pages, _MAX_DIRECTORIES))
    pages = [page for page in directories if not page.subfiletype & (_SMALLER_COPY | _MASK)] or directories[:1]
    count = len(pages)
    if len(directories) == 1 and (tiff.is_imagej or tiff.is_stk or pages[0].is_shaped):
        # These say in a note that further pages follow the first without directories of their own.
        count = math.prod(tiff.series[0].shape) // math.prod(pages[0].shape)
    if count > 1:
        several = count if len(directories) < _MAX_DIRECTORIES else f"{count} or more"
        raise UnreadableFileError(f"holds {several} pages: save the one to segment.")
    return pages[0]


def _check_form(page: Any) -> None:
    if page.compression not in _RATIOS:
        name = getattr(page.compression, "name", page.compression)
        raise UnreadableFileError(f"is compressed in a way that is not read ({name}): save it with LZW or deflate.")
    is_read = page.photometric in _COLOURS or (
        page.photometric == PHOTOMETRIC.YCBCR and page.compression == COMPRESSION.JPEG  # which the decoder converts
    )
    if not is_read:
        known = {PHOTOMETRIC.SEPARATED: "CMYK", PHOTOMETRIC.YCBCR: "YCbCr", PHOTOMETRIC.CIELAB: "CIELab"}
        name = known.get(page.photometric) or getattr(page.photometric, "name", "colours that are not stated")
        raise UnreadableFileError(f"is in {name}, not in grey or RGB: save it in one of these.")
    if page.photometric == PHOTOMETRIC.MINISWHITE and page.dtype is not None and page.dtype.kind not in "ub":
        raise UnreadableFileError("says that white is 0, of numbers without a largest one: save it with black as 0.")
    if page.dtype is not None and page.dtype.kind == "c":
        raise UnreadableFileError("holds complex numbers: save their magnitude.")


def _check_size(page: Any, file_bytes: int) -> None:
    """Refuse what declares more than it has, in all and in one strip or tile."""
    if page.imagedepth > 1:
        raise UnreadableFileError(f"is a volume of {page.imagedepth} planes: save the one to segment.")
    ratio = _RATIOS[page.compression]
    bits = np.broadcast_to(page.bitspersample, page.samplesperpixel).sum()
    pixels = page.imagewidth * page.imagelength
    needed = 0 if ratio is None else pixels * int(bits) / 8 / ratio
    needed = pixels / JPEG_RATIO if page.compression == COMPRESSION.JPEG else needed
    samples = 3 if page.photometric == PHOTOMETRIC.PALETTE else page.samplesperpixel
    check_declared((page.imagewidth, page.imagelength), pixels * samples, needed, file_bytes)
    if page.is_tiled and page.tilewidth * page.tilelength * page.samplesperpixel > MAX_VALUES:
        raise UnreadableFileError("is in tiles that are larger than any picture that is read: save it in strips.")
    ends = np.add(page.dataoffsets, page.databytecounts, dtype=float)
    parts = math.prod(page.chunked)
    if len(ends) < parts or (ends > file_bytes).any() or 0 in page.databytecounts[:parts]:
        damage = "it is damaged or truncated, as it lacks a part of its pixels"
        raise UnreadableFileError(f"cannot be read: {damage}; replace it.")


def read_tiff(path: Path, header: FileHeader, is_label: bool) -> np.ndarray:
    """Pixels of a TIFF file as they are stored, of shape ``(rows, columns, channels)``, float32, black lowest."""
    with _page(path) as page:
        alpha = _has_alpha(page)
        meaning = _meaning(page, is_label)
        channels = 1 if is_label and page.photometric == PHOTOMETRIC.PALETTE else header.channels
        # Columns first in memory, as the image will be, so that turning the axes makes no copy.
        pixels = np.empty((page.imagewidth, page.imagelength, channels), np.float32).swapaxes(0, 1)
        if page.compression == COMPRESSION.JPEG:
            _check_jpeg_parts(page)
        for part, (sample, _, row, column, _), _ in page.segments(maxworkers=1):
            area = part[0, : page.imagelength - row, : page.imagewidth - column]
            if sample + area.shape[-1] > page.samplesperpixel - alpha:
                opaque = 1.0 if area.dtype.kind == "f" else 2**page.bitspersample - 1
                if not (area[..., -1] == opaque).all():
                    raise UnreadableFileError(TRANSPARENT)
                area = area[..., :-1]
            rows, columns, count = area.shape
            if count:
                values = meaning(area)
                pixels[row : row + rows, column : column + columns, sample : sample + values.shape[-1]] = values
        return pixels


def _has_alpha(page: Any) -> bool:
    """Whether the last sample of a pixel says how transparent it is."""
    return len(page.extrasamples) == 1 and page.extrasamples[0] in _ALPHA


def _check_jpeg_parts(page: Any) -> None:
    """Refuse strips and tiles in JPEG that are larger than they have a right to be, which the decoder would obey."""
    strip = page.imagewidth, min(page.rowsperstrip, page.imagelength)
    width, length = (page.tilewidth, page.tilelength) if page.is_tiled else strip
    damage = "it is damaged, as a part of it declares more pixels than all"
    for offset, count in zip(page.dataoffsets, page.databytecounts):
        page.parent.filehandle.seek(offset)
        with JpegImageFile(io.BytesIO(page.parent.filehandle.read(count))) as part:
            if part.width > width + 16 or part.height > length + 16:  # whole blocks, at half the resolution of colour
                raise UnreadableFileError(f"cannot be read: {damage}; replace it.")


def _meaning(page: Any, is_label: bool) -> Callable[[np.ndarray], np.ndarray]:
    """A function from stored numbers ``(rows, columns, samples)`` to intensities or label values."""
    bits = int(np.max(page.bitspersample))
    largest = 2**bits - 1
    if page.photometric == PHOTOMETRIC.PALETTE:
        colours = page.colormap if page.colormap.max() < 2**_BYTE else page.colormap >> _BYTE
        return (lambda part: part) if is_label else (lambda part: np.moveaxis(colours[:, part[..., 0]], 0, -1))
    if page.photometric == PHOTOMETRIC.RGB and page.dtype.kind == "u" and bits > _BYTE and not is_label:
        return lambda part: part >> (bits - _BYTE)  # colour has bytes, as in every other kind of file
    # As in PNG, grey of fewer bits reaches as far as a byte does. A label of one bit has the values 0 and 1.
    step = (2**_BYTE - 1) // largest if bits in (2, 4) or (bits == 1 and not is_label) else 1
    if page.photometric == PHOTOMETRIC.MINISWHITE:
        return lambda part: (largest - part.astype(np.uint64)) * step
    return lambda part: part.astype(np.float32) * step if step > 1 else part
