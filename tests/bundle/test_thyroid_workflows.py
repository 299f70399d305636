# Copyright (c) MedSegDiff-MONAI contributors
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#     http://www.apache.org/licenses/LICENSE-2.0
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

EPOCHS = 5


def command(bundle: Path, configs: list[str], **overrides: Any) -> list[str]:
    """The call that the bundle's README shows, with the small setting at a size that trains in seconds."""
    files = [str(bundle / "configs" / c) for c in configs]
    settings = {"bundle_root": bundle, "image_size": [32, 32], **overrides}
    arguments = [text for key, value in settings.items() for text in (f"--{key}", str(value))]
    return [sys.executable, "-m", "monai.bundle", "run", "--config_file", str(files), *arguments]


def run(bundle: Path, configs: list[str], **overrides: Any) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        command(bundle, configs, **overrides), capture_output=True, text=True, env=environment, check=False
    )


def training_settings(data: Path, out: Path) -> dict[str, Any]:
    return {
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
def trained(copied_bundle: Path, tiny_phantoms: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Checkpoints of a training run that nothing interrupted."""
    out = tmp_path_factory.mktemp("unbroken")
    result = run(copied_bundle, ["train.json", "small.json"], **training_settings(tiny_phantoms, out))
    assert result.returncode == 0, result.stdout + result.stderr
    return out


def same(a: Any, b: Any) -> bool:
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b))
    return a == b


def test_training_leaves_checkpoints_and_tensorboard(trained: Path) -> None:
    last = torch.load(trained / "last.pt", weights_only=True)
    assert set(last) == {"network", "ema", "optimizer", "lr_scheduler", "seeds", "best", "trainer"}
    assert last["trainer"]["iteration"] == EPOCHS * 3
    best = torch.load(trained / "model.pt", weights_only=True)
    assert all(key.startswith("denoiser.") for key in best)
    assert list((trained / "logs").glob("events.out.tfevents.*"))


def test_killed_training_resumes_to_the_same_weights(
    copied_bundle: Path, tiny_phantoms: Path, trained: Path, tmp_path: Path
) -> None:
    settings = training_settings(tiny_phantoms, tmp_path)
    process = subprocess.Popen(
        command(copied_bundle, ["train.json", "small.json"], **settings),
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
    assert reached < EPOCHS * 3

    result = run(copied_bundle, ["train.json", "small.json"], **settings, resume=True)
    assert result.returncode == 0, result.stdout + result.stderr
    for name in ("last.pt", "model.pt"):
        resumed, unbroken = (torch.load(folder / name, weights_only=True) for folder in (tmp_path, trained))
        assert same(resumed, unbroken), name


def test_nan_loss_ends_training_with_a_sentence(copied_bundle: Path, tiny_phantoms: Path, tmp_path: Path) -> None:
    settings = {**training_settings(tiny_phantoms, tmp_path), "learning_rate": 1e30}
    result = run(copied_bundle, ["train.json", "small.json"], **settings)
    assert result.returncode != 0
    message = result.stderr.strip().splitlines()[-1]
    assert message.startswith("Error: Training stopped: the loss became")
    assert "learning rate" in message


def test_evaluation_scores_every_case_at_its_own_resolution(
    copied_bundle: Path, tiny_phantoms: Path, trained: Path, tmp_path: Path
) -> None:
    result = run(
        copied_bundle,
        ["inference.json", "small.json", "evaluate.json"],
        dataset_dir=tiny_phantoms,
        checkpoint=trained / "model.pt",
        output_dir=tmp_path,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    table = pd.read_csv(tmp_path / "metrics.csv")
    cases = json.loads((tiny_phantoms / "datalist.json").read_text())["test"]
    assert sorted(table["case"]) == sorted(Path(c["image"]).stem for c in cases)
    for case in cases:
        name = Path(case["image"]).stem
        truth = np.asarray(Image.open(tiny_phantoms / case["label"])) > 0
        mask = np.asarray(Image.open(tmp_path / f"{name}_seg.png")) > 0
        assert mask.shape == truth.shape
        row = table[table["case"] == name].iloc[0]
        overlap = (mask & truth).sum()
        assert row["dice"] == pytest.approx(2 * overlap / (mask.sum() + truth.sum()), abs=1e-5)
        assert row["iou"] == pytest.approx(overlap / (mask | truth).sum(), abs=1e-5)


def test_inference_of_a_plain_folder_with_bad_files(
    copied_bundle: Path, tiny_phantoms: Path, trained: Path, tmp_path: Path
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
    result = run(
        copied_bundle,
        ["inference.json", "small.json"],
        dataset_dir=images,
        checkpoint=trained / "model.pt",
        output_dir=out,
    )
    assert result.returncode != 0
    message = result.stderr.strip().splitlines()[-1]
    assert message.startswith("Error: 4 of 6 cases")
    for name, reason in (("cut", "truncated"), ("text", "not an image"), ("flat", "constant"), ("colours", "channels")):
        assert f"{name}.png" in message
        assert reason in message
    assert "Traceback" not in result.stderr
    written = {p.name for p in out.iterdir()}
    assert written == {f"{n}_{p}.png" for n in ("wide", "photo") for p in ("seg", "probability", "uncertainty")}
    mask, probability = (Image.open(out / f"wide_{p}.png") for p in ("seg", "probability"))
    assert mask.size == probability.size == (70, 45)
    np.testing.assert_array_equal(np.asarray(mask) > 0, np.asarray(probability) >= 32768)


@pytest.mark.parametrize(
    ("overrides", "fragment"),
    [
        ({"dataset_dir": "EMPTY"}, "holds no images"),
        ({"checkpoint": "ABSENT"}, "does not exist"),
        ({"image_size": [32, 32], "denoiser#channels": [8, 16, 24, 32]}, "another architecture"),
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
    tmp_path: Path,
    overrides: dict[str, Any],
    fragment: str,
) -> None:
    (tmp_path / "EMPTY").mkdir()
    (tmp_path / "FILE").touch()
    settings = {"dataset_dir": tiny_phantoms, "checkpoint": trained / "model.pt", "output_dir": tmp_path / "out"}
    places = {k: tmp_path / v if isinstance(v, str) else v for k, v in overrides.items()}
    result = run(copied_bundle, ["inference.json", "small.json"], **{**settings, **places})
    assert result.returncode != 0
    lines = result.stderr.strip().splitlines()
    assert lines[-1].startswith("Error: ")
    assert fragment in lines[-1]
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())
