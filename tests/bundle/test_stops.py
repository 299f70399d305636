# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0
"""Runs that are stopped, killed, or started twice into one folder."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def started(bundle_command: Any, thyroid_bundle: Path, phantoms_of: Any) -> Callable[..., Any]:
    """A run of the thyroid bundle's small setting, from the moment on that a file is there."""

    @contextmanager
    def start(config: str, file: Path, **settings: Any) -> Iterator[subprocess.Popen[str]]:
        places = {"dataset_dir": phantoms_of(thyroid_bundle), **settings}
        with subprocess.Popen(
            bundle_command(thyroid_bundle, [config], **places),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        ) as process:
            while not file.is_file():
                assert process.poll() is None, process.communicate()
                time.sleep(0.005)
            try:
                yield process
            finally:
                process.kill()

    return start


def stopped(process: subprocess.Popen[str]) -> str:
    """The last line of a run that gets Ctrl-C."""
    process.send_signal(signal.SIGINT)
    out, err = process.communicate()
    assert process.returncode == 130, err
    assert "Traceback" not in out + err
    assert "terminating" not in out + err
    assert "Cannot write" not in out + err
    return err.strip().splitlines()[-1]


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir() if p.is_file())


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 1])
def test_training_that_ctrl_c_stops_says_how_to_go_on(started: Any, tmp_path: Path, workers: int) -> None:
    settings = {"ckpt_dir": tmp_path, "output_dir": tmp_path / "logs", "max_epochs": 1000, "val_interval": 1}
    settings |= {"batch_size": 4, "num_workers": workers}
    with started("train.json", tmp_path / "last.pt", **settings) as process:
        assert stopped(process) == "Stopped; go on with --resume true."
    assert names(tmp_path) == ["last.pt", "model.pt"]


@pytest.mark.slow
def test_inference_that_ctrl_c_stops_leaves_no_part(
    started: Any, untrained_of: Any, thyroid_bundle: Path, tmp_path: Path
) -> None:
    settings = {"output_dir": tmp_path, "checkpoint": untrained_of(thyroid_bundle), "num_inference_steps": 200}
    with started("inference.json", tmp_path / "test_0000_seg.png", **settings) as process:
        assert stopped(process) == "Stopped."
    assert not [name for name in names(tmp_path) if not name.startswith("test_000")]


@pytest.mark.slow
def test_a_folder_is_of_one_run_and_what_a_killed_one_leaves_is_gone_after_the_next(
    started: Any, run_bundle: Any, untrained_of: Any, phantoms_of: Any, thyroid_bundle: Path, tmp_path: Path
) -> None:
    settings = {"output_dir": tmp_path, "checkpoint": untrained_of(thyroid_bundle)}
    with started("inference.json", tmp_path / "test_0000_seg.png", num_inference_steps=900, **settings) as process:
        again = {"dataset_dir": phantoms_of(thyroid_bundle), "num_inference_steps": 1, **settings}
        second = run_bundle(thyroid_bundle, ["inference.json"], **again)
        assert process.poll() is None
        process.kill()
    assert second.returncode == 1
    assert second.stderr.strip().splitlines()[-1].startswith(f"Error: Another run is writing to the folder {tmp_path}")
    assert "Segmenting" not in second.stderr
    (tmp_path / ".partial-0.png").touch()  # as a kill within a write leaves it
    assert run_bundle(thyroid_bundle, ["inference.json"], **again).returncode == 0
    assert names(tmp_path) == sorted(
        f"test_000{i}_{kind}.png" for i in range(3) for kind in ("seg", "probability", "uncertainty")
    )


@pytest.mark.slow
def test_a_second_training_writes_nothing(
    started: Any, run_bundle: Any, phantoms_of: Any, thyroid_bundle: Path, tmp_path: Path
) -> None:
    settings = {"ckpt_dir": tmp_path / "models", "max_epochs": 1000, "val_interval": 1, "batch_size": 4}
    first = {**settings, "output_dir": tmp_path / "first"}
    with started("train.json", tmp_path / "models" / "last.pt", **first):
        data = phantoms_of(thyroid_bundle)
        second = run_bundle(
            thyroid_bundle, ["train.json"], dataset_dir=data, **settings, output_dir=tmp_path / "second"
        )
    assert second.returncode == 1
    assert "Error: Another run is writing to the folder" in second.stderr.strip().splitlines()[-1]
    assert not (tmp_path / "second").exists()
