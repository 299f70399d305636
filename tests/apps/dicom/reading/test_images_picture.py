# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0


from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from apps.dicom import objects
from pydicom.uid import MPEG4HP41, JPEG2000Lossless, JPEGLossless, RLELossless

from medsegdiff_monai.apps.dicom import ImageKind, Instance, Privacy, read_headers
from medsegdiff_monai.apps.dicom.reading.images import PictureInput, pixel_spacing, read_picture
from medsegdiff_monai.utils import InputError

RNG = np.random.default_rng(21)
GREY = RNG.integers(0, 256, (6, 8)).astype(np.uint8)
COLOUR = RNG.integers(0, 256, (6, 8, 3)).astype(np.uint8)


def instance_of(path: Path) -> Instance:
    return read_headers([path], Privacy())[0][0]


def read(path: Path, array: np.ndarray, kind: ImageKind = ImageKind.RGB, **settings: Any) -> PictureInput:
    objects.picture(path, array, objects.new_study(), **settings)
    return read_picture(instance_of(path), kind)


def rows_first(read_in: PictureInput) -> list[np.ndarray]:
    """Frames as ``(rows, columns[, 3])``."""
    arrays = [np.transpose(i.numpy(), (2, 1, 0)) for i in read_in.images]
    return [a[..., 0] if a.shape[-1] == 1 else a for a in arrays]


