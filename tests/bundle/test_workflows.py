# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

"""Train, resume, fine-tune, evaluate and infer, for all three bundles, by the commands of their READMEs."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from support.checkpoints import equal

EPOCHS = 3
VALUES = {"thyroid": {0, 1}, "fundus": {0, 1, 2}, "brats": {0, 1, 2, 4}}
MAPS = {"thyroid": [""], "fundus": ["_disc", "_cup"], "brats": ["_TC", "_WT", "_ET"]}


def kind_of(bundle: Path) -> str:
    return bundle.name.split("_")[0]


def training(data: Path, out: Path, **further: Any) -> dict[str, Any]:
    places = {"dataset_dir": data, "ckpt_dir": out, "output_dir": out / "logs"}
    return {**places, "max_epochs": EPOCHS, "val_interval": 2, "batch_size": 4, **further}


@pytest.fixture(scope="module")
def trained_of(phantoms_of: Any, run_bundle: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The bundle copied elsewhere, as a user has it, and the folder of a training run that nothing interrupted."""
    made: dict[str, tuple[Path, Path]] = {}

    def get(bundle: Path) -> tuple[Path, Path]:
        if bundle.name not in made:
            copied = tmp_path_factory.mktemp("elsewhere") / bundle.name
            shutil.copytree(bundle, copied)
            out = tmp_path_factory.mktemp("unbroken")
            result = run_bundle(copied, ["train.json"], **training(phantoms_of(bundle), out))
            assert result.returncode == 0, result.stdout + result.stderr
            made[bundle.name] = copied, out
        return made[bundle.name]

    return get


def read(path: Path) -> np.ndarray:
    return np.asanyarray(nib.load(path).dataobj) if path.name.endswith(".nii.gz") else np.asarray(Image.open(path))


