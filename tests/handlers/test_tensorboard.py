# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import io
import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from ignite.engine import Engine
from monai.engines import SupervisedTrainer
from monai.handlers import MeanSquaredError, from_engine
from monai.transforms import AsDiscreted, Compose, CopyItemsd
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

from medsegdiff_monai.engines import DiffusionSegmentationEvaluator
from medsegdiff_monai.handlers import TrainingLossBoard, ValidationBoard, tensorboard
from medsegdiff_monai.inferers import SegmentationPrediction
from medsegdiff_monai.visualize import region_colour, rgb, validation_picture

REGIONS = {"nodule": [1]}


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


class Members:
    """An inferer whose members are the network's answer and the same a little higher."""

    def __init__(self, count: int) -> None:
        self.count = count

    def predict(self, inputs: torch.Tensor, network: nn.Module, *_: object) -> SegmentationPrediction:
        first = network(inputs).clamp(0.0, 1.0)
        members = torch.stack([(first + 0.1 * m).clamp(0.0, 1.0) for m in range(self.count)], dim=1)
        return SegmentationPrediction.from_members(members)


def validate(
    board: ValidationBoard, *size: int, epochs: tuple[int, ...] = (1, 2), members: int = 1, shift: float = 0.0
) -> list[float]:
    """Validations as a trainer runs them; the metric of each."""
    network = OutputOf()
    evaluator = DiffusionSegmentationEvaluator(
        device=torch.device("cpu"),
        val_data_loader=cases(2, *size),
        network=network,
        inferer=Members(members),
        postprocessing=Compose([CopyItemsd("pred", 1, "probability"), AsDiscreted("pred", threshold=0.5)]),
        key_val_metric={"error": MeanSquaredError(output_transform=from_engine(["probability", "label"]))},
        val_handlers=[board],
    )
    values = []
    for epoch in epochs:
        nn.init.constant_(network.shift, shift + 0.1 * (epoch - 1))
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
    values = validate(ValidationBoard(str(tmp_path), REGIONS), 4, 5)
    written = events(tmp_path).Scalars("error")
    assert [e.step for e in written] == [1, 2]
    np.testing.assert_allclose([e.value for e in written], values, rtol=1e-5)
    assert values[0] != values[1]
    assert all(f"error: {value:.4f}" in caplog.text for value in values)


def test_nothing_is_written_before_the_run_starts(tmp_path: Path) -> None:
    for board in (TrainingLossBoard(str(tmp_path / "a")), ValidationBoard(str(tmp_path / "b"), REGIONS)):
        board.attach(Engine(lambda *_: None))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_what_ends_a_validation_goes_on_without_a_traceback_in_the_log(
    tmp_path: Path, error: type[BaseException], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("validation"), "handlers", [caplog.handler])

    def fail(*_: object) -> None:
        raise error

    engine = Engine(fail)
    ValidationBoard(str(tmp_path), REGIONS).attach(engine)
    with pytest.raises(error):
        engine.run([0])
    assert "Traceback" not in caplog.text


def shown(folder: Path) -> np.ndarray:
    """The first picture of the board, ``(rows, columns, 3)``."""
    return np.asarray(picture(events(folder), "validation").convert("RGB"))


def count(pixels: np.ndarray, colour: str) -> int:
    return int((np.abs(pixels.astype(int) - rgb(colour)).max(-1) < 8).sum())


def test_a_picture_of_each_validation_is_on_the_board(tmp_path: Path) -> None:
    validate(ValidationBoard(str(tmp_path), REGIONS), 16, 12, epochs=(1, 2, 3))
    accumulator = events(tmp_path)
    assert accumulator.Tags()["images"] == ["validation"]
    pictures = accumulator.Images("validation")
    assert [p.step for p in pictures] == [1, 2, 3]
    assert pictures[0].encoded_image_string != pictures[2].encoded_image_string


def test_several_members_are_shown_with_their_uncertainty(tmp_path: Path) -> None:
    for members in (1, 2, 5):
        validate(ValidationBoard(str(tmp_path / str(members)), REGIONS), 16, 16, epochs=(1,), members=members)
    one, two, five = (shown(tmp_path / str(n)) for n in (1, 2, 5))
    widths = [p.shape[1] for p in (one, two, five)]
    # Image, reference, probability and uncertainty; then two members; then three, however many there are.
    panel = (widths[1] - widths[0]) / 2
    assert widths[2] - widths[1] == pytest.approx(panel, abs=1)
    assert count(one, "#E5E5E5") > 150_000  # the panel that says that there is no uncertainty
    assert count(two, "#E5E5E5") < count(one, "#E5E5E5") - 100_000  # a grey of the image may be the same


def test_probability_and_regions_are_those_of_the_last_case(tmp_path: Path) -> None:
    """With all of the image foreground in the prediction, the probability panel is full."""
    board = ValidationBoard(str(tmp_path), REGIONS)
    validate(board, 16, 16, epochs=(1,), shift=1.0)
    picture_of_one = shown(tmp_path)
    assert count(picture_of_one, "#FDE725") > 50_000  # viridis' upper end
    assert count(picture_of_one, region_colour(0)) > 300  # the reference's contours


def test_volume_is_shown_by_the_slice_with_the_largest_section_of_the_reference() -> None:
    label = np.zeros((1, 12, 12, 8))
    label[0, 2:5, 2:5, 2] = 1
    label[0, 4:10, 2:10, 5] = 1
    image = np.zeros((1, 12, 12, 8))
    image[..., 5] = np.arange(12)[:, None]  # bright at the patient's right
    item = {name: torch.from_numpy(a) for name, a in (("image", image), ("label", label), ("pred", 0 * label))}
    case = ValidationBoard("", REGIONS, frame="RAS")._case(item, "Epoch 1")
    pixels = validation_picture(case)
    grey = pixels[:, :, 0] == pixels[:, :, 1]
    rows = pixels.shape[0] // 2
    panel = pixels[rows, 20:400, 0][grey[rows, 20:400]]
    assert panel[:120].mean() > panel[-120:].mean() + 100  # right on the left, bright there
    assert count(pixels, region_colour(0)) > 300


def test_regions_that_are_not_labelled_are_left_out() -> None:
    item = {name: torch.rand(2, 8, 8) for name in ("image", "label", "pred")}
    case = ValidationBoard("", regions={"disc": [1], "cup": []})._case(item, "Epoch 1")
    assert list(case.regions) == ["disc"]
    assert case.masks.shape == case.reference.shape == (1, 8, 8)


def test_only_the_main_process_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensorboard, "is_main_process", lambda: False)
    assert len(train(tmp_path)) == 6
    assert len(validate(ValidationBoard(str(tmp_path), REGIONS), 4, 5)) == 2
    assert list(tmp_path.iterdir()) == []
