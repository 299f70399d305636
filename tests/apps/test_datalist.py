# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from medsegdiff_monai.__main__ import main
from medsegdiff_monai.apps.datalist import LAYOUTS, write_datalist
from medsegdiff_monai.data import Regions, load_cases
from medsegdiff_monai.transforms import LabelToRegionsd, LoadCased
from medsegdiff_monai.utils import InputError

SECTIONS = ("training", "validation", "test")


def picture(path: Path, values: tuple[int, ...] = (0, 1)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    array = np.zeros((6, 8), np.uint8)
    array.flat[: len(values)] = values
    Image.fromarray(array).save(path)


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """Ten images of five patients, with labels, beside an image without one."""
    root = tmp_path / "set"
    for i in range(10):
        picture(root / "images" / f"p{i // 2}_{i}.png", (0, 100, 200))
        picture(root / "labels" / f"p{i // 2}_{i}.png")
    picture(root / "images" / "p9_99.png")
    return root


def brats_case(folder: Path, values: tuple[int, ...], label: bool = True) -> None:
    folder.mkdir(parents=True)
    for key in ("flair", "t1", "t1ce", "t2", *(["seg"] if label else [])):
        array = np.zeros((4, 4, 4), np.uint8)
        array.flat[: len(values)] = values
        nib.save(nib.Nifti1Image(array, np.eye(4)), folder / f"{folder.name}_{key}.nii.gz")


def read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text())


def run(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "medsegdiff_monai", "datalist", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd)


def test_datalist_is_loaded_from_wherever_it_is_written(pairs: Path, tmp_path: Path) -> None:
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "deep" / "er")
    for out in (pairs / "datalist.json", tmp_path / "lists" / "new" / "mine.json", tmp_path / "link" / "datalist.json"):
        assert write_datalist("folder", pairs, out, patient="(p[0-9]+)_", regions="nodule=1+2") == 1
        content = read(out)
        entries = [entry for section in SECTIONS for entry in content[section]]
        assert not any(os.path.isabs(entry["image"]) or os.path.isabs(entry["label"]) for entry in entries)
        cases = [case for section in SECTIONS for case in load_cases(out.parent, section, out.name)]
        assert sorted(Path(c["image"]).resolve() for c in cases) == sorted((pairs / "images").glob("p[0-4]_*.png"))
        assert all(Path(c["label"]).resolve() == pairs / "labels" / Path(c["image"]).name for c in cases)
        assert LoadCased(["image", "label"])(cases[0])["label"].shape == (1, 8, 6)
    assert read(pairs / "datalist.json")["training"][0]["image"].startswith("images/p")


def test_content_of_the_datalist(pairs: Path) -> None:
    out = pairs / "datalist.json"
    write_datalist("folder", pairs, out, (0.6, 0.2, 0.2), 3, patient="(p[0-9]+)_", regions="nodule=1+2")
    content = read(out)
    assert content["name"] == "set"
    assert content["labels"] == {"0": "background", "1": "nodule", "2": "nodule"}
    assert content["regions"] == {"nodule": [1, 2]}
    assert content["background"] == [0]
    assert content["tensorImageSize"] == "2D"
    assert [content[k] for k in ("numTraining", "numValidation", "numTest")] == [6, 2, 2]
    assert [len(content[s]) for s in SECTIONS] == [6, 2, 2]
    patients = [{entry["patient"] for entry in content[s]} for s in SECTIONS]
    assert sum(map(len, patients)) == len(set.union(*patients)) == 5
    assert {entry["case"] for s in SECTIONS for entry in content[s]} == {f"p{i // 2}_{i}" for i in range(10)}
    write_datalist("folder", pairs, out, "0.6,0.2,0.2", 3)
    assert "regions" not in read(out)
    assert "background" not in read(out)


def test_regions_of_brats_reach_the_masks(tmp_path: Path) -> None:
    for i in range(3):
        brats_case(tmp_path / f"BraTS2021_0000{i}", (1, 2, 4))
    brats_case(tmp_path / "BraTS2021_00009", (5,), label=False)
    write_datalist("brats", tmp_path, tmp_path / "datalist.json")
    content = read(tmp_path / "datalist.json")
    assert [content[f"num{s.capitalize()}"] for s in (*SECTIONS, "unlabelled")] == [1, 1, 1, 1]
    (unlabelled,) = content["unlabelled"]
    assert sorted(unlabelled) == ["case", "image", "patient"]
    assert unlabelled["image"][2] == "BraTS2021_00009/BraTS2021_00009_t1ce.nii.gz"
    regions = Regions({"TC": [1], "WT": [1], "ET": [1]}, tmp_path)
    (case,) = load_cases(tmp_path, "training")
    loaded = LabelToRegionsd("label", regions)(LoadCased(["image", "label"])(case))
    assert loaded["image"].shape == (4, 4, 4, 4)
    assert loaded["label"].flatten(1)[:, :4].tolist() == [[1, 0, 1, 0], [1, 1, 1, 0], [0, 0, 1, 0]]


def test_labels_of_ddti_lie_beside_the_datalist(tmp_path: Path) -> None:
    root, out = tmp_path / "ddti", tmp_path / "made" / "datalist.json"
    picture(root / "1_1.jpg")
    outline = json.dumps([{"points": [{"x": 1, "y": 1}, {"x": 3, "y": 1}, {"x": 3, "y": 2}, {"x": 1, "y": 2}]}])
    (root / "1.xml").write_text(f"<case><mark><image>1</image><svg>{outline}</svg></mark></case>")
    write_datalist("ddti", root, out)
    (entry,) = read(out)["training"]
    assert entry == {"image": "../ddti/1_1.jpg", "label": "ddti_labels/1_1.png", "case": "1_1", "patient": "1"}
    (case,) = load_cases(out.parent, "training")
    assert LoadCased("label")(case)["label"].sum() == 6


