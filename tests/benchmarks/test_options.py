# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0


from __future__ import annotations

import json
import runpy
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import accuracy
import pytest
import torch
from harness.grid import Cell
from harness.kept import take_lock
from harness.methods import MAIN_METHODS
from harness.processes import CellProcesses, Outcome

from medsegdiff_monai.utils import InputError

GOOD = "ultrasound_ddti/basic_unet/seed_0"
SMALL = {"methods": "basic_unet", "seeds": 0, "minutes": 0.01, "size": 32, "workers": 1}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Data sets that nothing reads but their datalists."""
    for name in ("ultrasound_ddti", "brain_lgg"):
        (tmp_path / "data" / name).mkdir(parents=True)
        (tmp_path / "data" / name / "datalist.json").write_text('{"test": []}')
    return tmp_path / "data"


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Cell, Path, Path]]:
    """The cells that a call would run, with their folders, in place of running them: they are all finished."""
    seen: list[tuple[Cell, Path, Path]] = []

    def run(self: Any, cell: Cell, folder: Path, data: Path) -> Outcome:
        seen.append((cell, folder, data))
        return Outcome("finished")

    monkeypatch.setattr(CellProcesses, "run", run)
    return seen


@pytest.fixture
def call(data: Path, tmp_path: Path, runs: Any) -> Callable[..., list[Cell]]:
    """Call the benchmark; the cells that it runs. None leaves a result, so that it ends with 1."""

    def play(**options: Any) -> list[Cell]:
        before = len(runs)
        given = {"data": str(data), "out": str(tmp_path / "out"), "datasets": "ultrasound_ddti", **options}
        with pytest.raises(SystemExit) as ended:
            accuracy.main(**{k: v for k, v in given.items() if v is not None})
        assert ended.value.code == 1
        return [cell for cell, _, _ in runs[before:]]

    return play


def test_grid_is_each_combination_once(call: Any) -> None:
    cells = call(**{**SMALL, "methods": ("basic_unet", "medsegdiff"), "seeds": (1, 0, 1), "threads": 3, "size": None})
    assert [(c.method, c.seed) for c in cells] == [(m, s) for s in (1, 0) for m in ("basic_unet", "medsegdiff")]
    assert all((c.seconds, c.threads, c.size, c.section) == (0.6, 3, None, "test") for c in cells)


def test_quick_settings(call: Any) -> None:
    cells = call(quick=True, datasets=None)
    assert [c.method for c in cells] == list(MAIN_METHODS)
    assert {(c.dataset, c.seed, c.seconds, c.size) for c in cells} == {("ultrasound_ddti", 0, 60.0, (64, 64))}


def test_size_of_volumes_is_that_of_the_first_two_axes(call: Any) -> None:
    (cell,) = call(**{**SMALL, "datasets": "brain_lgg"})
    assert cell.size == (32, 32, 16)


def test_section_that_is_tested_on(call: Any) -> None:
    assert [c.section for c in call(**SMALL, section="validation")] == ["validation"]


def test_second_call_adds_to_the_report_of_the_first(call: Any, tmp_path: Path, capsys: Any) -> None:
    call(**SMALL)
    assert "; 0 of 1 cells finished, 0 failed." in (tmp_path / "out" / "accuracy.md").read_text()
    (tmp_path / "out" / "cells" / GOOD / "failed.txt").write_text("no luck\n")
    capsys.readouterr()
    assert [c.method for c in call(**{**SMALL, "methods": ("segresnet", "dynunet")})] == ["segresnet", "dynunet"]
    text = (tmp_path / "out" / "accuracy.md").read_text()
    assert "; 0 of 3 cells finished, 1 failed." in text
    assert "| ultrasound_ddti | basic_unet | 0 | no luck |" in text
    assert "0 of 2 cells are finished, 0 failed (--retry runs them again)" in capsys.readouterr().out
    assert call(**SMALL) == []
    assert [c.method for c in call(**SMALL, retry=True)] == ["basic_unet"]


def test_cell_of_another_process_is_refused(call: Any, data: Path, tmp_path: Path, runs: list[Any]) -> None:
    call(**SMALL)
    runs.clear()
    with take_lock(tmp_path / "out" / "cells" / GOOD), pytest.raises(InputError, match="run by another process"):
        accuracy.main(data=str(data), out=str(tmp_path / "out"), datasets="ultrasound_ddti", **SMALL)
    assert not runs


def command(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """The status with which the script ends on a command line."""
    monkeypatch.setattr(sys, "argv", ["accuracy.py", *arguments])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(accuracy.__file__, run_name="__main__")
    return ended.value.code


@pytest.mark.parametrize("size", [None, (32, 32)])
def test_process_of_a_cell_gets_the_cell(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: tuple[int, ...] | None
) -> None:
    seen: list[Any] = []
    monkeypatch.setattr("harness.cell.run_cell", lambda *arguments: seen.append(arguments))
    cell = Cell("ultrasound_ddti", "basic_unet", 0, 0.6, size=size, section="validation")
    monkeypatch.setattr(
        sys, "argv", ["accuracy.py", "cell", json.dumps(asdict(cell)), str(tmp_path / "1e3"), str(data)]
    )
    runpy.run_path(accuracy.__file__, run_name="__main__")
    assert seen == [(cell, tmp_path / "1e3", data)]


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [(InputError("One sentence."), 2, "Error: One sentence."), (KeyError("x"), 3, "Error: KeyError: 'x'")],
    ids=["refusal", "failure"],
)
def test_process_of_a_cell_ends_with_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any, error: Exception, status: int, line: str
) -> None:
    def fail(*arguments: Any) -> None:
        raise error

    monkeypatch.setattr("harness.cell.run_cell", fail)
    specification = json.dumps(asdict(Cell("ultrasound_ddti", "basic_unet", 0, 1.0)))
    assert command(monkeypatch, "cell", specification, str(tmp_path), str(tmp_path)) == status
    lines = capsys.readouterr().err.strip().splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[-1] == line


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        pytest.param(["--datasets", "ultrasound_ddti,nothing"], ["no data set nothing", "brain_lgg"], id="data set"),
        pytest.param(["--methods", "unet"], ["no method unet", "medsegdiff", "basic_unet"], id="method"),
        pytest.param(["--datasets", "ultrasound_busi"], ["ultrasound_busi has no datalist.json"], id="no data"),
        pytest.param(["--section", "training"], ["no section training", "test, validation"], id="section"),
        pytest.param(["--device", "tpu"], ["device must be cpu or cuda, got 'tpu'"], id="device"),
        pytest.param(["--device", "cuda"], ["no GPU", "--device cpu"], id="no GPU"),
        pytest.param(["--workers", "0"], ["workers must be a whole number of at least 1, got 0"], id="workers"),
        pytest.param(["--threads", "0"], ["threads must be a whole number of at least 1, got 0"], id="threads"),
        pytest.param(["--threads", "2"], ["several threads", "--workers 1"], id="wall clock"),
        pytest.param(["--minutes", "0"], ["minutes must be a number above 0, got 0"], id="minutes"),
        pytest.param(["--minutes", "four"], ["minutes must be a number above 0, got 'four'"], id="no number"),
        pytest.param(["--size", "0"], ["size must be a whole number of at least 16, got 0"], id="size"),
        pytest.param(["--size", "40"], ["size must be divisible by 16, got 40"], id="divisibility"),
        pytest.param(["--seeds", "0,-1"], ["seeds must be a whole number of at least 0, got -1"], id="seed"),
        pytest.param(["--quick"], ["--quick has settings of its own", "--datasets"], id="quick data sets"),
        pytest.param(["--quick", "--size", "32", "--seeds", "1"], ["--datasets, --seeds, --size"], id="quick settings"),
    ],
)
def test_options_are_refused_before_anything_is_written(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any, arguments: list[str], words: list[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    given = ["--data", str(data), "--out", str(tmp_path / "out"), "--datasets", "ultrasound_ddti"]
    assert command(monkeypatch, *given, *arguments) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("Error: ")
    assert all(word in line for word in words)
    assert not (tmp_path / "out").exists()


def test_gpu_is_for_one_cell_at_a_time(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    given = {"data": str(data), "out": str(tmp_path / "out"), "datasets": "ultrasound_ddti", "device": "cuda"}
    with pytest.raises(InputError, match="On a GPU or with several threads, the clock is that on the wall"):
        accuracy.main(**given)
