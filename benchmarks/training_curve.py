# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0


"""Curves of a bundle's training: loss against updates and validation Dice against epochs, from its TensorBoard files.

    python benchmarks/training_curve.py --board <bundle>/eval --out <bundle>/docs/training.png

A run that was resumed is one curve: where it repeats a step, the later value counts.
"""

from __future__ import annotations

from pathlib import Path

import fire
import matplotlib as mpl
import numpy as np
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
from tensorboard.util.tensor_util import make_ndarray

from medsegdiff_monai.utils import InputError

mpl.use("Agg")
import matplotlib.pyplot as plt

LOSS, DICE = "train_loss", "val_mean_dice"


def read_scalars(board: Path) -> dict[str, list[tuple[int, float]]]:
    """Steps and values of each curve, in order of the steps.

    Args:
        board: folder of TensorBoard's files.
    """
    latest: dict[str, dict[int, tuple[float, float]]] = {}
    for path in board.glob("events.out.tfevents.*"):
        for event in EventFileLoader(str(path)).Load():
            for value in event.summary.value:
                if value.metadata.plugin_data.plugin_name != "scalars":
                    continue
                steps = latest.setdefault(value.tag, {})
                number = float(make_ndarray(value.tensor))
                steps[event.step] = max(steps.get(event.step, (0.0, 0.0)), (event.wall_time, number))
    return {tag: [(step, steps[step][1]) for step in sorted(steps)] for tag, steps in latest.items()}


def training_curve(board: str, out: str) -> None:
    """Draw the curves of one training.

    Args:
        board: folder of TensorBoard's files: the training's output_dir.
        out: PNG to write.
    """
    curves = read_scalars(Path(board))
    missing = [tag for tag in (LOSS, DICE) if tag not in curves]
    if missing:
        raise InputError(f"{board} has no curve of {', '.join(missing)}: give the output_dir of a training.")
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    updates, losses = np.array(curves[LOSS]).T
    window = max(1, len(losses) // 100)
    smooth = np.convolve(losses, np.ones(window) / window, mode="valid")
    left.plot(updates, losses, color="0.8", linewidth=0.5)
    left.plot(updates[window - 1 :], smooth, color="C0", label=f"mean of {window} updates")
    left.set(xlabel="update", ylabel="training loss", ylim=(0, np.quantile(losses, 0.99)))
    left.legend(frameon=False)
    epochs, dice = np.array(curves[DICE]).T
    best = int(dice.argmax())
    right.plot(epochs, dice, color="C0")
    right.plot(epochs[best], dice[best], "o", color="C1", label=f"epoch {epochs[best]:.0f}: {dice[best]:.4f}")
    right.set(xlabel="epoch", ylabel="validation Dice", ylim=(max(0.0, dice.max() - 0.25), None))
    right.legend(frameon=False, loc="lower right")
    for axes in (left, right):
        axes.grid(alpha=0.3)
    figure.savefig(out, dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    try:
        fire.Fire(training_curve)
    except InputError as error:
        raise SystemExit(f"Error: {error}") from None
