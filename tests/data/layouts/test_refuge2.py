# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medsegdiff_monai.data.layouts import LayoutData, read_refuge2, sections_of
from medsegdiff_monai.utils import InputError


def photograph(path: Path, size: tuple[int, int] = (12, 10)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (120, 60, 30)).save(path)


def mask(path: Path, values: tuple[int, ...] = (0, 128, 255), size: tuple[int, int] = (12, 10)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    array = np.full(size[::-1], values[-1], np.uint8)
    for i, value in enumerate(values):
        array[i, i] = value
    Image.fromarray(array).save(path)


def found(data: LayoutData) -> dict[str, tuple[str | None, str]]:
    return {c.name: (c.section, c.label.as_posix() if c.label else "") for c in data.cases}


@pytest.mark.parametrize(
    ("images", "masks", "suffix"), [("Images", "gts", ".bmp"), ("images", "mask", ".png"), ("images", "mask", ".bmp")]
)
def test_folders_of_train_val_and_test(tmp_path: Path, images: str, masks: str, suffix: str) -> None:
    for section, stem in (("train", "g0001"), ("train", "n0002"), ("val", "V0001"), ("test", "T0001")):
        photograph(tmp_path / section / images / f"{stem}.jpg")
        mask(tmp_path / section / masks / f"{stem}{suffix}")
    data = read_refuge2(tmp_path)
    assert data.problems == []
    assert found(data) == {
        "g0001": ("training", f"{tmp_path}/train/{masks}/g0001{suffix}"),
        "n0002": ("training", f"{tmp_path}/train/{masks}/n0002{suffix}"),
        "V0001": ("validation", f"{tmp_path}/val/{masks}/V0001{suffix}"),
        "T0001": ("test", f"{tmp_path}/test/{masks}/T0001{suffix}"),
    }
    assert data.regions == {"disc": [0, 128], "cup": [0]}
    assert data.background == [255]
    assert [c.patient for c in data.cases] == [c.name for c in data.cases]
    assert {s: [c.name for c in cases] for s, cases in sections_of(data).items()} == {
        "training": ["g0001", "n0002"],
        "validation": ["V0001"],
        "test": ["T0001"],
    }
    anew = sections_of(read_refuge2(tmp_path), "1,0,0")
    assert len(anew["training"]) == 4


def test_the_challenge_s_own_folders(tmp_path: Path) -> None:
    given = tmp_path / "Annotation-Training400"
    for kind, stem in (("Glaucoma", "g0001"), ("Non-Glaucoma", "n0001")):
        photograph(tmp_path / "Training400" / kind / f"{stem}.jpg")
        mask(given / "Disc_Cup_Masks" / kind / f"{stem}.bmp")
        photograph(given / "Disc_Cup_Fovea_Illustration" / f"{stem}.jpg")
    photograph(tmp_path / "REFUGE-Validation400" / "V0001.jpg")
    mask(tmp_path / "REFUGE-Validation400-GT" / "Disc_Cup_Masks" / "V0001.bmp")
    photograph(tmp_path / "Test400" / "T0001.jpg")
    mask(tmp_path / "REFUGE-Test-GT" / "T0001.bmp")
    (given / "Fovea_location.xlsx").touch()
    data = read_refuge2(tmp_path)
    assert data.problems == []
    assert found(data) == {
        "g0001": ("training", f"{given}/Disc_Cup_Masks/Glaucoma/g0001.bmp"),
        "n0001": ("training", f"{given}/Disc_Cup_Masks/Non-Glaucoma/n0001.bmp"),
        "V0001": ("validation", f"{tmp_path}/REFUGE-Validation400-GT/Disc_Cup_Masks/V0001.bmp"),
        "T0001": ("test", f"{tmp_path}/REFUGE-Test-GT/T0001.bmp"),
    }


def test_masks_of_the_surer_folder_and_photographs_in_their_full_shape_are_taken(tmp_path: Path) -> None:
    for folder in ("Images", "Images_Square", "Images_Cropped"):
        photograph(tmp_path / folder / "a.jpg")
    mask(tmp_path / "gts" / "a.bmp")
    mask(tmp_path / "Masks" / "a.png", (0, 1, 2))
    mask(tmp_path / "Masks_Square" / "a.png", (0, 1, 2))
    data = read_refuge2(tmp_path)
    assert data.problems == []
    assert [(c.images[0].parent.name, c.label) for c in data.cases] == [("Images", tmp_path / "gts" / "a.bmp")]


def test_sections_that_number_from_one_each_hold_different_patients(tmp_path: Path) -> None:
    for section in ("train", "test"):
        photograph(tmp_path / section / "images" / "0001.jpg")
        mask(tmp_path / section / "mask" / "0001.png")
    data = read_refuge2(tmp_path)
    assert sorted(c.patient for c in data.cases) == ["test/0001", "training/0001"]
    assert [len(cases) for cases in sections_of(data).values()] == [1, 0, 1]


def test_photograph_without_a_disc_is_a_case(tmp_path: Path) -> None:
    photograph(tmp_path / "train" / "Images" / "none.jpg")
    mask(tmp_path / "train" / "gts" / "none.bmp", (255,))
    data = read_refuge2(tmp_path)
    assert [c.name for c in data.cases] == ["none"]
    assert data.problems == []


@pytest.mark.parametrize(
    ("break_it", "reason"),
    [
        (lambda m: mask(m, (0, 255)), "The mask bad.bmp has no 128, the rim of the disc"),
        (lambda m: mask(m, (0, 1, 2)), r"has the values 1, 2 beside 0 \(cup\), 128 \(rim\) and 255 \(background\)"),
        (lambda m: mask(m, (0, 128, 255), (6, 5)), "The mask bad.bmp is 6 x 5 pixels and bad.jpg 12 x 10"),
        (lambda m: photograph(m), "bad.bmp has 3 channels: give a map of label values"),
        (lambda m: m.write_bytes(m.read_bytes()[:80]), "bad.bmp cannot be read: it is damaged"),
        (lambda m: m.unlink(), "bad.jpg has no mask: add it"),
        (lambda m: mask(m.with_suffix(".png")), "bad.jpg has several masks .*bad.bmp.*bad.png"),
        (lambda m: m.rename(m.with_name("other.bmp")), "bad.jpg has no mask"),
    ],
    ids=["no rim", "values", "size", "channels", "truncated", "none", "two", "orphan"],
)
def test_doubtful_photograph_is_left_out_and_reported(
    tmp_path: Path, break_it: Callable[[Path], None], reason: str
) -> None:
    for stem in ("good", "bad"):
        photograph(tmp_path / "train" / "Images" / f"{stem}.jpg")
        mask(tmp_path / "train" / "gts" / f"{stem}.bmp")
    break_it(tmp_path / "train" / "gts" / "bad.bmp")
    data = read_refuge2(tmp_path)
    assert [c.name for c in data.cases] == ["good"]
    assert data.problems[0][0] == "bad"
    assert re.search(reason, data.problems[0][1])
    assert data.problems[1:] in ([], [("other", "other.bmp has no photograph: add it.")])


def test_two_photographs_of_one_name_are_reported(tmp_path: Path) -> None:
    for suffix in (".jpg", ".png"):
        photograph(tmp_path / "images" / f"a{suffix}")
    mask(tmp_path / "mask" / "a.bmp")
    data = read_refuge2(tmp_path)
    assert data.cases == []
    assert "several photographs of this name" in data.problems[0][1]


def test_folder_without_photographs_is_refused(tmp_path: Path) -> None:
    mask(tmp_path / "train" / "gts" / "a.bmp")
    with pytest.raises(InputError, match="holds no REFUGE photographs: give the folder"):
        read_refuge2(tmp_path)
    with pytest.raises(InputError, match="nowhere does not exist"):
        read_refuge2(tmp_path / "nowhere")
