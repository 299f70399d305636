# Copyright (c) MedSegDiff-MONAI contributors
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#     http://www.apache.org/licenses/LICENSE-2.0
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from PIL import Image

from medsegdiff_monai.data import Regions
from medsegdiff_monai.transforms import LoadCased, SaveSegmentationd
from medsegdiff_monai.utils import InputError

ROWS, COLUMNS = 5, 9
OBLIQUE = np.array([[1.5, -0.25, 0.0, 7.0], [0.3, 2.0, 0.1, -8.5], [0.0, 0.2, -3.0, 9.1], [0.0, 0.0, 0.0, 1.0]])


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
