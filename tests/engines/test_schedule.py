# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import math

import pytest
import torch

from medsegdiff_monai.engines import EpochCosineSchedule

RATE = 0.2


def rates(epochs: int, batches: int, warmup_steps: int, steps: int) -> list[float]:
    """The learning rate of each step."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=RATE)
    schedule = EpochCosineSchedule(optimizer, epochs, range(batches), warmup_steps)
    values = []
    for _ in range(steps):
        values.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return values


@pytest.mark.parametrize(("epochs", "batches", "warmup"), [(4, 5, 6), (1, 20, 1), (30, 3, 50)])
def test_rises_linearly_and_falls_along_a_cosine_to_the_end(epochs: int, batches: int, warmup: int) -> None:
    total = epochs * batches
    actual = rates(epochs, batches, warmup, total + 1)
    rise = [RATE * step / warmup for step in range(warmup)]
    share = [(step - warmup) / (total - warmup) for step in range(warmup, total + 1)]
    expected = rise + [RATE * (1 + math.cos(math.pi * s)) / 2 for s in share]
    assert actual == pytest.approx(expected, abs=1e-12)
    assert max(actual) == pytest.approx(RATE)
    assert actual[-1] == pytest.approx(0.0, abs=1e-12)


def test_state_is_that_of_any_schedule() -> None:
    optimizers = [torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=RATE) for _ in range(2)]
    first, resumed = (EpochCosineSchedule(o, 4, range(5), 6) for o in optimizers)
    for _ in range(9):
        optimizers[0].step()
        first.step()
    resumed.load_state_dict(first.state_dict())
    for optimizer, schedule in zip(optimizers, (first, resumed)):
        optimizer.step()
        schedule.step()
    assert optimizers[1].param_groups[0]["lr"] == optimizers[0].param_groups[0]["lr"]
