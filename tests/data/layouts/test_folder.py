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

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from medsegdiff_monai.data.layouts import read_folder
from medsegdiff_monai.utils import InputError


def picture(path: Path, values: tuple[int, ...] = (0,), size: tuple[int, int] = (9, 7)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    array = np.zeros(size[::-1], np.uint8)
    array.flat[: len(values)] = values
    Image.fromarray(array).save(path)


def volume(path: Path, shape: tuple[int, ...]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(np.ones(shape, np.uint8), np.eye(4)), path)


@pytest.mark.parametrize(
    ("images", "labels"), [("images", "labels"), ("images", "masks"), ("Images", "annotations"), ("image", "gt")]
)
def test_labels_are_matched_by_stem(tmp_path: Path, images: str, labels: str) -> None:
    names = {"a": "a", "b": "b_mask", "c": "c_seg", "d": "d_Label", "e": "e_segmentation", "f_seg": "f_seg"}
    for image, label in names.items():
        picture(tmp_path / images / f"{image}.jpg")
        picture(tmp_path / labels / f"{label}.png")
    (tmp_path / images / "notes.txt").touch()
    (tmp_path / labels / ".hidden.png").touch()
    data = read_folder(tmp_path)
    assert data.problems == []
    assert {c.name: c.label for c in data.cases} == {i: tmp_path / labels / f"{n}.png" for i, n in names.items()}
    assert all(c.images == (tmp_path / images / f"{c.name}.jpg",) for c in data.cases)
    assert (data.regions, data.background, data.labels, data.tensor_image_size) == ({}, [], {}, "2D")
    assert "Every image counts as a patient of its own" in data.notes[0]


@pytest.mark.parametrize(("shape", "size"), [((5, 4, 3), "3D"), ((5, 4, 3, 2), "4D")])
def test_volumes_are_compared_without_their_channels(tmp_path: Path, shape: tuple[int, ...], size: str) -> None:
    volume(tmp_path / "images" / "a.nii.gz", shape)
    volume(tmp_path / "labels" / "a.nii", (5, 4, 3))
    data = read_folder(tmp_path, regions="lesion=1")
    assert [c.name for c in data.cases] == ["a"]
    assert data.tensor_image_size == size


def test_regions_and_background_are_written_and_checked(tmp_path: Path) -> None:
    for name, values in (("a", (0, 1, 2)), ("b", (0, 2)), ("c", (0, 3)), ("d", (0, 1, 9, 8))):
        picture(tmp_path / "images" / f"{name}.png")
        picture(tmp_path / "labels" / f"{name}.png", values)
    data = read_folder(tmp_path, regions="disc=1+2, cup=2")
    assert data.regions == {"disc": [1, 2], "cup": [2]}
    assert data.background == [0]
    assert data.labels == {"0": "background", "1": "disc", "2": "disc, cup"}
    assert [c.name for c in data.cases] == ["a", "b"]
    assert [name for name, _ in data.problems] == ["c", "d"]
    assert "d.png has the values 8, 9, which are in none of the --regions" in data.problems[1][1]
    declared = read_folder(tmp_path, regions="disc=1+2,cup=2", background="0+3")
    assert [c.name for c in declared.cases] == ["a", "b", "c"]
    inverse = read_folder(tmp_path, regions="disc=0+1", background=2)
    assert (inverse.regions, inverse.background) == ({"disc": [0, 1]}, [2])
    assert read_folder(tmp_path, regions="disc=0+1").background == []


@pytest.mark.parametrize("regions", ["nodule", "nodule=", "=1", "a=1,a=2", "a=1+x", "a=-1", "a=1,", "", True, "a=1=2"])
def test_wrong_regions_are_refused(tmp_path: Path, regions: Any) -> None:
    with pytest.raises(InputError, match=r"--regions must be names with label values as in disc=1\+2,cup=2"):
        read_folder(tmp_path, regions=regions)


@pytest.mark.parametrize(("regions", "background"), [("a=1", "1"), ("a=1", "x"), (None, "0"), ("a=1", "")])
def test_wrong_background_is_refused(tmp_path: Path, regions: str | None, background: str) -> None:
    with pytest.raises(InputError, match="--background must be label values"):
        read_folder(tmp_path, regions=regions, background=background)


def test_patient_comes_from_the_name(tmp_path: Path) -> None:
    for name in ("p01_left", "p01_right", "p02_left", "unnamed"):
        picture(tmp_path / "images" / f"{name}.png")
        picture(tmp_path / "labels" / f"{name}.png")
    data = read_folder(tmp_path, patient=r"^(p\d+)_")
    assert [c.patient for c in data.cases] == ["p01", "p01", "p02"]
    assert data.problems[0][0] == "unnamed"
    assert "--patient finds no patient in unnamed.png" in data.problems[0][1]
    assert data.notes == []


@pytest.mark.parametrize("patient", ["p[0-9]+", "(a)(b)", "(", 7])
def test_wrong_patient_expression_is_refused(tmp_path: Path, patient: Any) -> None:
    with pytest.raises(InputError, match=r"--patient (must have one group|is not a regular expression)"):
        read_folder(tmp_path, patient=patient)


@pytest.mark.parametrize(
    ("break_it", "name", "reason"),
    [
        (lambda i, s: (s / "b.png").unlink(), "b", "b.png has no label: add it"),
        (lambda i, s: (i / "b.png").unlink(), "b", "The label b.png has no image: add it"),
        (lambda i, s: picture(s / "b_mask.png"), "b", "b.png has several labels .b.png, b_mask.png."),
        (lambda i, s: picture(i / "b.bmp"), "b", "b.bmp, b.png would give results of one name: rename them"),
        (lambda i, s: picture(s / "b.png", size=(3, 7)), "b", "The label b.png is 3 x 7 pixels and b.png 9 x 7"),
        (lambda i, s: (i / "b.png").write_bytes(b"no PNG"), "b", "b.png cannot be read"),
        (
            lambda i, s: [(s / "b.png").unlink(), volume(s / "b.nii", (9, 7, 1))],
            "b",
            "b.nii and b.png are a picture and a volume",
        ),
    ],
    ids=["no label", "no image", "two labels", "two images", "size", "damaged", "kinds"],
)
def test_image_that_cannot_be_used_is_left_out(
    tmp_path: Path, break_it: Callable[[Path, Path], Any], name: str, reason: str
) -> None:
    for stem in ("a", "b"):
        picture(tmp_path / "images" / f"{stem}.png")
        picture(tmp_path / "labels" / f"{stem}.png")
    break_it(tmp_path / "images", tmp_path / "labels")
    data = read_folder(tmp_path)
    assert [c.name for c in data.cases] == ["a"]
    ((problem, text),) = data.problems
    assert problem == name
    assert re.search(reason, text)


def test_folders_that_are_missing_or_ambiguous_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no folder of the name images, image: add it"):
        read_folder(tmp_path)
    (tmp_path / "images").mkdir()
    (tmp_path / "labels").mkdir()
    with pytest.raises(InputError, match=r"The folder of images in .* holds none"):
        read_folder(tmp_path)
    (tmp_path / "masks").mkdir()
    with pytest.raises(InputError, match="holds the folders labels, masks, which are of one kind: leave one"):
        read_folder(tmp_path)
