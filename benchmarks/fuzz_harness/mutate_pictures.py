# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

"""Mutations of pictures that keep the frame of their format, so that decoders go on to what is wrong."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable

import numpy as np
from PIL import Image

from .mutate_bytes import Mutator, limit_number, overwritten

__all__ = ["BMP_MUTATORS", "JPEG_MUTATORS", "PNG_MUTATORS", "TIFF_MUTATORS"]

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_ORIENTATION = 0x112
_BOMB = 10_000_000  # bytes that a stream of some 50 KB stands for

PngChunk = tuple[bytes, bytes]
JpegSegment = tuple[int, bytes]


def _png_chunks(content: bytes) -> list[PngChunk]:
    """Kind and data of each chunk, as far as they are whole."""
    chunks, place = [], len(_PNG_SIGNATURE)
    while place + 12 <= len(content):
        (length,) = struct.unpack(">I", content[place : place + 4])
        chunks.append((content[place + 4 : place + 8], content[place + 8 : place + 8 + length]))
        place += 12 + length
    return chunks


def _png(chunks: list[PngChunk]) -> bytes:
    """A PNG file with true lengths and check sums."""
    parts = [_PNG_SIGNATURE]
    for kind, data in chunks:
        parts.append(struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)))
    return b"".join(parts)


def png_header(content: bytes, rng: np.random.Generator) -> bytes:
    """Another width, height, depth, kind of colour or interlacing in IHDR."""
    chunks = _png_chunks(content)
    kind, data = chunks[0]
    field = int(rng.integers(0, 5))
    if field < 2:
        data = overwritten(data, 4 * field, struct.pack(">I", limit_number(rng)))
    else:
        data = overwritten(data, (8, 9, 12)[field - 2], bytes([int(rng.choice((0, 1, 2, 3, 4, 6, 8, 16, 255)))]))
    return _png([(kind, data), *chunks[1:]])


def png_chunk_data(content: bytes, rng: np.random.Generator) -> bytes:
    """Noise in the data of a chunk, or some of it cut."""
    chunks = _png_chunks(content)
    i = int(rng.choice([i for i, (_, data) in enumerate(chunks) if data]))
    kind, data = chunks[i]
    place = int(rng.integers(0, len(data)))
    noise = overwritten(data, place, rng.bytes(int(rng.integers(1, 9))))
    chunks[i] = (kind, noise if rng.random() < 0.7 else data[:place])
    return _png(chunks)


def png_chunk_order(content: bytes, rng: np.random.Generator) -> bytes:
    """A chunk taken out, repeated or put elsewhere."""
    chunks = _png_chunks(content)
    chunk = chunks[int(rng.integers(0, len(chunks)))]
    kind = int(rng.integers(0, 3))
    if kind < 2:
        chunks.remove(chunk)
    if kind > 0:
        chunks.insert(int(rng.integers(0, len(chunks) + 1)), chunk)
    return _png(chunks)


def png_added(content: bytes, rng: np.random.Generator) -> bytes:
    """A further chunk: orientation, transparency, gamma, a short palette, or text that unpacks to megabytes."""
    chunks = _png_chunks(content)
    kind, data = _ADDED[int(rng.integers(0, len(_ADDED)))]
    return _png([chunks[0], (kind, data(rng)), *chunks[1:]])


def png_bomb(content: bytes, rng: np.random.Generator) -> bytes:
    """Pixels that unpack to more or less than the header says, which may be a huge picture."""
    chunks = [chunk for chunk in _png_chunks(content) if chunk[0] != b"IDAT"]
    side = int(rng.choice((1, 64, 20_000, 60_000, 2**31 - 1)))
    header = struct.pack(">IIBBBBB", side, side, int(rng.choice((1, 8, 16))), 0, 0, 0, 0)
    pixels = zlib.compress(b"\0" * int(rng.integers(0, _BOMB)), 1)
    return _png([(b"IHDR", header), (b"IDAT", pixels), *chunks[1:]])


def _exif(rng: np.random.Generator) -> bytes:
    """EXIF data with an orientation that may be right, unknown or of another type."""
    orientation = (*range(10), 255, 65535)[int(rng.integers(0, 12))]
    kind = 3 if rng.random() < 0.8 else int(rng.integers(0, 14))
    data = struct.pack("<2sHIHHHIII", b"II", 42, 8, 1, _ORIENTATION, kind, 1, orientation, 0)
    return data if rng.random() < 0.8 else data[: int(rng.integers(0, len(data)))]


_ADDED: tuple[tuple[bytes, Callable[[np.random.Generator], bytes]], ...] = (
    (b"eXIf", _exif),
    (b"tRNS", lambda rng: rng.bytes(int(rng.integers(1, 7)))),
    (b"gAMA", lambda rng: struct.pack(">I", limit_number(rng))),
    (b"PLTE", lambda rng: rng.bytes(int(rng.integers(0, 10)))),
    (b"zTXt", lambda rng: b"note\0\0" + zlib.compress(b"\0" * _BOMB, 1)),
    (b"iCCP", lambda rng: b"profile\0\0" + zlib.compress(rng.bytes(40))),
    (b"acTL", lambda rng: struct.pack(">II", limit_number(rng), 0)),
)


def _jpeg_segments(content: bytes) -> list[JpegSegment]:
    """Marker and data of each segment; that of the scan has all that comes behind it."""
    segments, place = [], 2
    while place + 4 <= len(content) and content[place] == 0xFF:
        marker, length = content[place + 1], int.from_bytes(content[place + 2 : place + 4], "big")
        end = len(content) if marker == 0xDA else place + 2 + length
        segments.append((marker, content[place + 4 : end]))
        place = end
    return segments


def _jpeg(segments: list[JpegSegment]) -> bytes:
    parts = [b"\xff\xd8"]
    for marker, data in segments:
        header = int.from_bytes(data[:1], "big") * 2 + 6 if marker == 0xDA else len(data) + 2
        parts.append(bytes([0xFF, marker]) + struct.pack(">H", min(header, 65535)) + data)
    return b"".join(parts)


def jpeg_frame(content: bytes, rng: np.random.Generator) -> bytes:
    """Another precision, height, width, number of components or sampling in the frame's header."""
    segments = _jpeg_segments(content)
    i = next(i for i, (marker, _) in enumerate(segments) if 0xC0 <= marker <= 0xC2)
    marker, data = segments[i]
    field = int(rng.integers(0, 5))
    if field in (1, 2):
        data = overwritten(data, 2 * field - 1, struct.pack(">H", limit_number(rng, 16)))
    else:
        data = overwritten(data, {0: 0, 3: 5, 4: 7}[field], bytes([limit_number(rng, 8)]))
    segments[i] = (int(rng.choice((0xC0, 0xC1, 0xC2, 0xC3, 0xC9))) if rng.random() < 0.2 else marker, data)
    return _jpeg(segments)


