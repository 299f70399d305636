# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from medsegdiff_monai.apps.bundle import read_config
from medsegdiff_monai.data import case_name, load_cases
from medsegdiff_monai.data.phantoms import write_phantoms
from medsegdiff_monai.utils import INTERRUPTED, InputError, check_writable, printable
from medsegdiff_monai.visualize import PicturedCase, save_overview

__all__ = ["run_demo"]

_PHANTOMS = {"num_training": 200, "num_validation": 20, "num_test": 20, "size": 96}
_TRAINING_IMAGES = 6000  # images seen in training: about three minutes on two cores


def run_demo(out: str, data: str | None, bundle: str, epochs: int | None, seed: int) -> None:
    """Run the main job from end to end, as the command does: data, training, inference, evaluation, a picture."""
    start = time.monotonic()
    configs = Path(bundle) / "configs"
    for name in ("train.json", "inference.json"):
        read_config(bundle, [name, "small.json"])  # refuses what is no bundle, or one without that overlay
    folder = check_writable(out)
    dataset = Path(data) if data is not None else folder / "data"
    if data is None:
        write_phantoms(dataset, kind="ultrasound", seed=seed, **_PHANTOMS)
    training = load_cases(dataset, "training")
    epochs = max(1, round(_TRAINING_IMAGES / len(training))) if epochs is None else epochs

    common = {"bundle_root": Path(bundle), "dataset_dir": dataset}
    trained = {**common, "checkpoint": folder / "models" / "model.pt"}
    outputs = {"ckpt_dir": folder / "models", "output_dir": folder / "training"}
    training_files = [configs / "train.json", configs / "small.json"]
    _bundle_run(training_files, **common, **outputs, max_epochs=epochs, seed=seed)
    inference = [configs / "inference.json", configs / "small.json"]
    _bundle_run(inference, **trained, output_dir=folder / "results")
    _bundle_run([*inference, configs / "evaluate.json"], **trained, output_dir=folder / "evaluation")
    _draw(dataset, folder)
    dice = pd.read_csv(folder / "evaluation" / "metrics.csv")["dice"].mean()
    shown = printable(folder)
    print(
        f"\nTest Dice {dice:.3f} after {(time.monotonic() - start) / 60:.1f} minutes in all. Look at:\n"
        f"  {shown}/overview.png: image, reference, prediction and uncertainty side by side\n"
        f"  {shown}/results: mask, probability map and uncertainty map of each test image\n"
        f"  {shown}/evaluation/metrics.csv: metrics of each test image; summary in metrics.md beside it"
    )


def _bundle_run(config_files: list[Path], **overrides: Any) -> None:
    """Run a bundle workflow as a user would: ``python -m monai.bundle run``."""
    command = [sys.executable, "-m", "monai.bundle", "run", "--config_file", str([str(f) for f in config_files])]
    for key, value in overrides.items():
        # Relative names such as 2024 would be read as numbers.
        command += [f"--{key}", str(value.absolute() if isinstance(value, Path) else value)]
    print("\n$", printable(" ".join(["python", *command[1:]])), flush=True)
    process = subprocess.Popen(command)
    try:
        status = process.wait()
    except KeyboardInterrupt:  # which a terminal sends to both processes
        try:
            status = process.wait(5.0)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)
            status = process.wait()
    if status in (INTERRUPTED, -signal.SIGINT):
        sys.exit(INTERRUPTED)
    if status != 0:
        raise InputError(f"The step above ended with exit status {status}; its message says why.")


def _draw(dataset: Path, folder: Path) -> None:
    """One picture of the first test cases: image, reference, prediction, probability and uncertainty."""
    cases = []
    for case in load_cases(dataset, "test")[:6]:
        name = case_name(case["image"])
        maps = {p: _read(folder / "results" / f"{name}_{p}.png") for p in ("seg", "probability", "uncertainty")}
        cases.append(
            PicturedCase(
                name=name,
                image=_read(Path(case["image"])),
                regions=["nodule"],
                masks=maps["seg"][None] > 0,
                probability=maps["probability"][None] / 65535.0,
                uncertainty=maps["uncertainty"][None] / 65535.0,
                reference=_read(Path(case["label"]))[None] > 0,
            )
        )
    save_overview(folder / "overview.png", cases)


def _read(path: Path) -> np.ndarray:
    """A picture in MONAI's order, ``(X, Y)`` or ``(X, Y, 3)``."""
    with Image.open(path) as picture:
        return np.swapaxes(np.asarray(picture), 0, 1)
