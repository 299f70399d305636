# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fire
import numpy as np
import pytest
import torch
from monai.bundle import run as monai_run
from PIL import Image

EPOCHS = 5


# In place of the bundles' common small setting the thyroid bundle's own, small.json, at a size that trains in seconds.
SMALL = {"small": False, "image_size": [32, 32]}


def training_settings(data: Path, out: Path) -> dict[str, Any]:
    return {
        **SMALL,
        "dataset_dir": data,
        "ckpt_dir": out,
        "output_dir": out / "logs",
        "max_epochs": EPOCHS,
        "val_interval": 2,
        "batch_size": 3,
    }


@pytest.fixture(scope="module")
def copied_bundle(thyroid_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle as a user has it: a folder copied elsewhere."""
    folder = tmp_path_factory.mktemp("elsewhere") / "bundle"
    shutil.copytree(thyroid_bundle, folder, ignore=shutil.ignore_patterns("eval", "last.pt"))
    return folder


@pytest.fixture(scope="module")
def trained(
    copied_bundle: Path, tiny_phantoms: Path, run_bundle: Any, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Checkpoints of a training run that nothing interrupted."""
    out = tmp_path_factory.mktemp("unbroken")
    result = run_bundle(copied_bundle, ["train.json", "small.json"], **training_settings(tiny_phantoms, out))
    assert result.returncode == 0, result.stdout + result.stderr
    return out


def test_training_leaves_checkpoints_and_tensorboard(trained: Path) -> None:
    last = torch.load(trained / "last.pt", weights_only=True)
    assert set(last) == {"network", "ema", "optimizer", "lr_scheduler", "seeds", "best", "trainer"}
    assert last["trainer"]["iteration"] == EPOCHS * 3
    best = torch.load(trained / "model.pt", weights_only=True)
    assert all(key.startswith("denoiser.") for key in best)
    assert list((trained / "logs").glob("events.out.tfevents.*"))


def test_nan_loss_ends_training_with_a_sentence(
    copied_bundle: Path, tiny_phantoms: Path, run_bundle: Any, tmp_path: Path
) -> None:
    settings = {**training_settings(tiny_phantoms, tmp_path), "learning_rate": 1e30}
    result = run_bundle(copied_bundle, ["train.json", "small.json"], **settings)
    assert result.returncode != 0
    message = result.stderr.strip().splitlines()[-1]
    assert message.startswith("Error: Training stopped: the loss became")
    assert "learning rate" in message


def test_inference_of_a_plain_folder_with_bad_files(
    copied_bundle: Path, tiny_phantoms: Path, trained: Path, run_bundle: Any, tmp_path: Path
) -> None:
    images = tmp_path / "images"
    images.mkdir()
    source = next((tiny_phantoms / "images").iterdir())
    grey = Image.open(source)
    grey.resize((70, 45)).save(images / "wide.png")
    grey.convert("RGB").save(images / "photo.jpg")
    (images / "cut.png").write_bytes(source.read_bytes()[:200])
    (images / "text.png").write_text("not an image")
    Image.fromarray(np.full((32, 32), 7, np.uint8)).save(images / "flat.png")
    colours = np.random.default_rng(0).integers(0, 255, (32, 32, 3), np.uint8)
    Image.fromarray(colours).save(images / "colours.png")

    out = tmp_path / "out"
    result = run_bundle(
        copied_bundle,
        ["inference.json", "small.json"],
        **SMALL,
        dataset_dir=images,
        checkpoint=trained / "model.pt",
        output_dir=out,
    )
    assert result.returncode != 0
    message = result.stderr.strip().splitlines()[-1]
    assert message.startswith("Error: 4 of 6 cases")
    for name, reason in (
        ("cut", "truncated"),
        ("text", "no image of a known"),
        ("flat", "constant"),
        ("colours", "channels"),
    ):
        assert f"{name}.png" in message
        assert reason in message
    assert "Traceback" not in result.stderr
    written = {p.name for p in out.iterdir()}
    assert written == {f"{n}_{p}.png" for n in ("wide", "photo") for p in ("seg", "probability", "uncertainty")}
    mask, probability = (Image.open(out / f"wide_{p}.png") for p in ("seg", "probability"))
    assert mask.size == probability.size == (70, 45)
    np.testing.assert_array_equal(np.asarray(mask) > 0, np.asarray(probability) >= 32768)


def test_second_run_into_the_folder_of_the_images_gives_the_same_results(
    thyroid_bundle: Path,
    untrained_of: Callable[[Path], Path],
    small_of: Callable[[Path], dict[str, Any]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The folder's name is one that Fire, which reads the options of ``monai.bundle``, takes for a number."""
    folder = tmp_path / "1e5"
    folder.mkdir()
    for name in ("a.png", "a.jpg", "b.png", "b_mask.png"):
        Image.fromarray(np.random.default_rng(len(name)).integers(0, 255, (40, 32), np.uint8)).save(folder / name)
    settings = {**small_of(thyroid_bundle), "num_inference_steps": 1, "num_ensemble": 2}
    settings |= {
        "checkpoint": untrained_of(thyroid_bundle),
        "bundle_root": thyroid_bundle,
        "dataset_dir": "1e5",
        "output_dir": "1e5",
        "logging_file": False,
    }
    arguments = [f"--{key}={value}" for key, value in settings.items()]
    command = ["run", f"--config_file={thyroid_bundle / 'configs' / 'inference.json'}", *arguments]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["monai.bundle", *command])
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    runs = []
    for _ in range(2):
        fire.Fire({"run": monai_run}, command=command)
        runs.append({path.name: path.read_bytes() for path in folder.iterdir()})
    assert [path.name for path in tmp_path.iterdir()] == ["1e5"]
    results = {f"{case}_{p}.png" for case in ("a.jpg", "a.png", "b") for p in ("seg", "probability", "uncertainty")}
    assert {*runs[0]} == results | {"a.png", "a.jpg", "b.png", "b_mask.png"}
    assert runs[1] == runs[0]


@pytest.mark.parametrize(
    ("overrides", "fragment"),
    [
        ({"dataset_dir": "EMPTY"}, "holds no images"),
        ({"checkpoint": "ABSENT"}, "does not exist"),
        ({"image_size": [32, 32], "denoiser#channels": [8, 16, 32]}, "another architecture"),
        ({"output_dir": "FILE/below"}, "Cannot write"),
        ({"num_ensemble": 0}, "num_ensemble must be at least 1"),
        ({"num_inference_steps": 0}, "num_inference_steps must be between 1"),
        ({"num_inference_steps": 1001}, "num_inference_steps must be between 1"),
    ],
)
def test_bad_settings_end_with_one_sentence(
    copied_bundle: Path,
    tiny_phantoms: Path,
    trained: Path,
    run_bundle: Any,
    tmp_path: Path,
    overrides: dict[str, Any],
    fragment: str,
) -> None:
    (tmp_path / "EMPTY").mkdir()
    (tmp_path / "FILE").touch()
    settings = {"dataset_dir": tiny_phantoms, "checkpoint": trained / "model.pt", "output_dir": tmp_path / "out"}
    places = {k: tmp_path / v if isinstance(v, str) else v for k, v in overrides.items()}
    result = run_bundle(copied_bundle, ["inference.json", "small.json"], **{**SMALL, **settings, **places})
    assert result.returncode != 0
    lines = result.stderr.strip().splitlines()
    assert lines[-1].startswith("Error: ")
    assert fragment in lines[-1]
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())
