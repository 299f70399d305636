# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

"""The thyroid bundle's overlay for several readers: training and evaluation by ``monai.bundle``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from medsegdiff_monai.data.phantoms import write_phantoms


@pytest.fixture(scope="module")
def read_phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight phantoms with three readers each, larger than the network takes them."""
    folder = tmp_path_factory.mktemp("read")
    write_phantoms(folder, num_training=4, num_validation=2, num_test=2, size=40, seed=5, readers=3)
    return folder


@pytest.mark.slow
def test_training_and_evaluation_with_several_readers(
    thyroid_bundle: Path, read_phantoms: Path, run_bundle: Any, tmp_path: Path
) -> None:
    common = {"dataset_dir": read_phantoms, "output_dir": tmp_path / "out"}
    settings = {"max_epochs": 1, "val_interval": 1, "batch_size": 2, "val_ensemble": 2, "val_inference_steps": 2}
    result = run_bundle(
        thyroid_bundle, ["train.json", "readers.json", "readers_train.json"], ckpt_dir=tmp_path, **common, **settings
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert torch.load(tmp_path / "last.pt", weights_only=True)["trainer"]["iteration"] == 2
    assert "Best val_energy_distance so far" in result.stdout + result.stderr

    files = ["inference.json", "readers.json", "readers_evaluate.json"]
    fewer = {"num_ensemble": 3, "num_inference_steps": 2, "checkpoint": tmp_path / "model.pt"}
    result = run_bundle(thyroid_bundle, files, **common, **fewer)
    assert result.returncode == 0, result.stdout + result.stderr
    table = pd.read_csv(tmp_path / "out" / "metrics.csv").set_index("case")
    assert list(table.index) == ["test_0000", "test_0001"]
    assert table["energy_distance"].between(0.0, 2.0).all()
    assert (table["energy_distance"] > 0).any()
    assert (table["dice_min"] <= table["dice_mean"]).all()
    assert (table["dice_mean"] <= table["dice_max"]).all()


def test_readers_are_refused_without_the_overlay(
    thyroid_bundle: Path, read_phantoms: Path, run_bundle: Any, tmp_path: Path
) -> None:
    settings = {"dataset_dir": read_phantoms, "ckpt_dir": tmp_path, "output_dir": tmp_path / "out"}
    result = run_bundle(thyroid_bundle, ["train.json"], **settings)
    assert result.returncode != 0
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith("Error: None of the 4 cases can be used.")
    assert "readers.json" in last


def test_overlay_is_the_recipe_for_samples_that_vary(thyroid_bundle: Path, read_phantoms: Path, parse: Any) -> None:
    places = {"dataset_dir": str(read_phantoms)}
    train = parse(thyroid_bundle, "train.json", "readers.json", "readers_train.json", **places)
    prepare, inferer = (train.get_parsed_content(f"train#{name}") for name in ("prepare_batch", "inferer"))
    assert (prepare.mask_scale.scale, prepare.timestep_power, inferer.recycling_probability) == (0.5, 1.0, 0.0)
    loss = train.get_parsed_content("loss")
    assert loss.dice_weight == 0.0  # Dice rewards the likeliest mask, not a likely one
    case = train.get_parsed_content("train#dataset")[0]
    assert case["label"].shape == (1, *case["image"].shape[1:])
    evaluate = parse(
        thyroid_bundle, "inference.json", "readers.json", "readers_evaluate.json", section="test", **places
    )
    sampler = evaluate.get_parsed_content("inferer")
    assert (len(sampler.timesteps), sampler.num_ensemble, sampler.signal_scale) == (10, 16, 0.5)
    assert sampler.temperature == 1.0
    assert evaluate.get_parsed_content("dataset")[0]["label"].shape[0] == 3
