# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from medsegdiff_monai.data.layouts import read_brats
from medsegdiff_monai.utils import InputError

OLDER = ("_", "flair", "t1", "t1ce", "t2")
NEWER = ("-", "t2f", "t1n", "t1c", "t2w")
SHAPE = (5, 6, 4)


def volume(path: Path, values: tuple[int, ...] = (7,), shape: tuple[int, ...] = SHAPE, shift: float = 0.0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    array = np.zeros(shape, np.uint8)
    array.flat[: len(values)] = values
    affine = np.diag([-1.0, -1.0, 1.0, 1.0])
    affine[2, 3] = shift
    nib.save(nib.Nifti1Image(array, affine), path)


def case(folder: Path, naming: tuple[str, ...], values: tuple[int, ...], suffix: str = ".nii.gz") -> None:
    joint, *keys = naming
    for key in keys:
        volume(folder / f"{folder.name}{joint}{key}{suffix}")
    volume(folder / f"{folder.name}{joint}seg{suffix}", values)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("parent", ["", "HGG", "MICCAI_BraTS_2018/LGG"])
def test_names_and_labels_of_2018_to_2021(tmp_path: Path, parent: str, suffix: str) -> None:
    if parent.count("/"):
        (tmp_path / parent).mkdir(parents=True)
        root, folder = tmp_path / "MICCAI_BraTS_2018", tmp_path / parent
    else:
        root, folder = tmp_path, tmp_path / parent
    for name in ("BraTS20_Training_010", "BraTS20_Training_009"):
        case(folder / name, OLDER, (0, 1, 2, 4), suffix)
    (folder / "name_mapping.csv").touch()
    (folder / "BraTS20_Training_009" / f"._BraTS20_Training_009_t1{suffix}").touch()
    data = read_brats(root)
    assert data.problems == []
    first, second = data.cases
    assert (first.name, second.name) == ("BraTS20_Training_009", "BraTS20_Training_010")
    assert [p.name for p in first.images] == [f"{first.name}_{key}{suffix}" for key in ("flair", "t1", "t1ce", "t2")]
    assert first.label == folder / first.name / f"{first.name}_seg{suffix}"
    assert data.regions == {"TC": [1, 4], "WT": [1, 2, 4], "ET": [4]}
    assert data.background == [0]
    assert data.modality == {"0": "FLAIR", "1": "T1w", "2": "T1gd", "3": "T2w"}


@pytest.mark.parametrize(
    ("folder", "file"),
    [
        ("{case}_{key}.nii", "{case}_{key}.nii"),
        ("{case}_{key}.nii.gz", "{case}_{key}.nii.gz"),
        ("{case}_{key}.nii", "00000057_brain_{key}.nii"),
        ("{case}_{key}.nii.gz", "volume.nii"),
        ("flair.{key}.nii", "{case}_{key}.nii"),
        ("{case}_{key}.nii", "{case}_{key}.nii.gz"),
        (".", "{case}_{key}.NII"),
    ],
)
@pytest.mark.parametrize("parent", ["", "HGG"])
def test_file_in_a_folder_of_its_own_name_is_what_either_says(
    tmp_path: Path, parent: str, folder: str, file: str
) -> None:
    for name in ("BraTS2021_00001", "BraTS2021_00002"):
        for key in OLDER[1:]:
            volume(tmp_path / parent / name / folder.format(case=name, key=key) / file.format(case=name, key=key))
        place = tmp_path / parent / name / folder.format(case=name, key="seg") / file.format(case=name, key="seg")
        volume(place, (0, 1, 4))
    (tmp_path / "__MACOSX" / "BraTS2021_00001").mkdir(parents=True)
    (tmp_path / "__MACOSX" / "BraTS2021_00001" / "BraTS2021_00001_t1.nii").touch()
    (tmp_path / "BraTS2021.zip").touch()
    data = read_brats(tmp_path)
    assert data.problems == []
    assert [c.name for c in data.cases] == ["BraTS2021_00001", "BraTS2021_00002"]
    second = [file.format(case="BraTS2021_00002", key=key) for key in ("flair", "t1", "t1ce", "t2", "seg")]
    last = data.cases[1]
    assert [p.name for p in (*last.images, *([last.label] if last.label else []))] == second


def test_own_folder_with_two_files_is_ambiguous(tmp_path: Path) -> None:
    case(tmp_path / "BraTS2021_00001", OLDER, (0, 4))
    folder = tmp_path / "BraTS2021_00002"
    case(folder, OLDER, (0, 4))
    (folder / f"{folder.name}_t1.nii.gz").unlink()
    for name in ("a", "b"):
        volume(folder / f"{folder.name}_t1.nii" / f"{name}.nii")
    data = read_brats(tmp_path)
    assert [c.name for c in data.cases] == ["BraTS2021_00001"]
    assert data.problems == [(folder.name, "a.nii, b.nii are two files of one kind: leave one.")]
    assert data.left_out == 1


def test_file_that_is_not_what_its_own_folder_says_is_not_used(tmp_path: Path) -> None:
    for name in ("BraTS2021_00001", "BraTS2021_00002"):
        case(tmp_path / name, OLDER, (0, 4))
    folder = tmp_path / "BraTS2021_00002"
    (folder / f"{folder.name}_t1.nii").mkdir()
    (folder / f"{folder.name}_t1.nii.gz").rename(folder / f"{folder.name}_t1.nii" / f"{folder.name}_t2.nii.gz")
    data = read_brats(tmp_path)
    assert [c.name for c in data.cases] == ["BraTS2021_00001"]
    assert data.problems == [
        (folder.name, "It has no T1w (BraTS2021_00002_t1.nii.gz): add what is missing."),
    ]


def test_names_that_differ_in_upper_and_lower_case_are_of_one_case(tmp_path: Path) -> None:
    for i, key in enumerate(OLDER[1:]):
        name = "BraTS_1" if i else "BRATS_1"
        volume(tmp_path / "x" / f"{name}_{key.upper() if i else key}.nii.gz")
    (found,) = read_brats(tmp_path).cases
    assert [p.name.lower() for p in found.images] == [f"brats_1_{key}.nii.gz" for key in ("flair", "t1", "t1ce", "t2")]


def test_only_other_file_that_says_that_it_is_the_label_map_and_fits_is_taken(tmp_path: Path) -> None:
    name = "BraTS20_Training_355"
    case(tmp_path / name, OLDER, (0, 4), ".nii")
    label = tmp_path / name / "W39_1998.09.19_Segm.nii"
    (tmp_path / name / f"{name}_seg.nii").rename(label)
    data = read_brats(tmp_path)
    assert [c.label for c in data.cases] == [label]
    assert data.problems == [(name, "W39_1998.09.19_Segm.nii is taken for its label map: rename it if it is.")]
    assert data.left_out == 0


def test_names_labels_and_timepoints_from_2023_on(tmp_path: Path) -> None:
    for name in ("BraTS-GLI-00005-100", "BraTS-GLI-00005-101", "BraTS-GLI-00017-000"):
        case(tmp_path / name, NEWER, (0, 1, 2, 3))
    data = read_brats(tmp_path)
    assert data.problems == []
    assert [c.patient for c in data.cases] == ["BraTS-GLI-00005", "BraTS-GLI-00005", "BraTS-GLI-00017"]
    endings = ("t2f", "t1n", "t1c", "t2w")
    assert [p.name for p in data.cases[2].images] == [f"BraTS-GLI-00017-000-{e}.nii.gz" for e in endings]
    assert data.regions == {"TC": [1, 3], "WT": [1, 2, 3], "ET": [3]}
    assert data.notes == []


def test_paediatric_labels_come_with_a_note(tmp_path: Path) -> None:
    case(tmp_path / "BraTS-PED-00001-000", NEWER, (0, 1, 2, 3))
    assert "in 2024 it numbered them in another way" in read_brats(tmp_path).notes[0]


def test_mixed_namings_are_refused(tmp_path: Path) -> None:
    case(tmp_path / "BraTS20_Training_001", OLDER, (0, 4))
    case(tmp_path / "BraTS-GLI-00000-000", NEWER, (0, 3))
    with pytest.raises(InputError, match=r"mixes the namings of 2018-2021 and 2023 .*Training_001_.*GLI-00000-000-.*"):
        read_brats(tmp_path)


def test_folder_without_cases_is_refused(tmp_path: Path) -> None:
    volume(tmp_path / "scan" / "brain.nii.gz")
    with pytest.raises(InputError, match="holds no BraTS cases: give the folder of the case folders"):
        read_brats(tmp_path)


BAD = "BraTS20_Training_002"


def remove(*keys: str) -> Callable[[Path], None]:
    return lambda folder: [(folder / f"{BAD}_{key}.nii.gz").unlink() for key in keys] and None


@pytest.mark.parametrize(
    ("break_it", "reason"),
    [
        (remove("t1ce"), rf"It has no T1gd \({BAD}_t1ce.nii.gz\): add what is missing"),
        (remove("flair", "t2"), r"It has no FLAIR .*T2w \(.*_t2.nii.gz\)"),
        (
            lambda f: volume(f / f"{BAD}_seg.nii.gz", (0, 1, 3)),
            rf"{BAD}_seg.nii.gz has the values 3, .* are 0, 1, 2, 4",
        ),
        (
            lambda f: volume(f / f"{BAD}_seg.nii.gz", shift=1),
            r"_seg.nii.gz has an affine .* by up to 1 mm at its corners: give a label on",
        ),
        (lambda f: (f / f"{BAD}_t1.nii.gz").write_bytes(b"no gzip"), "_t1.nii.gz cannot be read: it is no image"),
        (lambda f: volume(f / f"{BAD}_t1.nii"), r"_t1.nii.*_t1.nii.gz are two files of one kind: leave one"),
        (
            lambda f: volume(f / "BraTS20_Training_007_t1.nii.gz"),
            rf"holds files of several cases \({BAD}, BraTS20_Training_007\): give each case a folder",
        ),
    ],
    ids=["contrast", "two", "value 3", "label's affine", "damaged", "twice", "two patients"],
)
def test_case_that_cannot_be_used_is_left_out_and_named(
    tmp_path: Path, break_it: Callable[[Path], None], reason: str
) -> None:
    for name in ("BraTS20_Training_001", BAD):
        case(tmp_path / name, OLDER, (0, 1, 2, 4))
    break_it(tmp_path / BAD)
    data = read_brats(tmp_path)
    assert [c.name for c in data.cases] == ["BraTS20_Training_001"]
    ((name, text),) = data.problems
    assert name == BAD
    assert re.search(reason, text)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (
            lambda f: volume(f / f"{BAD}_t2.nii.gz", shape=(5, 6, 3)),
            r"_t2.nii.gz is 5 x 6 x 3 .*_flair.nii.gz 5 x 6 x 4.* so the case needs --resample_contrasts true",
        ),
        (
            lambda f: volume(f / f"{BAD}_t1.nii.gz", shift=2.5),
            r"_t1.nii.gz has an affine .* differs .* by up to 2.5 mm at its corners",
        ),
    ],
    ids=["shape", "affine"],
)
def test_contrasts_on_another_grid_are_kept_to_be_resampled_and_named(
    tmp_path: Path, change: Callable[[Path], None], reason: str
) -> None:
    case(tmp_path / BAD, OLDER, (0, 1, 2, 4))
    change(tmp_path / BAD)
    data = read_brats(tmp_path)
    assert [c.name for c in data.cases] == [BAD]
    ((name, text),) = data.problems
    assert name == BAD
    assert re.search(reason, text)


