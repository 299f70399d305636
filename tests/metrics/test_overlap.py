# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import numpy as np
import pytest
import torch

from medsegdiff_monai.metrics import RegionDice, RegionIoU


def square(first: int, last: int) -> torch.Tensor:
    mask = torch.zeros(1, 1, 8, 8)
    mask[..., first:last, 2:4] = 1
    return mask


@pytest.mark.parametrize(
    ("pred", "dice", "iou"),
    [(square(2, 4), 1.0, 1.0), (square(3, 5), 0.5, 1 / 3), (square(4, 6), 0.0, 0.0), (square(2, 8), 0.5, 1 / 3)],
    ids=["same", "half", "beside", "three times as long"],
)
def test_squares_by_hand(pred: torch.Tensor, dice: float, iou: float) -> None:
    torch.testing.assert_close(RegionDice()(pred, square(2, 4)), torch.tensor([[dice]]))
    torch.testing.assert_close(RegionIoU()(pred, square(2, 4)), torch.tensor([[iou]]))


def test_random_volumes_by_formula() -> None:
    rng = np.random.default_rng(3)
    pred, label = (rng.random((2, 3, 5, 6, 7)) < share for share in (0.2, 0.6))
    both, either = (f(pred, label).sum(axis=(2, 3, 4)) for f in (np.logical_and, np.logical_or))
    total = pred.sum(axis=(2, 3, 4)) + label.sum(axis=(2, 3, 4))
    pair = torch.from_numpy(pred), torch.from_numpy(label)
    np.testing.assert_allclose(RegionDice()(*pair), 2 * both / total, rtol=1e-6)
    np.testing.assert_allclose(RegionIoU()(*pair), both / either, rtol=1e-6)


@pytest.mark.parametrize("metric", [RegionDice(), RegionIoU()])
def test_empty_masks(metric: RegionDice | RegionIoU) -> None:
    """Each in a channel of its own: neither, the prediction, the reference, both."""
    full, empty = torch.ones(1, 1, 4, 4, 4), torch.zeros(1, 1, 4, 4, 4)
    pred = torch.cat([full, empty, full, empty], dim=1)
    label = torch.cat([full, full, empty, empty], dim=1)
    assert metric(pred, label).tolist() == [[1.0, 0.0, 0.0, 1.0]]


@pytest.mark.parametrize("kind", [RegionDice, RegionIoU])
def test_counts_do_not_overflow_the_masks_own_type(kind: type[RegionDice]) -> None:
    mask = torch.ones(1, 1, 300, 300)
    assert kind()(mask.half(), mask.half()).item() == 1.0
    assert kind()(mask.to(torch.uint8), mask.to(torch.uint8)).item() == 1.0
