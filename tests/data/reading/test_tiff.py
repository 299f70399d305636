# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageOps

from medsegdiff_monai.data.reading import read_header, read_image, read_label
from medsegdiff_monai.utils import InputError

ROWS, COLUMNS = 20, 36
GREY = np.random.default_rng(0).integers(0, 256, (ROWS, COLUMNS)).astype(np.uint8)
COLOUR = np.random.default_rng(1).integers(0, 256, (ROWS, COLUMNS, 3)).astype(np.uint8)


def channel_first(pixels: np.ndarray) -> np.ndarray:
    """Rows, columns and channels as ``(C, columns, rows)``."""
    return pixels.reshape((*pixels.shape[:2], -1)).transpose(2, 1, 0)


def write(folder: Path, pixels: np.ndarray, **tags: Any) -> Path:
    tifffile.imwrite(folder / "a.tif", pixels, **{"photometric": "minisblack", **tags})
    return folder / "a.tif"


@pytest.mark.parametrize("tile", [None, (16, 16)], ids=["strips", "tiles"])
@pytest.mark.parametrize("compression", [None, "lzw", "zlib", "packbits", "zstd"])
@pytest.mark.parametrize("byteorder", ["<", ">"])
def test_pixels_are_the_same_however_they_are_stored(
    tmp_path: Path, compression: str | None, tile: Any, byteorder: Any
) -> None:
    path = write(tmp_path, COLOUR, photometric="rgb", compression=compression, tile=tile, byteorder=byteorder)
    np.testing.assert_array_equal(read_image(path)[0], channel_first(COLOUR))
    path = write(tmp_path, np.moveaxis(COLOUR, 2, 0), photometric="rgb", planarconfig="separate", bigtiff=True)
    np.testing.assert_array_equal(read_image(path)[0], channel_first(COLOUR))


@pytest.mark.parametrize("dtype", [np.uint16, np.int16, np.int32, np.float32, np.float64])
def test_numbers_are_kept_whatever_their_type(tmp_path: Path, dtype: type) -> None:
    values = (GREY.astype(np.float64) * 100).astype(dtype) - (0 if dtype is np.uint16 else 7)
    image, header = read_image(write(tmp_path, values, compression="lzw"))
    np.testing.assert_array_equal(image, channel_first(values))
    assert image.dtype == np.float32
    assert (header.kind, header.shape, header.channels) == ("TIFF", (COLUMNS, ROWS), 1)