def test_truncated_label_and_foreign_label_value_of_2023(tmp_path: Path) -> None:
    for i, values in enumerate(((0, 3), (0, 1, 4), (0, 3))):
        case(tmp_path / f"BraTS-GLI-0000{i}-000", NEWER, values)
    label = tmp_path / "BraTS-GLI-00002-000" / "BraTS-GLI-00002-000-seg.nii.gz"
    label.write_bytes(label.read_bytes()[:-20])
    data = read_brats(tmp_path)
    assert [c.name for c in data.cases] == ["BraTS-GLI-00000-000"]
    reasons = dict(data.problems)
    assert "has the values 4, but the labels of 2023 and later are 0, 1, 2, 3" in reasons["BraTS-GLI-00001-000"]
    assert "seg.nii.gz cannot be read" in reasons["BraTS-GLI-00002-000"]


def test_case_without_label_is_kept_to_be_segmented_and_a_stranger_is_named(tmp_path: Path) -> None:
    for name in ("BraTS20_Training_354", "BraTS20_Training_355"):
        case(tmp_path / name, OLDER, (0, 4), ".nii")
        (tmp_path / name / f"{name}_seg.nii").unlink()
    volume(tmp_path / "BraTS20_Training_355" / "W39_1998.09.19_Segm.nii")
    data = read_brats(tmp_path)
    assert [(c.name, c.label) for c in data.cases] == [("BraTS20_Training_354", None), ("BraTS20_Training_355", None)]
    reasons = dict(data.problems)
    assert reasons["BraTS20_Training_354"].endswith("_seg.nii.gz is missing, so it can only be segmented: add it.")
    assert "Segm.nii has the values 7, but the labels of 2018-2021 are" in reasons["BraTS20_Training_355"]
    assert data.left_out == 0


def test_folder_of_other_names_is_reported(tmp_path: Path) -> None:
    case(tmp_path / "BraTS20_Training_001", OLDER, (0, 4))
    volume(tmp_path / "scan" / "brain.nii.gz")
    ((name, reason),) = read_brats(tmp_path).problems
    assert name == "scan"
    assert "None of the files brain.nii.gz in" in reason