def jpeg_segment_data(content: bytes, rng: np.random.Generator) -> bytes:
    """Noise in a segment: tables, the scan's header, its codes."""
    segments = _jpeg_segments(content)
    i = int(rng.integers(0, len(segments)))
    marker, data = segments[i]
    place = int(rng.integers(0, min(len(data), 200) + 1))
    segments[i] = (marker, overwritten(data, place, rng.bytes(int(rng.integers(1, 5)))))
    return _jpeg(segments)


def jpeg_segment_order(content: bytes, rng: np.random.Generator) -> bytes:
    """A segment taken out, repeated or put elsewhere, or an interval of restarts."""
    segments = _jpeg_segments(content)
    segment = segments[int(rng.integers(0, len(segments)))]
    kind = int(rng.integers(0, 4))
    if kind < 2:
        segments.remove(segment)
    if kind == 3:
        segment = (0xDD, struct.pack(">H", limit_number(rng, 16)))
    if kind > 0:
        segments.insert(int(rng.integers(0, len(segments) + 1)), segment)
    return _jpeg(segments)


def jpeg_application(content: bytes, rng: np.random.Generator) -> bytes:
    """An orientation, Adobe's kind of colour, or a further picture of a camera."""
    adobe = b"Adobe\0d\0\0\0\0" + bytes([int(rng.integers(0, 4))])
    added = [(0xE1, b"Exif\0\0" + _exif(rng)), (0xEE, adobe), (0xE2, b"MPF\0" + rng.bytes(40))]
    return _jpeg([added[int(rng.integers(0, 3))], *_jpeg_segments(content)])


