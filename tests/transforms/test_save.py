# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from PIL import Image, ImageOps

from medsegdiff_monai.data import Regions
from medsegdiff_monai.transforms import LoadCased, SaveSegmentationd, in_dims
from medsegdiff_monai.utils import InputError

ROWS, COLUMNS = 5, 9
OBLIQUE = np.array([[1.5, -0.25, 0.0, 7.0], [0.3, 2.0, 0.1, -8.5], [0.0, 0.2, -3.0, 9.1], [0.0, 0.0, 0.0, 1.0]])

OBLIQUE_RIGID = np.array([[0.0, -2.0, 0.0, 7.0], [1.5, 0.0, 0.0, -8.5], [0.0, 0.0, 3.0, 9.0], [0.0, 0.0, 0.0, 1.0]])


def result(array: Any, source: str, affine: np.ndarray | None = None) -> MetaTensor:
    """A result of one channel, in MONAI's axis order."""
    return MetaTensor(torch.as_tensor(array)[None], affine=affine, meta={"filename_or_obj": source})


def from_picture(rows_and_columns: np.ndarray, source: str = "/data/case.png") -> MetaTensor:
    return result(rows_and_columns.T.copy(), source)


def label_pixels(top: int = 2) -> np.ndarray:
    """A label map of rows and columns without any symmetry."""
    return np.random.default_rng(0).integers(0, top, (ROWS, COLUMNS)).astype(np.float32)


def save(folder: Path, key: str = "pred", **results: MetaTensor) -> None:
    SaveSegmentationd(list(results), [f"{k}_map" for k in results], folder, label_keys=key)(results)


def fail(*args: Any) -> None:
    raise OSError(28, "No space left on device")


def write_half(data: bytes):
    def write(path: Path) -> None:
        path.write_bytes(data[: len(data) // 2])
        fail()

    return write


@pytest.mark.parametrize("top", [2, 4, 256])
def test_png_label_has_the_values_at_the_rows_and_columns_of_the_image(tmp_path: Path, top: int) -> None:
    labels = label_pixels(top)
    save(tmp_path, pred=from_picture(labels))
    with Image.open(tmp_path / "case_pred_map.png") as picture:
        assert (picture.mode, picture.size) == ("P", (COLUMNS, ROWS))
        np.testing.assert_array_equal(np.asarray(picture), labels)
        colours = np.asarray(picture.convert("RGB"))
    assert len({tuple(c) for c in colours[labels == 1]}) == 1
    assert (colours[labels == 0] == 0).all()
    assert (colours[labels > 0].max(axis=-1) > 100).all()


def test_png_label_is_read_back_by_the_loader(tmp_path: Path) -> None:
    labels = label_pixels(3)
    save(tmp_path, pred=from_picture(labels))
    back = LoadCased("label")({"label": str(tmp_path / "case_pred_map.png")})["label"]
    np.testing.assert_array_equal(back[0].numpy(), labels.T)


def test_png_map_is_exact_to_a_16_bit_step(tmp_path: Path) -> None:
    values = np.random.default_rng(1).random((ROWS, COLUMNS)).astype(np.float32)
    values[0, :3] = 0.0, 1.0, 0.5
    values[1, :2] = -1e-3, 1 + 1e-3  # as interpolation may leave them
    save(tmp_path, probability=from_picture(values))
    with Image.open(tmp_path / "case_probability_map.png") as picture:
        assert picture.mode == "I;16"
        pixels = np.asarray(picture).astype(float)
    assert pixels[0, :3].tolist() == [0, 65535, 32768]
    assert pixels[1, :2].tolist() == [0, 65535]
    assert np.abs(pixels / 65535 - values.clip(0, 1)).max() <= 0.5001 / 65535


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".NII.GZ"])
@pytest.mark.parametrize("shape", [(6, 5), (6, 5, 4)], ids=["2d", "3d"])
def test_nifti_has_the_voxels_and_the_affine(tmp_path: Path, shape: tuple[int, ...], suffix: str) -> None:
    generator = np.random.default_rng(2)
    labels = generator.integers(0, 256, shape).astype(np.float32)
    values = generator.random(shape).astype(np.float32)
    source = f"/data/p.01_t1{suffix}"
    affine = OBLIQUE.astype(np.float32).astype(float)  # what a NIfTI header can hold
    save(tmp_path, pred=result(labels, source, affine), probability=result(values, source, affine))
    for name, expected, dtype in (("pred", labels, np.uint8), ("probability", values, np.float32)):
        image = nib.load(tmp_path / f"p.01_t1_{name}_map.nii.gz")
        assert image.get_data_dtype() == dtype
        np.testing.assert_array_equal(np.asanyarray(image.dataobj), expected)
        np.testing.assert_array_equal(image.affine, affine)
        assert image.header.get_xyzt_units()[0] == "mm"


