# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from pathlib import Path

import pytest

from medsegdiff_monai.data import case_name
from medsegdiff_monai.data.cases import distinguish, name_of_case


@pytest.mark.parametrize(
    ("image", "name"),
    [
        ("a.nii.gz", "a"),
        ("/data/p.01/a.b.nii", "a.b"),
        ("A.PNG", "A"),
        ("a.NII.gz", "a"),
        ("a.dcm", "a.dcm"),
        (Path("series") / "a.tiff", "a"),
    ],
)
def test_case_name_is_the_file_name_without_image_suffix(image: str | Path, name: str) -> None:
    assert case_name(image) == name


@pytest.mark.parametrize(
    ("files", "name"),
    [
        ([f"BraTS20_Training_001_{c}.nii.gz" for c in ("flair", "t1", "t1ce", "t2")], "BraTS20_Training_001"),
        ([f"BraTS-GLI-00000-000-{c}.nii.gz" for c in ("t1c", "t1n", "t2f", "t2w")], "BraTS-GLI-00000-000"),
        (["BraTS20_Training_001_t1.nii.gz", "BraTS20_Training_001_t1ce.nii.gz"], "BraTS20_Training_001"),
        ([f"prostate_12_000{i}.nii" for i in range(2)], "prostate_12"),
        ([f"p1_-{c}.png" for c in "ab"], "p1"),
        (["t1.nii.gz", "t2.nii.gz"], "patient_7"),
        (["flair.nii.gz", "t1.nii.gz"], "patient_7"),
        (["_t1.nii.gz", "_t2.nii.gz"], "patient_7"),
        (["p1_t1.nii.gz"], "p1_t1"),
    ],
)
@pytest.mark.parametrize("kind", [str, Path])
def test_case_name_of_several_files_is_their_common_beginning(files: list[str], name: str, kind: type) -> None:
    assert case_name([kind(f"/data/patient_7/{file}") for file in files]) == name


def test_case_name_of_one_folder_a_contrast_is_the_file_name() -> None:
    assert case_name([f"/data/{contrast}/BraTS_001.nii.gz" for contrast in ("t1", "t2")]) == "BraTS_001"


def test_case_name_holds_no_line_break_and_no_byte_that_is_no_text() -> None:
    assert case_name("a\nb\r\x1b[2J\u2028.png") == "a_b__[2J_"
    assert case_name(b"/x/tr\xfcb.png".decode("utf-8", "surrogateescape")) == "tr_b"
    assert case_name("Bild 1, Größe 甲\u202f-x.png") == "Bild 1, Größe 甲\u202f-x"


@pytest.mark.parametrize(
    ("images", "names"),
    [
        (["a.png", "a.jpg", "b.png"], ["a.png", "a.jpg", "b"]),
        (["a.png", "a.jpg", "a.png.bmp"], ["a.png", "a.jpg", "a.png.bmp"]),
        (["s/x/a.png", "s/y/a.png", "s/b.png"], ["x_a", "y_a", "b"]),
        (["x/a.png", "y/a.png", "y/a.jpg"], ["x_a", "y_a.png", "y_a.jpg"]),
        ([["x/p_t1.nii", "x/p_t2.nii"], ["y/p_t1.nii", "y/p_t2.nii"]], ["x_p", "y_p"]),
    ],
    ids=["two kinds", "name of a twin", "two folders", "both", "several files"],
)
def test_cases_of_one_name_are_told_apart_by_their_paths(images: list, names: list[str]) -> None:
    cases = distinguish([{"image": image} for image in images])
    assert [name_of_case(case) for case in cases] == names
    assert not any("refused" in case for case in cases)


def test_name_that_a_datalist_states_stays_and_is_refused_where_it_is_stated_twice() -> None:
    stated = [{"image": "q.png", "case": "a"}, {"image": "a.png"}, {"image": "r.png", "case": "b"}]
    assert [name_of_case(case) for case in distinguish(stated)] == ["a", "a.png", "b"]
    twice = distinguish([*stated, {"image": "s.png", "case": "b"}])
    assert ["refused" in case for case in twice] == [False, False, True, True]
    assert twice[2]["refused"] == "r.png and s.png would give results of one name, b: rename one."
