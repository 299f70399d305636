# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

"""The module is also the program of the processes that its tests start."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from medsegdiff_monai.utils import (
    default_device,
    is_main_process,
    process_rank,
    shared_draw,
    start_distributed,
    stop_distributed,
    world_size,
)

SHAPES = ([2, 3, 4, 5], [3])


def draw(cases: int) -> list[list]:
    """Normal and uniform numbers for batches of so many cases, from seeded generators."""
    torch.manual_seed(7)
    device = torch.device("cpu")
    return [shared_draw([cases, *s[1:]], device, normal).tolist() for s in SHAPES for normal in (True, False)]


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@pytest.fixture(scope="module")
def processes(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What two processes, started as ``torchrun`` starts them, say of themselves."""
    folder = tmp_path_factory.mktemp("processes")
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": "2", "LOCAL_RANK": "0"}
    started = []
    for rank in range(2):
        command = [sys.executable, __file__, str(folder / f"{rank}.json")]
        environment = {**os.environ, **shared, "RANK": str(rank)}
        started.append(subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True))
    for process in started:
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(2)]


def test_process_that_works_alone_is_the_main_one() -> None:
    assert (process_rank(), world_size(), is_main_process()) == (0, 1, True)
    stop_distributed()  # there is no group to leave


def test_processes_know_each_other(processes: list[dict[str, Any]]) -> None:
    assert [p["within"] for p in processes] == [[0, 2, True], [1, 2, False]]
    assert [p["after"] for p in processes] == [[0, 1, True], [0, 1, True]]


def test_processes_draw_together_what_one_draws(processes: list[dict[str, Any]]) -> None:
    for cases in (2, 3):
        first, second = (p["draws"][str(cases)] for p in processes)
        assert first != second
        for whole, *shares in zip(draw(2 * cases), first, second):
            assert [case for pair in zip(*shares) for case in pair] == whole


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_one_process_draws_what_pytorch_draws(shape: list[int]) -> None:
    torch.manual_seed(3)
    expected = torch.randn(shape), torch.rand(shape, dtype=torch.float64)
    torch.manual_seed(3)
    for normal, numbers in zip((True, False), expected):
        drawn = shared_draw(shape, torch.device("cpu"), normal)
        assert drawn.dtype == numbers.dtype
        assert torch.equal(drawn, numbers)


def test_device_is_the_gpu_that_torchrun_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert default_device() == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert default_device() == torch.device("cuda", 0)
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert default_device() == torch.device("cuda", 3)


if __name__ == "__main__":
    start_distributed("gloo")
    start_distributed("gloo")  # the group that exists is kept
    report: dict[str, Any] = {"within": [process_rank(), world_size(), is_main_process()]}
    report["draws"] = {cases: draw(cases) for cases in (2, 3)}
    stop_distributed()
    report["after"] = [process_rank(), world_size(), is_main_process()]
    Path(sys.argv[1]).write_text(json.dumps(report))
