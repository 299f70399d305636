# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from PIL import Image

from medsegdiff_monai.__main__ import main


def run(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "medsegdiff_monai", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd)


def test_help_lists_the_commands_and_explains_them() -> None:
    overview = run("--help")
    assert overview.returncode == 0
    assert "phantoms" in overview.stdout + overview.stderr
    assert "demo" in overview.stdout + overview.stderr
    details = run("phantoms", "--help")
    assert "seed of the phantoms" in details.stdout + details.stderr


def test_phantoms_are_written(tmp_path: Path) -> None:
    result = run("phantoms", str(tmp_path), "--training", "2", "--validation", "1", "--test", "1", "--size", "40")
    assert result.returncode == 0, result.stderr
    datalist = json.loads((tmp_path / "datalist.json").read_text())
    assert [len(datalist[s]) for s in ("training", "validation", "test")] == [2, 1, 1]
    assert Image.open(tmp_path / datalist["test"][0]["image"]).size == (40, 40)


@pytest.mark.parametrize("folder", ["2024", "1e5", "a,b", "[z]", "{a: 1}", "None", "True", "run #3", "--out=7"])
def test_folder_of_any_name_is_what_was_typed(folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["medsegdiff_monai", "phantoms", folder, "--size", "32", "--training", "1"])
    sys.argv += ["--validation=0", "--test=0"]
    main()
    assert [path.name for path in tmp_path.iterdir()] == [folder.removeprefix("--out=")]


def test_folders_without_a_name_are_what_was_typed_and_numbers_are_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Any] = []
    monkeypatch.setattr("medsegdiff_monai.apps.dicom.run_dicom", lambda *a: given.append(a) or 0)
    options = ["--bundle", "1e5", "--out", "[z]", "--steps", "7", "--report"]
    monkeypatch.setattr(sys, "argv", ["medsegdiff_monai", "dicom", "2024", "a,b", *options])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    assert given == [(["2024", "a,b"], "1e5", "[z]", None, False, 7, None, None, False, True, False, 1800)]


def test_option_without_its_value_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for arguments in (["--out"], ["--out", "--size", "32"]):
        monkeypatch.setattr(sys, "argv", ["medsegdiff_monai", "phantoms", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == 2


def test_phantoms_with_several_readers_are_written(tmp_path: Path) -> None:
    sections = ("--training", "1", "--validation", "0", "--test", "0")
    result = run("phantoms", str(tmp_path), *sections, "--size", "32", "--readers", "3")
    assert result.returncode == 0, result.stderr
    assert len(json.loads((tmp_path / "datalist.json").read_text())["training"][0]["label"]) == 3


def test_bad_input_is_one_sentence_and_status_2(tmp_path: Path) -> None:
    for arguments, fragment in (
        (("phantoms", str(tmp_path), "--kind", "liver"), "liver"),
        (("demo", "--bundle", str(tmp_path)), "There is no bundle"),
    ):
        result = run(*arguments, cwd=tmp_path)
        assert result.returncode == 2
        last = result.stderr.strip().splitlines()[-1]
        assert last.startswith("Error: ")
        assert fragment in last
        assert "Traceback" not in result.stderr


@pytest.mark.slow
def test_demo_runs_from_data_to_picture(thyroid_bundle: Path, tiny_phantoms: Path, tmp_path: Path) -> None:
    arguments = ["--out", str(tmp_path), "--data", str(tiny_phantoms), "--bundle", str(thyroid_bundle)]
    result = run("demo", *arguments, "--epochs", "5")
    assert result.returncode == 0, result.stdout + result.stderr
    assert Image.open(tmp_path / "overview.png").size[0] > 500
    table = pd.read_csv(tmp_path / "evaluation" / "metrics.csv")
    assert list(table.columns) == ["case", "dice", "iou", "hd95", "nsd"]
    assert len(table) == 3
    names = {p.name for p in (tmp_path / "results").iterdir()}
    assert names == {f"{c}_{p}.png" for c in table["case"] for p in ("seg", "probability", "uncertainty")}