def test_case_is_returned_unchanged_and_absent_results_are_skipped(tmp_path: Path) -> None:
    data = {"pred": from_picture(label_pixels()), "name": "x"}
    transform = SaveSegmentationd(["pred", "uncertainty"], ["seg", "unc"], tmp_path, "pred", allow_missing_keys=True)
    assert transform(data) == data
    assert [p.name for p in tmp_path.iterdir()] == ["case_seg.png"]
    with pytest.raises(KeyError, match="uncertainty"):
        SaveSegmentationd(["pred", "uncertainty"], ["seg", "unc"], tmp_path, "pred")(data)


def test_without_a_folder_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    data = {"pred": from_picture(label_pixels())}
    assert SaveSegmentationd("pred", ["seg"], None, "pred")(data) == data
    assert list(tmp_path.iterdir()) == []


def test_result_of_several_channels_is_refused(tmp_path: Path) -> None:
    two = MetaTensor(torch.zeros(2, 4, 5), meta={"filename_or_obj": "/data/case.png"})
    with pytest.raises(ValueError, match="one channel to be saved, got 2"):
        save(tmp_path, pred=two)
    assert list(tmp_path.iterdir()) == []


def test_maps_of_several_regions_are_files_of_their_own(tmp_path: Path) -> None:
    values = np.random.default_rng(4).random((3, ROWS, COLUMNS)).astype(np.float32)
    maps = MetaTensor(torch.as_tensor(values), meta={"filename_or_obj": "/data/p1_t1.nii.gz", "case": "p1"})
    regions = {"TC": [1, 4], "unlabelled": [], "ET": [4]}
    SaveSegmentationd("probability", ["probability"], tmp_path, regions=regions)({"probability": maps})
    names = sorted(p.name for p in tmp_path.iterdir())
    assert names == ["p1_probability_ET.nii.gz", "p1_probability_TC.nii.gz"]
    for name, channel in (("TC", 0), ("ET", 2)):
        voxels = np.asanyarray(nib.load(tmp_path / f"p1_probability_{name}.nii.gz").dataobj)
        np.testing.assert_array_equal(voxels, values[channel])
    with pytest.raises(ValueError, match="must have 3 channels to be saved, got 2"):
        SaveSegmentationd("probability", ["probability"], tmp_path, regions=regions)({"probability": maps[:2]})


def test_postfixes_must_match_the_keys(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="one entry for each key"):
        SaveSegmentationd(["pred", "probability"], ["seg"], tmp_path)


def test_folder_is_made_and_one_that_cannot_be_is_refused_at_construction(tmp_path: Path) -> None:
    save(tmp_path / "a" / "b", pred=from_picture(label_pixels()))
    assert (tmp_path / "a" / "b" / "case_pred_map.png").is_file()
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="Cannot write to the output folder"):
        SaveSegmentationd("pred", ["seg"], tmp_path / "file" / "results")


