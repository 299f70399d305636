# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0


from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from apps.dicom import objects
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless, RLELossless

from medsegdiff_monai.apps.dicom import Privacy, read_headers
from medsegdiff_monai.apps.dicom.reading.pixels import decode_frames
from medsegdiff_monai.utils import InputError

FRAMES = np.random.default_rng(6).integers(0, 256, (3, 40, 60)).astype(np.uint8)
COMPRESSED = [RLELossless, JPEG2000Lossless, JPEGLSLossless]


def decoded(path: Path) -> np.ndarray:
    (instance,) = read_headers([path], Privacy())[0]
    return decode_frames(instance, "the object")


def changed(folder: Path, array: np.ndarray, syntax: Any = None, **attributes: Any) -> Path:
    """An object with attributes that are put in after the pixels; None takes one away."""
    several = array.ndim == 3
    kind = objects.ULTRASOUND_MULTIFRAME if several else objects.ULTRASOUND
    path = objects.picture(folder / "a.dcm", array, objects.new_study(), kind)
    ds = pydicom.dcmread(path)
    if syntax is not None:
        ds.compress(syntax)
    for keyword, value in attributes.items():
        if value is None:
            del ds[keyword]
        else:
            setattr(ds, keyword, value)
    ds.save_as(path)
    return path


@pytest.mark.parametrize("stated", [2, 5, 2**31 - 1])
@pytest.mark.parametrize("syntax", [None, *COMPRESSED])
def test_all_whole_frames_are_read_however_many_are_stated(tmp_path: Path, syntax: Any, stated: int) -> None:
    path = changed(tmp_path, FRAMES, syntax, NumberOfFrames=stated)
    np.testing.assert_array_equal(decoded(path), FRAMES)


def test_several_frames_in_an_object_that_states_one_are_refused_with_the_sizes(tmp_path: Path) -> None:
    """It may as well have more bits or colours than it says."""
    path = changed(tmp_path, FRAMES, NumberOfFrames=1)
    with pytest.raises(InputError, match=r"are 7200 bytes, but 1 x 40 x 60 with 1 x 8 bits are 2400"):
        decoded(path)


@pytest.mark.parametrize(
    "attributes",
    [
        {"BitsStored": 12, "HighBit": 11},
        {"BitsStored": 0},
        {"BitsStored": None},
        {"HighBit": 15},
        {"HighBit": None},
        {"BitsAllocated": None},
        {"SamplesPerPixel": None},
        {"PixelRepresentation": None},
        {"NumberOfFrames": 0},
        {"NumberOfFrames": -1},
        {"PhotometricInterpretation": "monochrome2"},
    ],
)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_what_the_pixels_leave_no_doubt_about_is_mended(tmp_path: Path, attributes: dict[str, Any]) -> None:
    np.testing.assert_array_equal(decoded(changed(tmp_path, FRAMES[0], **attributes))[0], FRAMES[0])


@pytest.mark.parametrize("shape", [(7, 9), (40, 60)])
def test_padding_behind_the_pixels_is_no_frame(tmp_path: Path, shape: tuple[int, int]) -> None:
    picture = FRAMES[0, : shape[0], : shape[1]].copy()
    path = changed(tmp_path, picture)
    ds = pydicom.dcmread(path)
    ds.PixelData = ds.PixelData + bytes(10)
    ds.save_as(path)
    np.testing.assert_array_equal(decoded(path)[0], picture)


@pytest.mark.parametrize(
    ("attributes", "fragment"),
    [
        ({"Rows": 65535, "Columns": 65535}, "too small for the 65535 x 65535 pixels"),
        ({"Rows": 80}, "truncated"),
        ({"Rows": 10}, "are 2400 bytes, but 1 x 10 x 60"),
        ({"BitsAllocated": 12}, "how many bits"),
        ({"BitsAllocated": 1}, "a mask and no image"),
        ({"PhotometricInterpretation": None}, "does not state its Photometric Interpretation"),
        ({"PixelData": b""}, "truncated"),
        ({"PixelData": b"", "Rows": 1, "Columns": 1}, "missing"),
    ],
)
def test_a_size_that_cannot_be_is_refused_with_the_reason(
    tmp_path: Path, attributes: dict[str, Any], fragment: str
) -> None:
    with pytest.raises(InputError, match=fragment):
        decoded(changed(tmp_path, FRAMES[0], **attributes))


@pytest.mark.parametrize("syntax", COMPRESSED)
@pytest.mark.parametrize("size", [20_000, 60_000])
def test_a_small_compressed_file_that_declares_gigabytes_is_refused(tmp_path: Path, syntax: Any, size: int) -> None:
    path = changed(tmp_path, FRAMES[0], syntax, Rows=size, Columns=size)
    with pytest.raises(InputError, match=r"declares|header states|truncated"):
        decoded(path)


def test_pixels_that_are_not_compressed_are_read_although_the_file_says_so(tmp_path: Path) -> None:
    path = changed(tmp_path, FRAMES[0])
    content = path.read_bytes()
    path.write_bytes(content.replace(b"1.2.840.10008.1.2.1\0", RLELossless.encode() + b"\0", 1))
    np.testing.assert_array_equal(decoded(path)[0], FRAMES[0])


@pytest.mark.parametrize("syntax", COMPRESSED)
def test_compressed_pixels_without_a_transfer_syntax_are_refused(tmp_path: Path, syntax: Any) -> None:
    path = changed(tmp_path, FRAMES[0], syntax)
    content = path.read_bytes()
    start = content.index(b"\x02\x00\x10\x00UI")
    path.write_bytes(content[:start] + content[start + 8 + content[start + 6] :])
    with pytest.raises(InputError, match="compressed, and its file does not say how"):
        decoded(path)


@pytest.mark.parametrize(("stated", "expected"), [({"RescaleSlope": 2}, 2.0), ({"RescaleIntercept": -3}, 1.0)])
def test_a_slope_or_an_intercept_alone_is_applied(tmp_path: Path, stated: dict[str, int], expected: float) -> None:
    values = decoded(changed(tmp_path, FRAMES[0], **stated))[0]
    np.testing.assert_array_equal(values, FRAMES[0] * expected + stated.get("RescaleIntercept", 0))