def full_range_ycbcr(rgb: np.ndarray) -> np.ndarray:
    """ITU-R 601 as PS3.3 C.7.6.3.1.2 states it for YBR_FULL."""
    matrix = np.array([[0.299, 0.587, 0.114], [-0.1687, -0.3313, 0.5], [0.5, -0.4187, -0.0813]])
    return np.clip(np.rint(rgb @ matrix.T + [0, 128, 128]), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("planar", [0, 1])
def test_rgb_of_both_planar_configurations(tmp_path: Path, planar: int) -> None:
    (frame,) = rows_first(read(tmp_path / "a.dcm", COLOUR, photometric="RGB", planar=planar))
    np.testing.assert_array_equal(frame, COLOUR)


@pytest.mark.parametrize("planar", [0, 1])
def test_ybr_full_becomes_rgb(tmp_path: Path, planar: int) -> None:
    stored = full_range_ycbcr(COLOUR.astype(float))
    (frame,) = rows_first(read(tmp_path / "a.dcm", stored, photometric="YBR_FULL", planar=planar))
    inside = ((stored > 0) & (stored < 255)).all(-1)  # what was clipped cannot come back
    np.testing.assert_allclose(frame[inside], COLOUR[inside], atol=3)


def test_ybr_full_422_becomes_rgb(tmp_path: Path) -> None:
    """Two pixels share their chroma: Y Y Cb Cr (PS3.3 C.7.6.3.1.2)."""
    flat = np.repeat(COLOUR[:, ::2], 2, axis=1)
    path = objects.picture(tmp_path / "a.dcm", flat, objects.new_study(), photometric="RGB")
    ybr = full_range_ycbcr(flat.astype(float))
    packed = np.stack([ybr[:, 0::2, 0], ybr[:, 1::2, 0], ybr[:, ::2, 1], ybr[:, ::2, 2]], axis=-1)
    ds = pydicom.dcmread(path)
    ds.PhotometricInterpretation, ds.PixelData = "YBR_FULL_422", packed.tobytes()
    ds.save_as(path)
    (frame,) = rows_first(read_picture(instance_of(path), ImageKind.RGB))
    inside = ((ybr > 0) & (ybr < 255)).all(-1)
    np.testing.assert_allclose(frame[inside], flat[inside], atol=3)


def test_palettes_become_their_colours(tmp_path: Path) -> None:
    colours = RNG.integers(0, 256, (256, 3)).astype(np.uint8)
    extra = objects.palette(colours)
    (frame,) = rows_first(read(tmp_path / "a.dcm", GREY, photometric="PALETTE COLOR", **extra))
    np.testing.assert_array_equal(frame, colours[GREY])


def test_colours_become_grey_by_their_luminance(tmp_path: Path) -> None:
    (frame,) = rows_first(read(tmp_path / "a.dcm", COLOUR, ImageKind.GREY, photometric="RGB"))
    np.testing.assert_allclose(frame, COLOUR @ [0.299, 0.587, 0.114], atol=0.51)
    equal = np.repeat(GREY[..., None], 3, axis=-1)
    (frame,) = rows_first(read(tmp_path / "b.dcm", equal, ImageKind.GREY, photometric="RGB"))
    np.testing.assert_array_equal(frame, GREY)


def test_monochrome1_is_turned_round(tmp_path: Path) -> None:
    (frame,) = rows_first(read(tmp_path / "a.dcm", GREY, ImageKind.GREY, photometric="MONOCHROME1"))
    np.testing.assert_array_equal(frame, 255 - GREY)


@pytest.mark.parametrize("stored", [np.stack([GREY, GREY[::-1], GREY.T.reshape(6, 8)]), GREY[None].repeat(3, 0)])
def test_all_frames_are_read_in_order(tmp_path: Path, stored: np.ndarray) -> None:
    settings = {"sop_class": objects.ULTRASOUND_MULTIFRAME}
    frames = rows_first(read(tmp_path / "a.dcm", stored, ImageKind.GREY, **settings))
    np.testing.assert_array_equal(np.stack(frames), stored)


def test_deep_colours_are_scaled_to_eight_bits(tmp_path: Path) -> None:
    deep = COLOUR.astype(np.uint16) * 257
    (frame,) = rows_first(read(tmp_path / "a.dcm", deep, photometric="RGB", sop_class=objects.FUNDUS_8BIT))
    np.testing.assert_array_equal(frame, COLOUR)


@pytest.mark.parametrize("bits", [0, 7000, 65535])
def test_bits_that_cannot_be_stored_are_those_that_are_allocated(tmp_path: Path, bits: int) -> None:
    path = objects.picture(tmp_path / "a.dcm", GREY, objects.new_study(), photometric="MONOCHROME1")
    ds = pydicom.dcmread(path)
    ds.BitsStored = bits
    ds.save_as(path)
    assert [frame.tolist() for frame in rows_first(read_picture(instance_of(path), ImageKind.GREY))] == [
        (255 - GREY).tolist()
    ]


def test_grey_is_refused_where_colours_are_needed(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is grey, colour photographs are expected"):
        read(tmp_path / "a.dcm", GREY)


@pytest.mark.parametrize(("syntax", "module"), [(RLELossless, "pydicom"), (JPEG2000Lossless, "openjpeg")])
def test_compressed_pixels_are_those_of_the_original(tmp_path: Path, syntax: str, module: str) -> None:
    pytest.importorskip(module, reason="needs pylibjpeg-openjpeg")
    large = np.tile(GREY, (12, 9))  # JPEG 2000 halves an image several times
    path = objects.picture(tmp_path / "a.dcm", large, objects.new_study())
    ds = pydicom.dcmread(path)
    ds.compress(syntax, generate_instance_uid=False)
    ds.save_as(path)
    (frame,) = rows_first(read_picture(instance_of(path), ImageKind.GREY))
    np.testing.assert_array_equal(frame, large)


def as_if(path: Path, syntax: str) -> Instance:
    ds = pydicom.dcmread(path)
    ds.file_meta.TransferSyntaxUID = syntax
    ds.PixelData = pydicom.encaps.encapsulate([b"\xff\xd8\xff\xd9"])
    ds.save_as(path)
    return instance_of(path)


def test_a_missing_decoder_is_named_with_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    instance = as_if(objects.picture(tmp_path / "a.dcm", GREY, objects.new_study()), JPEGLossless)
    monkeypatch.setattr("pydicom.pixels.decoders.base.Decoder.is_available", property(lambda _: False))
    with pytest.raises(InputError, match=r"there is no decoder: install .*pylibjpeg-libjpeg"):
        read_picture(instance, ImageKind.GREY)


def test_a_video_is_refused(tmp_path: Path) -> None:
    instance = as_if(objects.picture(tmp_path / "a.dcm", GREY, objects.new_study()), MPEG4HP41)
    with pytest.raises(InputError, match="compressed in a way that cannot be read"):
        read_picture(instance, ImageKind.GREY)


def test_cut_pixels_are_refused(tmp_path: Path) -> None:
    path = objects.picture(tmp_path / "a.dcm", GREY, objects.new_study())
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(InputError, match="truncated"):
        read_picture(instance_of(path), ImageKind.GREY)


def region(**attributes: Any) -> pydicom.Dataset:
    ds = pydicom.Dataset()
    stated = {"RegionSpatialFormat": 1, "PhysicalUnitsXDirection": 3, "PhysicalUnitsYDirection": 3}
    for name, value in {**stated, "PhysicalDeltaX": 0.01, "PhysicalDeltaY": 0.02, **attributes}.items():
        setattr(ds, name, value)
    return ds


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({}, None),
        ({"PixelSpacing": [0.3, 0.4]}, (0.3, 0.4)),
        ({"SequenceOfUltrasoundRegions": [region()]}, (0.2, 0.1)),
        ({"SequenceOfUltrasoundRegions": [region(), region(RegionSpatialFormat=3, PhysicalDeltaX=5.0)]}, (0.2, 0.1)),
        ({"SequenceOfUltrasoundRegions": [region(), region(PhysicalDeltaX=0.05)]}, None),
        ({"SequenceOfUltrasoundRegions": [region(PhysicalUnitsXDirection=4)]}, None),
        ({"PixelSpacing": [0, 0.4]}, None),
    ],
)
def test_spacing_is_stated_in_mm_or_not_at_all(attributes: dict[str, Any], expected: Any) -> None:
    ds = pydicom.Dataset()
    for name, value in attributes.items():
        setattr(ds, name, value)
    assert pixel_spacing(ds) == (None if expected is None else pytest.approx(expected))