def bmp_header(content: bytes, rng: np.random.Generator) -> bytes:
    """Another number in one or two fields of the header: sizes, planes, bits, compression, colours."""
    fields = ((2, 4), (10, 4), (14, 4), (18, 4), (22, 4), (26, 2), (28, 2), (30, 4), (34, 4), (46, 4), (50, 4))
    for _ in range(int(rng.integers(1, 3))):
        place, size = fields[int(rng.integers(0, len(fields)))]
        small = int(rng.choice((0, 1, 2, 3, 4, 8, 12, 16, 24, 32, 40, 64, 124)))
        number = small if rng.random() < 0.5 else limit_number(rng, 8 * size)
        content = overwritten(content, place, number.to_bytes(size, "little"))
    return content


_TIFF_TAGS = (254, 256, 257, 258, 259, 262, 266, 273, 274, 277, 278, 279, 284, 317, 320, 322, 323, 324, 338, 339)
_TIFF_VALUES = (0, 1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 32, 64, 8000, 32773, 32946, 34712, 50000, 60000)


def tiff_entry(content: bytes, rng: np.random.Generator) -> bytes:
    """Another tag, type, number of values or value in an entry of the first directory; or a loop of directories."""
    order = "<" if content[:2] == b"II" else ">"
    (start,) = struct.unpack(f"{order}I", content[4:8])
    (count,) = struct.unpack(f"{order}H", content[start : start + 2])
    if rng.random() < 0.08:
        return overwritten(content, start + 2 + 12 * count, struct.pack(f"{order}I", start))
    for _ in range(int(rng.integers(1, 3))):
        entry = start + 2 + 12 * int(rng.integers(0, count))
        field = int(rng.choice(4, p=(0.1, 0.1, 0.1, 0.7)))
        if field == 0:
            content = overwritten(content, entry, struct.pack(f"{order}H", int(rng.choice(_TIFF_TAGS))))
        elif field == 1:
            content = overwritten(content, entry + 2, struct.pack(f"{order}H", int(rng.integers(0, 20))))
        else:
            number = int(rng.choice(_TIFF_VALUES)) if rng.random() < 0.6 else limit_number(rng)
            (kind,) = struct.unpack(f"{order}H", content[entry + 2 : entry + 4])
            short = field == 3 and kind == 3 and number < 2**16
            new = struct.pack(f"{order}HH", number, 0) if short else struct.pack(f"{order}I", number)
            content = overwritten(content, entry + (4 if field == 2 else 8), new)
    return content


def same_picture_elsewhere(content: bytes, rng: np.random.Generator) -> bytes:
    """Pixels of extremes in a file of the same format: constant, one pixel wide, or many times larger."""
    picture = Image.open(io.BytesIO(content))
    kind, mode = picture.format, picture.mode
    shape = [(1, 1), (1, 40), (40, 1), (2, 3), (3000, 20), (500, 700)][int(rng.integers(0, 6))]
    changed = picture.convert("L").resize(shape) if rng.random() < 0.6 else Image.new("L", (40, 40), 7)
    out = io.BytesIO()
    changed.convert(mode if mode in ("L", "RGB") else "L").save(out, kind)
    return out.getvalue()


PNG_MUTATORS: tuple[Mutator, ...] = (
    png_header,
    png_chunk_data,
    png_chunk_order,
    png_added,
    png_bomb,
    same_picture_elsewhere,
)
JPEG_MUTATORS: tuple[Mutator, ...] = (
    jpeg_frame,
    jpeg_segment_data,
    jpeg_segment_order,
    jpeg_application,
    same_picture_elsewhere,
)
BMP_MUTATORS: tuple[Mutator, ...] = (bmp_header, bmp_header, bmp_header, same_picture_elsewhere)
TIFF_MUTATORS: tuple[Mutator, ...] = (tiff_entry,)