def test_jpeg_in_tiff_is_rgb(tmp_path: Path) -> None:
    smooth = np.stack([np.add.outer(np.arange(ROWS) * 3, np.arange(COLUMNS) * k) for k in (1, 2, 3)], -1)
    Image.fromarray(smooth.astype(np.uint8)).save(tmp_path / "a.tif", compression="jpeg", quality=95)
    assert np.abs(read_image(tmp_path / "a.tif")[0] - channel_first(smooth)).max() < 12


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_white_is_zero_is_turned_round(tmp_path: Path, dtype: type) -> None:
    shown = GREY.astype(dtype) * (np.iinfo(dtype).max // 255)
    path = write(tmp_path, np.iinfo(dtype).max - shown, photometric="miniswhite")
    np.testing.assert_array_equal(read_image(path)[0], channel_first(shown))
    path = write(tmp_path, GREY.astype(np.float32), photometric="miniswhite")
    with pytest.raises(InputError, match="says that white is 0, of numbers without a largest one"):
        read_image(path)


@pytest.mark.parametrize("compression", [None, "group4"])
def test_bits_are_black_and_white_and_as_label_0_and_1(tmp_path: Path, compression: str | None) -> None:
    bits = GREY > 100
    Image.fromarray(bits).save(tmp_path / "a.tif", compression=compression)
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif")[0], channel_first(bits * 255))
    np.testing.assert_array_equal(read_label(tmp_path / "a.tif")[0], channel_first(bits))


@pytest.mark.parametrize("scale", [257, 1], ids=["16 bits", "bytes in 16 bits"])
def test_colour_map_gives_colours_and_as_label_its_indices(tmp_path: Path, scale: int) -> None:
    colours = np.random.default_rng(2).integers(1, 256, (3, 256)).astype(np.uint16)
    path = write(tmp_path, GREY, photometric="palette", colormap=colours * scale)
    np.testing.assert_array_equal(read_image(path)[0], channel_first(colours.T[GREY]))
    np.testing.assert_array_equal(read_label(path)[0], channel_first(GREY))
    assert read_header(path).channels == 3


def test_colour_of_16_bits_is_that_of_8_and_a_label_keeps_its_numbers(tmp_path: Path) -> None:
    path = write(tmp_path, COLOUR.astype(np.uint16) * 257, photometric="rgb")
    np.testing.assert_array_equal(read_image(path)[0], channel_first(COLOUR))
    values = (GREY % 3).astype(np.uint16)
    path = write(tmp_path, np.repeat(values[..., None], 3, axis=2), photometric="rgb")
    np.testing.assert_array_equal(read_label(path)[0], channel_first(values))


@pytest.mark.parametrize("planar", [False, True])
def test_alpha_is_dropped_where_it_is_opaque_and_refused_where_not(tmp_path: Path, planar: bool) -> None:
    with_alpha = np.dstack([COLOUR, np.full((ROWS, COLUMNS), 255, np.uint8)])
    for opaque in (True, False):
        with_alpha[3, 4, 3] = 255 if opaque else 254
        stored = np.moveaxis(with_alpha, 2, 0) if planar else with_alpha
        settings = {"planarconfig": "separate" if planar else "contig", "extrasamples": ["unassalpha"]}
        path = write(tmp_path, stored, photometric="rgb", **settings)
        if opaque:
            np.testing.assert_array_equal(read_image(path)[0], channel_first(COLOUR))
        else:
            with pytest.raises(InputError, match="is partly transparent"):
                read_image(path)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_picture_is_read_as_its_orientation_shows_it(tmp_path: Path, orientation: int) -> None:
    path = write(tmp_path, COLOUR, photometric="rgb", extratags=[(274, "H", 1, orientation, True)])
    with Image.open(path) as picture:
        shown = np.asarray(ImageOps.exif_transpose(picture))
    image, header = read_image(path)
    np.testing.assert_array_equal(image, channel_first(shown))
    assert (header.orientation, header.shape) == (orientation, image.shape[1:])


@pytest.mark.parametrize("settings", [{}, {"imagej": True, "photometric": None}, {"ome": True}])
def test_several_pages_are_refused_and_counted(tmp_path: Path, settings: dict) -> None:
    """ImageJ's hyperstacks have one directory and a note that says how many pages there are."""
    with pytest.raises(InputError, match="holds 3 pages: save the one to segment"):
        read_header(write(tmp_path, np.stack([GREY] * 3), **settings))


@pytest.mark.parametrize("first", [True, False], ids=["before", "after"])
def test_thumbnail_is_no_page(tmp_path: Path, first: bool) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        if first:
            writer.write(GREY[::4, ::4], subfiletype=1, photometric="minisblack")
        writer.write(GREY, photometric="minisblack")
        if not first:
            writer.write(GREY[::4, ::4], subfiletype=1, photometric="minisblack")
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif")[0], channel_first(GREY))


def test_forms_that_are_not_read_are_named(tmp_path: Path) -> None:
    Image.fromarray(COLOUR).convert("CMYK").save(tmp_path / "cmyk.tif")
    Image.fromarray(COLOUR).convert("LAB").save(tmp_path / "lab.tif")
    tifffile.imwrite(tmp_path / "png.tif", GREY, compression="png")
    tifffile.imwrite(tmp_path / "complex.tif", GREY.astype(np.complex64))
    for name, reason in {
        "cmyk": "is in CMYK, not in grey or RGB",
        "lab": "is in CIELab, not in grey or RGB",
        "png": r"is compressed in a way that is not read \(PNG\): save it with LZW or deflate",
        "complex": "holds complex numbers: save their magnitude",
    }.items():
        with pytest.raises(InputError, match=reason):
            read_header(tmp_path / f"{name}.tif")


@pytest.mark.parametrize("compression", [None, "lzw", "zlib", "packbits", "jpeg", "zstd"])
def test_size_that_a_file_cannot_have_costs_a_sentence(tmp_path: Path, compression: str | None) -> None:
    path = write(tmp_path, GREY, compression=compression)
    with tifffile.TiffFile(path, mode="r+b") as tiff:
        for tag in (256, 257, 278):
            tiff.pages[0].tags[tag].overwrite(100000, dtype="I")
    with pytest.raises(InputError, match=r"cannot hold 100000 x 100000 pixels as it declares|10000000000 values"):
        read_image(path)


def test_part_in_jpeg_may_not_declare_more_than_the_picture(tmp_path: Path) -> None:
    path = write(tmp_path, GREY, compression="jpeg")
    content = bytearray(path.read_bytes())
    at = content.index(b"\xff\xc0")
    content[at + 5 : at + 9] = (60000).to_bytes(2, "big") * 2
    path.write_bytes(content)
    with pytest.raises(InputError, match="a part of it declares more pixels than all"):
        read_image(path)


@pytest.mark.parametrize("compression", [None, "lzw", "zlib"])
def test_truncated_file_is_refused(tmp_path: Path, compression: str | None) -> None:
    path = write(tmp_path, GREY, compression=compression, rowsperstrip=4)
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(InputError, match="cannot be read: it is damaged or truncated"):
        read_image(path)
