# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0


from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image
from torch.utils.tensorboard import SummaryWriter
from training_curve import read_scalars, training_curve

from medsegdiff_monai.utils import InputError


def board(folder: Path, tag: str, values: dict[int, float], wall_time: float = 1.0) -> Path:
    with SummaryWriter(str(folder)) as writer:
        for step, value in values.items():
            writer.add_scalar(tag, value, step, walltime=wall_time)
    return folder


def test_curves_of_a_resumed_run_are_one(tmp_path: Path) -> None:
    board(tmp_path, "train_loss", {1: 4.0, 2: 3.0, 3: 9.0}, wall_time=10.0)
    board(tmp_path, "train_loss", {3: 2.0, 4: 1.0}, wall_time=20.0)
    board(tmp_path, "val_mean_dice", {1: 0.5})
    assert read_scalars(tmp_path) == {
        "train_loss": [(1, 4.0), (2, 3.0), (3, 2.0), (4, 1.0)],
        "val_mean_dice": [(1, 0.5)],
    }


def test_picture_is_written(tmp_path: Path) -> None:
    board(tmp_path, "train_loss", {i: 1 / (i + 1) for i in range(300)})
    board(tmp_path, "val_mean_dice", {5: 0.5, 10: 0.9, 15: 0.8})
    training_curve(str(tmp_path), str(tmp_path / "curve.png"))
    with Image.open(tmp_path / "curve.png") as picture:
        assert picture.width > picture.height
        assert len(set(picture.convert("L").tobytes())) > 50  # lines, not a blank page


def test_folder_without_curves_is_refused(tmp_path: Path) -> None:
    board(tmp_path, "train_loss", {1: 1.0})
    with pytest.raises(InputError, match="no curve of val_mean_dice"):
        training_curve(str(tmp_path), str(tmp_path / "curve.png"))
    assert not (tmp_path / "curve.png").exists()
