# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from ignite.engine import Engine
from monai.utils import set_determinism

from medsegdiff_monai.utils import InputError, run_and_report, start_run


@pytest.fixture(autouse=True)
def _as_it_was(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for hook in ("excepthook", "unraisablehook"):
        monkeypatch.setattr(sys, hook, getattr(sys, hook))
    yield
    set_determinism(None)


class Recorder:
    """An engine, or a dataset, that writes down what is asked of it."""

    def __init__(self, calls: list[str], name: str, error: Exception | None = None) -> None:
        self.calls, self.name, self.error = calls, name, error

    def run(self) -> None:
        self.report()

    def report(self) -> None:
        self.calls.append(self.name)
        if self.error is not None:
            raise self.error


def test_seeded_run_draws_what_another_one_does() -> None:
    drawn = []
    for seed in (3, 3, 4):
        start_run(seed)
        drawn.append((float(torch.rand(())), float(np.random.rand())))
    assert drawn[0] == drawn[1]
    assert all(a != b for a, b in zip(drawn[0], drawn[2]))


def test_unseeded_run_leaves_the_generators_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(2)
    torch.manual_seed(5)
    before = torch.rand(())
    start_run()
    assert torch.equal(torch.stack([before, torch.rand(())]), expected)


def test_error_of_input_is_shown_as_its_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    start_run()
    sys.excepthook(InputError, InputError("The image a.png is constant: replace it."), None)
    assert capsys.readouterr().err == "Error: The image a.png is constant: replace it.\n"


def test_cases_that_could_not_be_used_are_named_after_the_run(tmp_path: Path) -> None:
    calls: list[str] = []
    run_and_report(Recorder(calls, "engine"), [Recorder(calls, "training"), Recorder(calls, "validation")], tmp_path)
    assert calls == ["engine", "training", "validation"]
    calls.clear()
    with pytest.raises(InputError, match="1 of 3 cases"):
        run_and_report(Recorder(calls, "engine"), [Recorder(calls, "test", InputError("1 of 3 cases"))], tmp_path)
    assert calls == ["engine", "test"]


def test_run_that_fails_says_why_itself(tmp_path: Path) -> None:
    calls: list[str] = []
    failing = Recorder(calls, "engine", InputError("loss became nan"))
    with pytest.raises(InputError, match="loss became nan"):
        run_and_report(failing, [Recorder(calls, "training")], tmp_path)
    assert calls == ["engine"]


def test_folder_of_another_run_is_refused_before_anything_is_done(tmp_path: Path) -> None:
    calls: list[str] = []
    hold = "import sys; from medsegdiff_monai.utils import locked_folder\nwith locked_folder(sys.argv[1]):\n"
    hold += "    print('held', flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", hold, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(InputError, match="Another run is writing"):
            run_and_report(Recorder(calls, "engine"), [], tmp_path)
        other.kill()
    assert calls == []


def test_leftovers_of_a_killed_run_are_gone_when_the_engine_starts(tmp_path: Path) -> None:
    (tmp_path / ".partial-x.pt").touch()
    (tmp_path / "model.pt").touch()

    class Looking:
        def run(self) -> None:
            assert {p.name for p in tmp_path.iterdir() if p.suffix != ".lock"} == {"model.pt"}

    run_and_report(Looking(), [], tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["model.pt"]


@pytest.mark.parametrize(
    ("checkpoint", "line"),
    [
        (None, "Stopped."),
        (SimpleNamespace(is_of_this_run=False), "Stopped."),
        (SimpleNamespace(is_of_this_run=True), "Stopped; go on with --resume true."),
    ],
    ids=["none", "of another run", "of this run"],
)
def test_ctrl_c_says_how_to_go_on_and_is_not_logged(
    checkpoint: Any, line: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    class Interrupted(Engine):
        def run(self, *_: Any, **__: Any) -> Any:
            return super().run([0])

    engine = Interrupted(interrupted)
    with pytest.raises(KeyboardInterrupt, match=line.replace(".", r"\.") + "$"):
        run_and_report(engine, [], tmp_path, checkpoint)
    assert [r for r in caplog.records if r.levelname == "ERROR"] == []
    assert list(tmp_path.iterdir()) == []


def test_full_disk_is_told_in_a_sentence(tmp_path: Path) -> None:
    for number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        engine = Recorder([], "engine", OSError(number, os.strerror(number), "events.out"))
        with pytest.raises(InputError, match=r"Cannot write events\.out \(.*\): free space or choose another"):
            run_and_report(engine, [], tmp_path)
    with pytest.raises(FileNotFoundError):
        run_and_report(Recorder([], "engine", FileNotFoundError(2, "No such file", "a.png")), [], tmp_path)
