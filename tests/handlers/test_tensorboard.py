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

import io
import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.engines import SupervisedEvaluator, SupervisedTrainer
from monai.handlers import MeanSquaredError, from_engine
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

from medsegdiff_monai.handlers import TrainingLossBoard, ValidationBoard, tensorboard


def events(folder: Path) -> EventAccumulator:
    accumulator = EventAccumulator(str(folder), size_guidance={"scalars": 0, "images": 0})
    accumulator.Reload()
    return accumulator


def picture(accumulator: EventAccumulator, tag: str) -> Image.Image:
    return Image.open(io.BytesIO(accumulator.Images(tag)[0].encoded_image_string))


def cases(count: int, *size: int) -> list[dict[str, torch.Tensor]]:
    generator = torch.Generator().manual_seed(0)
    images = [torch.rand(1, 1, *size, generator=generator) for _ in range(count)]
    return [{"image": image, "label": (image > 0.5).float()} for image in images]


class OutputOf(nn.Module):
    """A network whose answer is the image plus its one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(()))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return image + self.shift


def train(folder: Path, epochs: int = 2) -> list[float]:
    """A training run with the board; the loss of each iteration."""
    network, losses = OutputOf(), []
    engine = SupervisedTrainer(
        device=torch.device("cpu"),
        max_epochs=epochs,
        train_data_loader=cases(3, 4, 5),
        network=network,
        optimizer=torch.optim.SGD(network.parameters(), lr=0.1),
        loss_function=lambda p, t: losses.append(nn.functional.mse_loss(p, t)) or losses[-1],
        train_handlers=[TrainingLossBoard(str(folder))],
    )
    engine.run()
    return [float(loss.detach()) for loss in losses]


def validate(board: ValidationBoard, *size: int, epochs: tuple[int, ...] = (1, 2)) -> list[float]:
    """Validations as a trainer runs them; the metric of each."""
    network = OutputOf()
    evaluator = SupervisedEvaluator(
        device=torch.device("cpu"),
        val_data_loader=cases(2, *size),
        network=network,
        key_val_metric={"error": MeanSquaredError(output_transform=from_engine(["pred", "label"]))},
        val_handlers=[board],
    )
    values = []
    for epoch in epochs:
        nn.init.constant_(network.shift, 0.1 * (epoch - 1))
        evaluator.run(epoch)
        values.append(evaluator.state.metrics["error"])
    return values


def test_loss_of_every_iteration_is_on_the_board(tmp_path: Path) -> None:
    losses = train(tmp_path)
    written = events(tmp_path).Scalars("train_loss")
    assert [e.step for e in written] == [1, 2, 3, 4, 5, 6]
    np.testing.assert_allclose([e.value for e in written], losses, rtol=1e-6)


def test_metric_of_every_validation_is_on_the_board_and_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("validation"), "handlers", [caplog.handler])
    values = validate(ValidationBoard(str(tmp_path)), 4, 5)
    written = events(tmp_path).Scalars("error")
    assert [e.step for e in written] == [1, 2]
    np.testing.assert_allclose([e.value for e in written], values, rtol=1e-5)
    assert values[0] != values[1]
    assert all(f"error: {value:.4f}" in caplog.text for value in values)


def test_last_case_is_shown_as_pictures(tmp_path: Path) -> None:
    validate(ValidationBoard(str(tmp_path)), 6, 8, epochs=(1, 2, 3))
    accumulator = events(tmp_path)
    tags = accumulator.Tags()["images"]
    assert len(tags) == 3  # image, label and answer
    for tag in tags:
        pictures = accumulator.Images(tag)
        assert [p.step for p in pictures] == [1, 2, 3]
        assert sorted((pictures[0].width, pictures[0].height)) == [6, 8]
    label = cases(2, 6, 8)[-1]["label"][0, 0].numpy() * 255
    shown = [picture(accumulator, tag).convert("L") for tag in tags]
    assert any(np.array_equal(p, label) or np.array_equal(p, label.T) for p in shown)


def test_volume_moves_along_its_last_axis(tmp_path: Path) -> None:
    validate(ValidationBoard(str(tmp_path)), 6, 8, 5, epochs=(1,))
    accumulator = events(tmp_path)
    tags = accumulator.Tags()["images"]
    assert len(tags) == 3
    for tag in tags:
        animation = picture(accumulator, tag)
        assert animation.n_frames == 5
        assert sorted(animation.size) == [6, 8]


def test_pictures_can_be_left_out(tmp_path: Path) -> None:
    validate(ValidationBoard(str(tmp_path), images=False), 4, 5)
    accumulator = events(tmp_path)
    assert accumulator.Tags()["images"] == []
    assert len(accumulator.Scalars("error")) == 2


def test_only_the_main_process_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensorboard, "is_main_process", lambda: False)
    assert len(train(tmp_path)) == 6
    assert len(validate(ValidationBoard(str(tmp_path)), 4, 5)) == 2
    assert list(tmp_path.iterdir()) == []
