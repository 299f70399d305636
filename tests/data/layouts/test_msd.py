# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from medsegdiff_monai.data.layouts import read_msd
from medsegdiff_monai.utils import InputError


def volume(path: Path, shape: tuple[int, ...], values: tuple[int, ...] = (1,), spacing: float = 1.0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    array = np.zeros(shape, np.uint16)
    array.flat[: len(values)] = values
    nib.save(nib.Nifti1Image(array, np.diag([spacing, 1, 1, 1])), path)


def describe(task: Path, names: list[str], labels: dict[str, str] | None = None) -> None:
    content = {
        "name": "BRATS",
        "modality": {"0": "FLAIR", "1": "T1w", "2": "t1gd", "3": "T2w"},
        "labels": labels or {"0": "background", "1": "edema", "2": "non-enhancing tumor", "3": "enhancing tumour"},
        "training": [{"image": f"./imagesTr/{n}.nii.gz", "label": f"./labelsTr/{n}.nii.gz"} for n in names],
        "test": ["./imagesTs/BRATS_485.nii.gz"],
    }
    (task / "dataset.json").write_text(json.dumps(content))


@pytest.fixture
def task(tmp_path: Path) -> Path:
    folder = tmp_path / "Task01_BrainTumour"
    for name in ("BRATS_001", "BRATS_002"):
        volume(folder / "imagesTr" / f"{name}.nii.gz", (5, 6, 4, 4))
        volume(folder / "labelsTr" / f"{name}.nii.gz", (5, 6, 4), (0, 1, 2, 3))
        (folder / "imagesTr" / f"._{name}.nii.gz").write_bytes(b"of macOS")
        (folder / "labelsTr" / f"._{name}.nii.gz").write_bytes(b"of macOS")
    volume(folder / "imagesTs" / "BRATS_485.nii.gz", (5, 6, 4, 4))
    describe(folder, ["BRATS_001", "BRATS_002"])
    return folder


def test_task_is_read_with_its_own_meaning_of_the_labels(task: Path) -> None:
    for root in (task, task.parent):
        data = read_msd(root)
        assert data.problems == []
        assert [(c.name, c.patient) for c in data.cases] == [("BRATS_001", "BRATS_001"), ("BRATS_002", "BRATS_002")]
        assert data.cases[0].images == (task / "imagesTr" / "BRATS_001.nii.gz",)
        assert data.cases[0].label == task / "labelsTr" / "BRATS_001.nii.gz"
        assert data.regions == {"TC": [2, 3], "WT": [1, 2, 3], "ET": [3]}
        assert data.background == [0]
        assert data.tensor_image_size == "4D"
        assert data.notes == ["imagesTs has no labels and is not used."]


@pytest.mark.parametrize(
    ("break_it", "reason"),
    [
        (lambda i, _: volume(i, (5, 6, 4, 3)), "BRATS_002.nii.gz has the shape 5 x 6 x 4 x 3, not X x Y x Z x 4"),
        (lambda i, _: volume(i, (5, 6, 4)), "has the shape 5 x 6 x 4, not"),
        (lambda i, _: i.unlink(), "imagesTr/BRATS_002.nii.gz, which dataset.json names, is missing"),
        (lambda i, _: i.write_bytes(b""), "BRATS_002.nii.gz cannot be read"),
        (lambda _, s: s.unlink(), "labelsTr/BRATS_002.nii.gz is missing"),
        (lambda _, s: volume(s, (5, 6, 4), (4,)), "The label of BRATS_002 has the values 4, .* are 0, 1, 2, 3"),
        (lambda _, s: volume(s, (5, 6, 3)), "The label of BRATS_002 is 5 x 6 x 3 voxels and .* 5 x 6 x 4"),
        (
            lambda _, s: volume(s, (5, 6, 4), spacing=2.0),
            "The label of BRATS_002 has an affine that differs .* by up to 4 mm at its corners",
        ),
    ],
    ids=["channels", "3D", "no image", "damaged", "no label", "value", "shape", "affine"],
)
def test_case_that_cannot_be_used_is_left_out(task: Path, break_it: Callable[[Path, Path], None], reason: str) -> None:
    break_it(task / "imagesTr" / "BRATS_002.nii.gz", task / "labelsTr" / "BRATS_002.nii.gz")
    data = read_msd(task)
    assert [c.name for c in data.cases] == ["BRATS_001"]
    ((name, text),) = data.problems
    assert name == "BRATS_002"
    assert re.search(reason, text)


def test_label_without_volume_is_reported(task: Path) -> None:
    volume(task / "labelsTr" / "BRATS_009.nii.gz", (5, 6, 4))
    assert read_msd(task).problems == [("BRATS_009", "labelsTr/BRATS_009.nii.gz has no volume in imagesTr: add it.")]


def test_another_task_is_refused(task: Path) -> None:
    describe(task, ["BRATS_001"], {"0": "background", "1": "necrosis", "2": "edema", "3": "enhancing tumour"})
    with pytest.raises(InputError, match=r"dataset.json states other channels or labels than those of Task01"):
        read_msd(task)
    (task / "dataset.json").write_text('{"labels": {}}')
    with pytest.raises(InputError, match=r"cannot be read as the dataset\.json"):
        read_msd(task)
    (task / "dataset.json").unlink()
    assert "There is no dataset.json" in read_msd(task).notes[0]


def test_folder_without_volumes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no imagesTr with volumes: give the folder Task01_BrainTumour"):
        read_msd(tmp_path)