def test_refuge_keeps_its_sections(tmp_path: Path) -> None:
    for section, count in (("train", 3), ("val", 1), ("test", 1)):
        for i in range(count):
            picture(tmp_path / section / "images" / f"{section}{i}.jpg")
            (tmp_path / section / "mask").mkdir(exist_ok=True)
            label = np.full((6, 8), 255, np.uint8)
            label[2:4, 2:5] = 128
            label[2, 2] = 0
            Image.fromarray(label).save(tmp_path / section / "mask" / f"{section}{i}.png")
    write_datalist("refuge2", tmp_path, tmp_path / "datalist.json")
    content = read(tmp_path / "datalist.json")
    assert [len(content[s]) for s in SECTIONS] == [3, 1, 1]
    assert content["regions"] == {"disc": [0, 128], "cup": [0]}
    regions = Regions({"disc": [1], "cup": [2]}, tmp_path)
    (case,) = load_cases(tmp_path, "test")
    masks = LabelToRegionsd("label", regions)(LoadCased(["image", "label"])(case))["label"]
    assert masks.sum(dim=(1, 2)).tolist() == [6, 1]


def test_report_lists_each_case_once(pairs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_datalist("folder", pairs, pairs / "datalist.json", "1,0,0")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{pairs}/datalist.json: 10 cases of 10 patients (training 10, validation 0, test 0)."
    assert "Note: there is no case for validation, test; --split shares the cases out." in lines
    assert [line for line in lines if line.startswith("Warning: ")] == [
        "Warning: p9_99: p9_99.png has no label: add it, or take the image away."
    ]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"layout": "isic"}, "no layout 'isic': choose one of refuge2, brats, msd, ddti, folder"),
        ({"root": "nowhere"}, "nowhere does not exist"),
        ({"split": "0.5,0.5"}, "--split must be"),
        ({"seed": -1}, "--seed must be"),
        ({"layout": "msd", "regions": "a=1"}, "--regions is for the layout folder alone"),
        ({"out": "datalist"}, "--out must be a file that ends in .json"),
    ],
    ids=["layout", "root", "split", "seed", "option", "out"],
)
def test_bad_input_is_refused_and_writes_nothing(pairs: Path, changes: dict[str, Any], message: str) -> None:
    arguments = {"layout": "folder", "root": pairs, "out": pairs / "datalist.json"} | changes
    before = sorted(pairs.rglob("*"))
    with pytest.raises(InputError) as caught:
        write_datalist(**arguments)
    assert message in str(caught.value)
    assert sorted(pairs.rglob("*")) == before


def test_no_usable_case_leaves_the_earlier_datalist(pairs: Path) -> None:
    out = pairs / "datalist.json"
    write_datalist("folder", pairs, out)
    earlier = out.read_text()
    for label in (pairs / "labels").iterdir():
        label.unlink()
    with pytest.raises(InputError, match=r"None of the 11 cases in .* can be used. p0_0: p0_0.png has no label"):
        write_datalist("folder", pairs, out)
    assert out.read_text() == earlier


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.json", "{}"), ("a.json", "[]"), ("a.json", "no JSON"), ("dataset.json", '{"training": []}')],
)
def test_a_file_that_is_no_datalist_is_not_overwritten(pairs: Path, name: str, content: str) -> None:
    (pairs / name).write_text(content)
    with pytest.raises(InputError, match="exists and is not a datalist: choose another --out"):
        write_datalist("folder", pairs, pairs / name)
    assert (pairs / name).read_text() == content


def test_command_line(pairs: Path, tmp_path: Path) -> None:
    split = ["--split", "0.6,0.2,0.2", "--seed", "4", "--patient", "(p[0-9]+)_", "--regions", "nodule=1"]
    result = run("folder", str(pairs), "--out", "lists/datalist.json", *split, cwd=tmp_path)
    assert result.returncode == 1, result.stderr
    assert "1 left out:\nWarning: p9_99" in result.stdout
    content = read(tmp_path / "lists" / "datalist.json")
    assert [len(content[s]) for s in SECTIONS] == [6, 2, 2]
    assert content["regions"] == {"nodule": [1]}
    refused = run("folder", str(pairs), "--split", "0.6,0.2", cwd=tmp_path)
    assert refused.returncode == 2
    assert refused.stderr.strip().splitlines()[-1].startswith("Error: --split must be")
    assert "Traceback" not in refused.stderr


def test_document_describes_every_layout() -> None:
    text = (Path(__file__).resolve().parents[2] / "docs" / "data.md").read_text()
    assert [layout for layout in LAYOUTS if f"datalist {layout} " not in text] == []


def test_what_is_left_out_is_counted_and_what_is_kept_is_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for i in range(3):
        brats_case(tmp_path / f"BraTS2021_0000{i}", (1, 2, 4), label=i > 0)
    monkeypatch.setattr(
        sys, "argv", ["medsegdiff_monai", "datalist", "brats", str(tmp_path), f"--out={tmp_path}/d.json"]
    )
    main()
    assert "Note: BraTS2021_00000: BraTS2021_00000_seg.nii.gz is missing" in capsys.readouterr().out
    (tmp_path / "BraTS2021_00001" / "a\nlink.nii").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    lines = capsys.readouterr().out.splitlines()
    assert "2 left out:" in lines
    assert len([line for line in lines if line.startswith("Warning: ")]) == 2
    assert r"Warning: BraTS2021_00001/a\nlink.nii: It is a link to what is not there: restore that." in lines
    assert [len(read(tmp_path / "d.json")[s]) for s in (*SECTIONS, "unlabelled")] == [1, 0, 1, 1]
