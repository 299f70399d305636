# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

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


def mask(path: Path, *boxes: tuple[int, int, int, int], value: int = 255, size: tuple[int, int] = (9, 7)) -> np.ndarray:
    """A mask with boxes of columns and rows, from and to; returns it as an array of rows."""
    array = np.zeros(size[::-1], np.uint8)
    for left, right, top, bottom in boxes:
        array[top:bottom, left:right] = value
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)
    return array


@pytest.mark.parametrize(
    ("images", "masks"), [("images", "masks"), ("", ""), ("benign", "benign"), ("BUSI/benign", "BUSI/benign")]
)
def test_several_masks_of_one_image_are_united_wherever_they_lie(tmp_path: Path, images: str, masks: str) -> None:
    picture(tmp_path / images / "benign (4).png")
    picture(tmp_path / images / "benign (5).png")
    first = mask(tmp_path / masks / "benign (4)_mask.png", (0, 2, 0, 2))
    second = mask(tmp_path / masks / "benign (4)_mask_1.png", (1, 5, 1, 4))
    third = mask(tmp_path / masks / "benign (4)_mask_2.png", (8, 9, 6, 7))
    mask(tmp_path / masks / "benign (5)_mask.png", (3, 4, 3, 4))
    for _ in range(2):
        data = read_folder(tmp_path, regions="lesion=255")
        assert data.problems == []
        assert [c.name for c in data.cases] == ["benign (4)", "benign (5)"]
        united = data.cases[0].label
        assert united == tmp_path / "united_labels" / "benign (4).png"
        np.testing.assert_array_equal(np.asarray(Image.open(united)), first | second | third)
        assert data.cases[1].label == tmp_path / masks / "benign (5)_mask.png"
        assert "1 images have several masks, which are united in" in data.notes[-1]


def test_one_bit_masks_and_volumes_are_united_as_they_are(tmp_path: Path) -> None:
    picture(tmp_path / "images" / "a.png")
    bits = [
        mask(tmp_path / "masks" / f"a_mask{end}.png", box) > 0
        for end, box in (("", (0, 2, 0, 2)), ("_1", (4, 5, 4, 5)))
    ]
    for end, array in zip(("", "_1"), bits):
        Image.fromarray(array).save(tmp_path / "masks" / f"a_mask{end}.png")
    affine = np.diag([2.0, 3.0, 4.0, 1.0])
    parts = np.zeros((2, 3, 4, 5), np.int16)
    parts[0, 0], parts[1, 2] = 1, 2
    nib.save(nib.Nifti1Image(parts[0], affine), tmp_path / "images" / "b.nii.gz")
    for end, part in zip(("_1", "_2"), parts):
        nib.save(nib.Nifti1Image(part, affine), tmp_path / "masks" / f"b_seg{end}.nii.gz")
    flat, solid = (case.label for case in read_folder(tmp_path, labels_dir=tmp_path / "made").cases)
    np.testing.assert_array_equal(np.asarray(Image.open(flat)), bits[0] | bits[1])
    volume_label = nib.load(solid)
    np.testing.assert_array_equal(np.asarray(volume_label.dataobj), parts[0] + parts[1])
    np.testing.assert_array_equal(volume_label.affine, affine)


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        (("a_mask", "a_seg_1"), "a.png has several labels .a_mask.png, a_seg_1.png.: leave one"),
        (("a", "a_1"), "a.png has several labels .a.png, a_1.png.: leave one"),
        (("a_1",), "a.png has no label of its name beside a_1.png: add it"),
        (("a_mask", "a_mask_1"), "a_mask_1.png has another value than a further mask at one place"),
    ],
    ids=["two words", "numbers alone", "a number alone", "contradiction"],
)
def test_masks_that_cannot_be_united_cost_the_image_and_are_never_half_used(
    tmp_path: Path, names: tuple[str, ...], reason: str
) -> None:
    picture(tmp_path / "images" / "a.png")
    picture(tmp_path / "images" / "z.png")
    for value, name in enumerate((*names, "z"), start=1):
        mask(tmp_path / "masks" / f"{name}.png", (0, 3, 0, 3), value=value)
    data = read_folder(tmp_path)
    assert [c.name for c in data.cases] == ["z"]
    ((name, text),) = data.problems
    assert name == "a"
    assert re.search(reason, text)
    assert not (tmp_path / "united_labels").exists()


def test_images_of_one_name_in_two_folders_are_cases_of_two_names(tmp_path: Path) -> None:
    for part in ("benign", "malignant"):
        picture(tmp_path / part / "1.png")
        mask(tmp_path / part / "1_mask.png", (0, 2, 0, 2))
        mask(tmp_path / part / "1_mask_1.png", (4, 6, 4, 6))
    data = read_folder(tmp_path, patient=r"(\d)")
    assert [(c.name, c.patient, c.label and c.label.name) for c in data.cases] == [
        ("benign_1", "1", "benign_1.png"),
        ("malignant_1", "1", "malignant_1.png"),
    ]


def test_results_of_a_run_in_one_folder_are_neither_images_nor_labels(tmp_path: Path) -> None:
    for name in ("a", "b"):
        picture(tmp_path / f"{name}.png")
    mask(tmp_path / "a_mask.png", (0, 2, 0, 2))
    mask(tmp_path / "b_seg.png", (0, 2, 0, 2))
    for postfix in ("seg", "probability", "uncertainty"):
        picture(tmp_path / f"a_{postfix}.png")
    data = read_folder(tmp_path)
    assert data.problems == []
    assert [c.label and c.label.name for c in data.cases] == ["a_mask.png", "b_seg.png"]


def test_file_of_a_kind_that_is_not_read_is_named(tmp_path: Path) -> None:
    for stem in ("a", "b"):
        picture(tmp_path / "images" / f"{stem}.png")
        picture(tmp_path / "labels" / f"{stem}.png")
    (tmp_path / "images" / "b.png").rename(tmp_path / "images" / "b.webp")
    assert [name for name, _ in read_folder(tmp_path).problems] == ["b.webp", "b"]
