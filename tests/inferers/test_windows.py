# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0


from __future__ import annotations

import logging

import pytest
import torch

from medsegdiff_monai.inferers import DiffusionSegmentationInferer
from medsegdiff_monai.inferers.windows import WindowPredictor
from medsegdiff_monai.networks.nets import DCEUNet
from medsegdiff_monai.networks.schedulers import DPMSolverScheduler
from medsegdiff_monai.utils import InputError


class LittleMemory:
    """Adds image and noise, for so many windows at a time as there is memory for."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.asked: list[int] = []

    def __call__(self, image: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        self.asked.append(len(image))
        if len(image) > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return image[:, :, None] + noise


def windows(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(count, 1, 4, 4, generator=generator), torch.randn(count, 3, 1, 4, 4, generator=generator)


@pytest.mark.parametrize(("room", "asked"), [(8, [8]), (3, [8, 4, 2, 2, 2, 2]), (1, [8, 4, 2, 1, 1, 1, 1, 1, 1, 1, 1])])
def test_fewer_windows_at_a_time_where_memory_runs_out(
    room: int, asked: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    image, noise = windows(8)
    memory = LittleMemory(room)
    predict = WindowPredictor(memory, None, 3)
    with caplog.at_level(logging.WARNING):
        torch.testing.assert_close(predict(image, noise), image[:, :, None] + noise)
    assert memory.asked == asked
    assert len(caplog.messages) == sum(count > room for count in asked)
    memory.asked.clear()
    predict(image, noise)
    assert max(memory.asked) <= room  # what did not fit is not tried again


def test_no_memory_for_one_window_is_one_sentence() -> None:
    with pytest.raises(InputError, match="no memory for a window of 4 x 4: lower member_batch_size"):
        WindowPredictor(LittleMemory(0), None, 3)(*windows(2))


def test_windows_of_background_are_spared() -> None:
    image, noise = windows(5)
    image[[0, 3]] = -1.0
    image[4, 0, 0, 0] = -1.0  # background in a corner only
    memory = LittleMemory(8)
    members = WindowPredictor(memory, background_value=-1.0, maps=3)(image, noise)
    assert memory.asked == [3]
    assert not members[[0, 3]].any()
    filled = [1, 2, 4]
    torch.testing.assert_close(members[filled], image[filled][:, :, None] + noise[filled])
    nothing = torch.full_like(image, -1.0)
    assert not WindowPredictor(LittleMemory(0), background_value=-1.0, maps=3)(nothing, noise).any()


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_air_in_a_volume_gets_probability_0_and_the_rest_is_the_same_whatever_the_window_batch(batch: int) -> None:
    torch.manual_seed(0)
    settings = {"fusion_levels": (False, True), "fusion_residual": True, "spatial_size": 8}
    network = DCEUNet(3, 1, 1, 1, (8, 8), 1, **settings).eval()
    volume = torch.randn(1, 1, 24, 8, 8, generator=torch.Generator().manual_seed(1))
    volume[:, :, 8:] = 0.0

    def segment(background_value: float | None, sw_batch_size: int) -> torch.Tensor:
        inferer = DiffusionSegmentationInferer(
            DPMSolverScheduler(prediction_type="sample"),
            2,
            2,
            roi_size=(8, 8, 8),
            overlap=0.0,
            signal_scale=0.3,
            background_value=background_value,
            sw_batch_size=sw_batch_size,
        )
        return inferer(volume, network)

    spared, looked_at = segment(0.0, batch), segment(None, 1)
    assert not spared[:, :, 8:].any()
    assert looked_at[:, :, 8:].min() > 0
    torch.testing.assert_close(spared[:, :, :8], looked_at[:, :, :8], atol=1e-5, rtol=1e-5)
