# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0


from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import accuracy
import pytest
import torch
from harness.grid import Cell
from harness.kept import busy, take_lock
from harness.processes import CellProcesses, Outcome

from medsegdiff_monai.data.phantoms import write_phantoms

CELL = Cell("ultrasound_ddti", "basic_unet", 0, 1.0)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Any]]:
    """Let the cells' processes be played: each ends at once with a status and a log; their calls are listed."""

    def play(status: int = 0, log: str = "") -> list[Any]:
        started: list[Any] = []

        def popen(command: list[str], stdout: Any, env: dict[str, str], **settings: Any) -> Mock:
            started.append((command, env))
            stdout.write(log)
            return Mock(wait=lambda: status)

        monkeypatch.setattr("harness.processes.subprocess.Popen", popen)
        return started

    return play


@pytest.mark.parametrize(
    ("status", "log", "reason"),
    [
        (2, "INFO - reading\nError: None of the 3 cases can be used.\n", "None of the 3 cases can be used."),
        (-9, "INFO - Epoch[3]\n", "killed by SIGKILL (out of memory?)"),
        (-11, "", "killed by SIGSEGV"),
        (1, "", "ended with status 1"),
    ],
    ids=["refused", "out of memory", "crash", "silent"],
)
def test_reason_of_a_failure(tmp_path: Path, fake: Any, status: int, log: str, reason: str) -> None:
    fake(status, log)
    assert CellProcesses(Path("script")).run(CELL, tmp_path, tmp_path) == Outcome("failed", reason)
    assert (tmp_path / "failed.txt").read_text() == reason + "\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda n: n.name)
def test_cell_that_was_asked_to_end_is_unfinished(tmp_path: Path, fake: Any, number: int) -> None:
    fake(-number)
    (tmp_path / "last.pt").touch()
    assert CellProcesses(Path("script")).run(CELL, tmp_path, tmp_path).state == "unfinished"
    assert (tmp_path / "last.pt").is_file()
    assert not (tmp_path / "failed.txt").exists()


@pytest.mark.parametrize("trained", [False, True])
def test_failed_cell_begins_anew_unless_its_training_had_ended(tmp_path: Path, fake: Any, trained: bool) -> None:
    fake(0)
    for name in ("failed.txt", "last.pt", *(["training.json"] if trained else [])):
        (tmp_path / name).touch()
    assert CellProcesses(Path("script")).run(CELL, tmp_path, tmp_path).state == "finished"
    assert (tmp_path / "last.pt").is_file() == trained
    assert not (tmp_path / "failed.txt").exists()


def test_cell_of_another_process_is_left_alone(tmp_path: Path, fake: Any) -> None:
    started = fake(0)
    (tmp_path / "log.txt").write_text("its log")
    with take_lock(tmp_path):
        outcome = CellProcesses(Path("script")).run(CELL, tmp_path, tmp_path)
        assert outcome == Outcome("unfinished", f"{tmp_path} is being run by another process: wait for it or end it.")
    assert not started
    assert (tmp_path / "log.txt").read_text() == "its log"
    assert CellProcesses(Path("script")).run(CELL, tmp_path, tmp_path).state == "finished"


def test_none_is_begun_after_the_stop(tmp_path: Path, fake: Any) -> None:
    started = fake(0)
    processes = CellProcesses(Path("script"))
    processes.stop()
    assert processes.run(CELL, tmp_path, tmp_path).state == "unfinished"
    assert not started


def until(condition: Callable[[], bool]) -> None:
    """Wait for something that other processes do."""
    for _ in range(1200):
        if condition():
            return
        time.sleep(0.1)
    pytest.fail("waited in vain")


def test_orphan_keeps_its_cell(tmp_path: Path) -> None:
    """The process of a cell whose grid is killed holds the lock until it ends."""
    script, end = tmp_path / "script.py", tmp_path / "end"
    script.write_text(f"import pathlib, time\nwhile not pathlib.Path({str(end)!r}).exists(): time.sleep(0.02)")
    grid = (
        "import sys; from pathlib import Path; from harness.grid import Cell; "
        "from harness.processes import CellProcesses; folder = Path(sys.argv[1]); "
        "CellProcesses(folder / 'script.py').run(Cell('ultrasound_ddti', 'basic_unet', 0, 1.0), folder, folder)"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(accuracy.__file__).parent)}
    parent = subprocess.Popen([sys.executable, "-c", grid, str(tmp_path)], env=environment)
    until((tmp_path / "log.txt").is_file)
    until(lambda: busy(tmp_path) is not None)
    parent.kill()
    parent.wait()
    assert busy(tmp_path) == f"{tmp_path} is being run by another process: wait for it or end it."
    end.touch()
    until(lambda: busy(tmp_path) is None)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda n: n.name)
def test_interrupted_grid_ends_its_cells_and_goes_on_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any, request: pytest.FixtureRequest, number: int
) -> None:
    write_phantoms(tmp_path / "data" / "ultrasound_ddti", "ultrasound", 16, 2, 3, 40, seed=5)
    given = {"data": str(tmp_path / "data"), "out": str(tmp_path / "out"), "datasets": "ultrasound_ddti"}
    given |= {"methods": "basic_unet,segresnet", "seeds": "0", "minutes": "60", "size": "32", "workers": "1"}
    arguments = [text for key, value in given.items() for text in (f"--{key}", value)]
    # What runs the tests may ignore the signal, as a shell does for what it starts in the background.
    grid = subprocess.Popen(
        [sys.executable, accuracy.__file__, *arguments],
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),
    )
    request.addfinalizer(grid.terminate)
    first, second = (tmp_path / "out" / "cells" / "ultrasound_ddti" / m / "seed_0" for m in given["methods"].split(","))
    until((first / "last.pt").is_file)
    grid.send_signal(number)
    _, printed = grid.communicate(timeout=60)
    assert grid.returncode == 130
    assert "Interrupted: the same command goes on with what is left." in printed
    assert busy(first) is None  # its process is gone
    assert not list((tmp_path / "out").rglob("failed.txt"))
    assert not (second / "log.txt").exists()  # the one in the queue was not begun
    assert torch.load(first / "last.pt", weights_only=True)["budget"]["elapsed"] > 0
    seen: list[str] = []
    monkeypatch.setattr(CellProcesses, "run", lambda self, cell, *rest: seen.append(cell.method) or Outcome("finished"))
    whole = {**given, "methods": ("basic_unet", "segresnet"), "seeds": 0, "minutes": 60, "size": 32, "workers": 1}
    with pytest.raises(SystemExit):
        accuracy.main(**whole)
    assert seen == ["basic_unet", "segresnet"]
    assert "0 of 2 cells are finished, 0 failed" in capsys.readouterr().out


def test_threads_of_a_cell_are_those_of_its_process(tmp_path: Path, fake: Any) -> None:
    started = fake(0)
    cell = Cell("ultrasound_ddti", "basic_unet", 0, 1.0, threads=3)
    CellProcesses(Path("script")).run(cell, tmp_path, tmp_path)
    ((command, environment),) = started
    assert environment["OMP_NUM_THREADS"] == environment["MKL_NUM_THREADS"] == "3"
    assert json.loads(command[3])["threads"] == 3