@pytest.mark.slow
def test_killed_training_resumes_to_the_same_weights(
    bundle: Path, phantoms_of: Any, trained_of: Any, run_bundle: Any, bundle_command: Any, tmp_path: Path
) -> None:
    copied, unbroken = trained_of(bundle)
    process = subprocess.Popen(
        bundle_command(copied, ["train.json"], **training(phantoms_of(bundle), tmp_path)),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    while not (tmp_path / "last.pt").is_file():
        assert process.poll() is None
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    reached = torch.load(tmp_path / "last.pt", weights_only=True)["trainer"]["iteration"]
    assert reached < EPOCHS * 2
    result = run_bundle(copied, ["train.json"], **training(phantoms_of(bundle), tmp_path, resume=True))
    assert result.returncode == 0, result.stdout + result.stderr
    for name in ("last.pt", "model.pt"):
        resumed, expected = (torch.load(folder / name, weights_only=True) for folder in (tmp_path, unbroken))
        assert equal(resumed, expected), name


@pytest.mark.slow
def test_fine_tuning_starts_from_the_given_weights(
    bundle: Path, phantoms_of: Any, trained_of: Any, run_bundle: Any, tmp_path: Path
) -> None:
    copied, before = trained_of(bundle)
    settings = training(phantoms_of(bundle), tmp_path, finetune_from=before / "model.pt", max_epochs=1, val_interval=1)
    result = run_bundle(copied, ["train.json"], **settings, learning_rate=0.0)
    assert result.returncode == 0, result.stdout + result.stderr
    start, end = (torch.load(folder / "model.pt", weights_only=True) for folder in (before, tmp_path))
    for name, value in start.items():
        torch.testing.assert_close(end[name], value, msg=name)


@pytest.mark.slow
def test_fine_tuning_from_another_network_is_refused(
    bundle: Path, phantoms_of: Any, trained_of: Any, run_bundle: Any, tmp_path: Path
) -> None:
    copied, _ = trained_of(bundle)
    settings = training(phantoms_of(bundle), tmp_path, finetune_from=bundle / "models" / "model.pt")
    result = run_bundle(copied, ["train.json"], **settings)
    assert result.returncode != 0
    assert "was made for another architecture" in result.stderr.strip().splitlines()[-1]
    assert not (tmp_path / "model.pt").exists()


def test_evaluation_scores_every_region_of_every_case(
    bundle: Path, phantoms_of: Any, trained_of: Any, run_bundle: Any, parse: Any, tmp_path: Path
) -> None:
    copied, weights = trained_of(bundle)
    data = phantoms_of(bundle)
    settings = {"dataset_dir": data, "checkpoint": weights / "model.pt", "output_dir": tmp_path}
    result = run_bundle(copied, ["inference.json", "evaluate.json"], **settings, num_inference_steps=2)
    assert result.returncode == 0, result.stdout + result.stderr
    table = pd.read_csv(tmp_path / "metrics.csv").set_index("case")
    regions = parse(bundle, "inference.json").get("region_values")
    kind = kind_of(bundle)
    squares: dict[str, list[np.ndarray]] = {region: [] for region in regions}
    for case in json.loads((data / "datalist.json").read_text())["test"]:
        name = Path(case["image"]).name.split(".")[0]
        suffix = ".png" if kind != "brats" else ".nii.gz"
        segmentation, label = read(tmp_path / f"{name}_seg{suffix}"), read(data / case["label"])
        assert segmentation.shape == label.shape
        assert set(np.unique(segmentation)) <= VALUES[kind]
        for region, values in regions.items():
            mask, truth = np.isin(segmentation, values), np.isin(label, values)
            total = mask.sum() + truth.sum()
            expected = 2 * (mask & truth).sum() / total if total else 1.0
            column = "dice" if len(regions) == 1 else f"dice_{region}"
            assert table.loc[name, column] == pytest.approx(expected, abs=1e-5)
            joint = (mask | truth).sum()
            expected = (mask & truth).sum() / joint if joint else 1.0
            assert table.loc[name, column.replace("dice", "iou")] == pytest.approx(expected, abs=1e-5)
        for part, (region, values) in zip(MAPS[kind], regions.items(), strict=True):
            probability, uncertainty = (
                read(tmp_path / f"{name}_{m}{part}{suffix}") for m in ("probability", "uncertainty")
            )
            assert probability.shape == uncertainty.shape == label.shape
            stated = probability / (65535.0 if suffix == ".png" else 1.0)
            squares[region].append(((stated - np.isin(label, values)) ** 2).ravel())
    assert ("vcdr_absolute_error" in table) == (kind == "fundus")
    calibration = pd.read_csv(tmp_path / "calibration.csv").set_index("region")
    assert list(calibration.index) == [*regions, "pooled"]
    expected = {region: np.concatenate(values).mean() for region, values in squares.items()}
    assert calibration["brier"].drop("pooled").to_dict() == pytest.approx(expected, rel=1e-3)
    assert calibration.loc["pooled", "brier"] == pytest.approx(np.mean(list(expected.values())), rel=1e-3)
    assert (tmp_path / "reliability.png").is_file()


def test_inference_needs_no_labels(
    bundle: Path, phantoms_of: Any, trained_of: Any, run_bundle: Any, tmp_path: Path
) -> None:
    copied, weights = trained_of(bundle)
    images = tmp_path / "images"
    images.mkdir()
    for file in sorted((phantoms_of(bundle) / "images").glob("test*"))[:2]:
        shutil.copy(file, images)
    settings = {"dataset_dir": images, "checkpoint": weights / "model.pt", "output_dir": tmp_path / "out"}
    result = run_bundle(copied, ["inference.json"], **settings, num_inference_steps=1)
    assert result.returncode == 0, result.stdout + result.stderr
    files = [p.name for p in (tmp_path / "out").iterdir()]
    assert len(files) == 2 * (1 + 2 * len(MAPS[kind_of(bundle)]))
    assert not [f for f in files if f.startswith(("metrics", "calibration", "reliability"))]
