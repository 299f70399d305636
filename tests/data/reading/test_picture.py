# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from medsegdiff_monai.data.reading import FileHeader, read_header, read_image, read_label
from medsegdiff_monai.utils import InputError

ROWS, COLUMNS = 16, 24  # whole blocks of JPEG
GREY = np.random.default_rng(0).integers(0, 256, (ROWS, COLUMNS)).astype(np.uint8)
COLOUR = np.random.default_rng(1).integers(0, 256, (ROWS, COLUMNS, 3)).astype(np.uint8)


def exif(orientation: int) -> Image.Exif:
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


def channel_first(pixels: np.ndarray) -> np.ndarray:
    """Rows, columns and channels as ``(C, columns, rows)``."""
    return pixels.reshape((*pixels.shape[:2], -1)).transpose(2, 1, 0)


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(columns: int, rows: int, data: bytes, bits: int = 8, colour: int = 0) -> bytes:
    header = struct.pack(">IIBBBBB", columns, rows, bits, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(("suffix", "pixels"), [(".png", COLOUR), (".jpg", GREY)])
def test_picture_is_read_as_its_orientation_shows_it(
    tmp_path: Path, suffix: str, pixels: np.ndarray, orientation: int
) -> None:
    path = tmp_path / f"a{suffix}"
    Image.fromarray(pixels).save(path, exif=exif(orientation))
    with Image.open(path) as picture:
        shown = np.asarray(ImageOps.exif_transpose(picture))
    image, header = read_image(path)
    np.testing.assert_array_equal(image, channel_first(shown))
    assert (header.orientation, header.shape) == (orientation, image.shape[1:])


def test_orientation_behind_the_pixels_is_found_and_a_damaged_one_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(GREY).save(path)
    content, tags = path.read_bytes(), exif(6).tobytes()[6:]
    path.write_bytes(content[:-12] + chunk(b"eXIf", tags) + content[-12:])
    assert (read_header(path).orientation, read_header(path).shape) == (6, (ROWS, COLUMNS))
    path.write_bytes(content[:-12] + chunk(b"eXIf", tags[:3]) + content[-12:])
    assert (read_header(path).orientation, read_header(path).shape) == (None, (COLUMNS, ROWS))
    Image.fromarray(GREY).save(path, exif=exif(9))
    assert read_header(path).orientation is None


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_alpha_is_dropped_where_it_is_opaque_and_refused_where_not(tmp_path: Path, mode: str) -> None:
    picture = Image.fromarray(COLOUR).convert(mode)
    picture.save(tmp_path / "a.png")
    expected = np.asarray(picture)[..., :-1]
    np.testing.assert_array_equal(read_image(tmp_path / "a.png")[0], channel_first(expected))
    picture.putpixel((3, 2), (*picture.getpixel((3, 2))[:-1], 254))
    picture.save(tmp_path / "a.png")
    for read in (read_image, read_label):
        with pytest.raises(InputError, match="is partly transparent: save it without transparency"):
            read(tmp_path / "a.png")


def test_transparent_colour_of_a_palette_is_a_colour(tmp_path: Path) -> None:
    picture = Image.fromarray(GREY % 3)
    picture.putpalette([0, 0, 0, 200, 30, 5, 1, 2, 255])
    picture.save(tmp_path / "a.png", transparency=0)
    with Image.open(tmp_path / "a.png") as stored:
        expected = np.asarray(stored.convert("RGB"))
    np.testing.assert_array_equal(read_image(tmp_path / "a.png")[0], channel_first(expected))


def test_picture_of_a_printer_and_animation_are_refused_by_their_reason(tmp_path: Path) -> None:
    Image.fromarray(COLOUR).convert("CMYK").save(tmp_path / "a.jpg")
    with pytest.raises(InputError, match="is in CMYK, the colours of a printer: save it in RGB or grey"):
        read_image(tmp_path / "a.jpg")
    Image.fromarray(GREY).save(tmp_path / "a.png", save_all=True, append_images=[Image.fromarray(255 - GREY)])
    with pytest.raises(InputError, match="is an animation of 2 pictures: save the one to segment"):
        read_header(tmp_path / "a.png")


def test_label_in_colour_of_16_bits_is_refused_for_its_low_bytes_would_be_lost(tmp_path: Path) -> None:
    rows = b"".join(b"\0" + struct.pack(">6H", 0, 0, 0, 1, 1, 1) for _ in range(2))
    (tmp_path / "a.png").write_bytes(png(2, 2, zlib.compress(rows), bits=16, colour=2))
    with pytest.raises(InputError, match="is a label in colour of 16 bits: save it as grey"):
        read_label(tmp_path / "a.png")


def bmp(columns: int, rows: int, data: bytes) -> bytes:
    """An uncompressed BMP file of 24 bits."""
    information = struct.pack("<IiiHHIIiiII", 40, columns, rows, 1, 24, 0, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54 + len(data), 0, 0, 54) + information + data


def jpeg(columns: int, rows: int) -> bytes:
    """A small JPEG file whose header declares another size."""
    stream = io.BytesIO()
    Image.fromarray(GREY).save(stream, "JPEG")
    content = bytearray(stream.getvalue())
    at = content.index(b"\xff\xc0")
    content[at + 5 : at + 9] = struct.pack(">HH", rows, columns)
    return bytes(content)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.bmp", bmp(14549088, 96, bytes(10240))),
        ("a.png", png(100000, 100000, zlib.compress(bytes(1000)))),
        ("a.png", png(2**31 - 1, 2**31 - 1, b"")),
        ("a.jpg", jpeg(65000, 65000)),
    ],
    ids=["bmp", "png", "largest png", "jpeg"],
)
def test_size_that_a_file_cannot_have_costs_a_sentence(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=r"as its \d+ bytes cannot hold \d+ x \d+ pixels as it declares; replace it"):
        read_image(tmp_path / name)


def test_size_above_the_limit_is_refused_though_the_file_could_hold_it(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png(60000, 20000, bytes(1200000)))
    with pytest.raises(InputError, match=r"declares 60000 x 20000 pixels with 1200000000 values .* 536870912 are read"):
        read_header(tmp_path / "a.png")


def test_picture_beyond_the_limit_of_pillow_has_a_header(tmp_path: Path, recwarn: Any) -> None:
    (tmp_path / "a.png").write_bytes(png(20000, 20000, bytes(400000)))
    header = read_header(tmp_path / "a.png")
    assert header == FileHeader("PNG", (20000, 20000), 1, affine=header.affine)
    assert header.values == 4 * 10**8
    assert len(recwarn) == 0


def test_rows_of_bmp_may_lack_the_last_padding(tmp_path: Path) -> None:
    (tmp_path / "a.bmp").write_bytes(bmp(1, 2, bytes([1, 2, 3, 0, 4, 5, 6])))
    assert read_header(tmp_path / "a.bmp").shape == (1, 2)
