# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

"""Training and evaluation under torchrun, two CPU processes with gloo, against one process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

pytestmark = pytest.mark.slow


def curve(folder: Path, tag: str) -> list[float]:
    board = EventAccumulator(str(folder))
    board.Reload()
    return [event.value for event in board.Scalars(tag)]


def test_two_processes_train_as_one_with_the_double_batch(
    bundle: Path, phantoms_of: Any, run_bundle: Any, tmp_path: Path
) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    common = {"dataset_dir": phantoms_of(bundle), "max_epochs": 2, "val_interval": 2, "cpu_autocast": "$None"}
    for folder, configs, batch, processes in (
        (one, ["train.json"], 4, 0),
        (two, ["train.json", "multi_gpu_train.json"], 2, 2),
    ):
        places = {"ckpt_dir": folder, "output_dir": folder / "eval"}
        result = run_bundle(bundle, configs, processes, **common, **places, batch_size=batch)
        assert result.returncode == 0, result.stdout + result.stderr
    losses = [curve(folder / "eval", "train_loss") for folder in (one, two)]
    assert len(losses[0]) == 4
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
    dices = [curve(folder / "eval", "val_mean_dice") for folder in (one, two)]
    assert dices[1] == pytest.approx(dices[0], abs=1e-3)
    weights = [torch.load(folder / "last.pt", weights_only=True)["network"] for folder in (one, two)]
    assert weights[0].keys() == weights[1].keys()
    for key, value in weights[0].items():
        torch.testing.assert_close(weights[1][key], value, atol=1e-4, rtol=1e-3)


def test_two_processes_evaluate_every_case_once(
    bundle: Path, phantoms_of: Any, run_bundle: Any, untrained_of: Any, tmp_path: Path
) -> None:
    weights = untrained_of(bundle)
    tables, calibrations = [], []
    for configs, processes in (
        (["inference.json", "evaluate.json"], 0),
        (["inference.json", "evaluate.json", "multi_gpu_evaluate.json"], 2),
    ):
        out = tmp_path / f"out{processes}"
        settings = {"checkpoint": weights, "output_dir": out, "num_inference_steps": 1, "num_ensemble": 2}
        result = run_bundle(bundle, configs, processes, dataset_dir=phantoms_of(bundle), **settings)
        assert result.returncode == 0, result.stdout + result.stderr
        tables.append(pd.read_csv(out / "metrics.csv").sort_values("case").reset_index(drop=True))
        calibrations.append(pd.read_csv(out / "calibration.csv"))
        assert len(tables[-1]) == 3
        assert len(list(out.glob("*_seg.*"))) == 3
    pd.testing.assert_frame_equal(tables[0], tables[1], check_exact=False, atol=1e-4)
    assert set(calibrations[0]["cases"]) == {3}
    pd.testing.assert_frame_equal(calibrations[0], calibrations[1], check_exact=False, atol=1e-4)