@pytest.mark.parametrize("source", ["/data/case.png", "/data/case.nii.gz"])
@pytest.mark.parametrize("moment", ["writing", "moving"])
def test_interrupted_write_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, moment: str
) -> None:
    old, new = label_pixels(), 1 - label_pixels()
    save(tmp_path, pred=result(old.T.copy(), source))
    (path,) = tmp_path.iterdir()
    before = path.read_bytes()
    if moment == "moving":
        monkeypatch.setattr("medsegdiff_monai.utils.files.os.replace", fail)
    else:
        writer = write_half(before)
        monkeypatch.setattr(Image.Image, "save", lambda self, target: writer(target))
        monkeypatch.setattr(nib, "save", lambda image, target: writer(target))
    with pytest.raises(InputError, match=rf"Cannot write {path} \(No space left on device\): free space"):
        save(tmp_path, pred=result(new.T.copy(), source))
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_bytes() == before


def test_background_is_black_and_regions_are_not_whatever_their_values(tmp_path: Path) -> None:
    """REFUGE's label maps have 0 in the cup and 255 outside."""
    regions = Regions({"disc": [0, 128], "cup": [0]}, background=[255])
    labels = np.array([[255, 255, 128], [255, 0, 128]], np.float32)
    SaveSegmentationd("pred", ["seg"], tmp_path, "pred", regions)({"pred": from_picture(labels)})
    with Image.open(tmp_path / "case_seg.png") as picture:
        np.testing.assert_array_equal(np.asarray(picture), labels)
        colours = np.asarray(picture.convert("RGB")).astype(int)
    assert (colours[labels == 255] == 0).all()
    assert colours[0, 2].max() > 100
    assert colours[1, 1].max() > 100
    assert (colours[0, 2] != colours[1, 1]).any()


def test_volume_of_another_format_gives_nifti(tmp_path: Path) -> None:
    voxels = np.random.default_rng(5).integers(0, 2, (4, 5, 6)).astype(np.float32)
    save(tmp_path, pred=result(voxels, "/data/scan.mha", OBLIQUE))
    (path,) = tmp_path.iterdir()
    assert path.suffixes[-2:] == [".nii", ".gz"]
    volume = nib.load(path)
    np.testing.assert_array_equal(np.asanyarray(volume.dataobj), voxels)
    np.testing.assert_allclose(volume.affine, OBLIQUE, atol=1e-5)


def loaded(path: Path) -> MetaTensor:
    return LoadCased("image")({"image": str(path)})["image"]


@pytest.mark.parametrize("orientation", range(2, 9))
def test_results_of_a_turned_picture_lie_on_it_as_it_is_shown_and_train_with_it(
    tmp_path: Path, orientation: int
) -> None:
    tags = Image.Exif()
    tags[0x0112] = orientation
    Image.fromarray(label_pixels(256).astype(np.uint8)).save(tmp_path / "a.png", exif=tags)
    image = loaded(tmp_path / "a.png")
    bright = MetaTensor((image > 128).float(), meta=image.meta)
    save(tmp_path / "out", pred=bright, probability=bright)
    with Image.open(tmp_path / "a.png") as picture:
        shown = np.asarray(ImageOps.exif_transpose(picture))
    for name, full in (("pred", 1), ("probability", 65535)):
        path = tmp_path / "out" / f"a_{name}_map.png"
        with Image.open(path) as result:
            np.testing.assert_array_equal(np.asarray(result), (shown > 128) * full)
            assert result.getexif()[0x0112] == 1
    case = {"image": str(tmp_path / "a.png"), "label": str(tmp_path / "out" / "a_pred_map.png")}
    label = LoadCased(["image", "label"])(case)["label"]
    np.testing.assert_array_equal(label.numpy(), bright.numpy())


@pytest.mark.parametrize("orientation", [None, 1])
def test_results_of_a_picture_that_is_not_turned_state_no_orientation(tmp_path: Path, orientation: int | None) -> None:
    tags = Image.Exif()
    if orientation:
        tags[0x0112] = orientation
    Image.fromarray(label_pixels(256).astype(np.uint8)).save(tmp_path / "a.png", exif=tags)
    image = loaded(tmp_path / "a.png")
    save(tmp_path, pred=MetaTensor((image > 128).float(), meta=image.meta))
    assert b"eXIf" not in (tmp_path / "a_pred_map.png").read_bytes()


@pytest.mark.parametrize("stored", [(6, 5), (6, 5, 1), (6, 5, 1, 1), (6, 5, 1, 1, 3)], ids=str)
def test_nifti_of_one_slice_comes_back_in_its_own_shape(tmp_path: Path, stored: tuple[int, ...]) -> None:
    affine = OBLIQUE.astype(np.float32).astype(float)
    voxels = np.random.default_rng(0).integers(0, 2, stored).astype(np.uint8)
    nib.save(nib.Nifti1Image(voxels, affine), tmp_path / "a.nii.gz")
    image = in_dims(loaded(tmp_path / "a.nii.gz"), 2)[:1]
    save(tmp_path / "out", pred=image)
    mask = nib.load(tmp_path / "out" / "a_pred_map.nii.gz")
    assert mask.shape == (stored if len(stored) < 5 else (6, 5, 1))
    np.testing.assert_array_equal(np.asanyarray(mask.dataobj).reshape(6, 5), image[0].numpy())
    np.testing.assert_array_equal(mask.affine, affine)


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
def test_nifti_has_the_frame_of_its_source_and_nothing_that_names_the_patient(tmp_path: Path, kind: Any) -> None:
    """Scanners' converters write names into these fields, and DICOM headers into the extensions."""
    source = kind(np.random.default_rng(0).integers(0, 2, (6, 5, 4)).astype(np.uint8), None)
    source.header.set_qform(OBLIQUE_RIGID, code=1)
    source.header.set_sform(OBLIQUE_RIGID, code=3)
    source.header.set_xyzt_units("mm", "sec")
    for field in ("descrip", "aux_file", "intent_name"):
        source.header[field] = b"Doe^Jane"
    if "db_name" in source.header:
        source.header["db_name"] = b"Doe^Jane"
    source.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"Doe^Jane"))
    nib.save(source, tmp_path / "a.nii")
    assert b"Doe^Jane" in (tmp_path / "a.nii").read_bytes()
    save(tmp_path / "out", pred=loaded(tmp_path / "a.nii"))
    path = tmp_path / "out" / "a_pred_map.nii.gz"
    mask, stored = nib.load(path), nib.load(tmp_path / "a.nii")
    assert b"Doe" not in gzip.decompress(path.read_bytes())
    np.testing.assert_array_equal(np.asanyarray(mask.dataobj), np.asanyarray(stored.dataobj))
    for found, expected in (
        (mask.get_sform(True), stored.get_sform(True)),
        (mask.get_qform(True), stored.get_qform(True)),
    ):
        np.testing.assert_allclose(found[0], expected[0], atol=1e-6)
        assert found[1] == expected[1]
    assert mask.header.get_xyzt_units() == stored.header.get_xyzt_units()
    assert mask.header.get_zooms() == pytest.approx(stored.header.get_zooms())


def test_kind_of_the_result_follows_the_bytes_of_the_source_and_not_its_name(tmp_path: Path) -> None:
    nib.save(nib.Nifti1Image(label_pixels().T, OBLIQUE), tmp_path / "b.nii")
    (tmp_path / "b.nii").rename(tmp_path / "a.png")
    Image.fromarray(label_pixels().astype(np.uint8)).save(tmp_path / "b.png")
    (tmp_path / "b.png").rename(tmp_path / "b.nii")
    for name in ("a.png", "b.nii"):
        save(tmp_path / "out", pred=loaded(tmp_path / name))
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["a_pred_map.nii.gz", "b_pred_map.png"]
