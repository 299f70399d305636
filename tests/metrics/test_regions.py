# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.metrics import CumulativeIterationMetric

from medsegdiff_monai.metrics import (
    CupToDiscRatio,
    RegionDice,
    RegionHausdorffDistance,
    RegionIoU,
    RegionMetric,
    binary_masks,
)

ALL = [RegionDice, RegionIoU, RegionHausdorffDistance, CupToDiscRatio]


def masks(seed: int, count: int = 3) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(count, 2, 9, 7, generator=generator) < 0.3).float()


@pytest.mark.parametrize("kind", ALL)
def test_lists_and_batches_of_any_type_give_the_same(kind: type[CumulativeIterationMetric]) -> None:
    pred, label = masks(0), masks(1)
    expected = kind()(pred, label)
    assert expected.shape == (3, 3 if kind is CupToDiscRatio else 2)
    others = [
        (list(pred), list(label)),
        (pred.bool(), label.to(torch.uint8)),
        (pred.half(), label.double()),
        (MetaTensor(pred), label),
        ([MetaTensor(p) for p in pred], [MetaTensor(y) for y in label]),
    ]
    for pair in others:
        values = kind()(*pair)
        assert type(values) is torch.Tensor
        assert torch.equal(values, expected)


@pytest.mark.parametrize("kind", ALL)
def test_cases_accumulate_until_the_reset(kind: type[CumulativeIterationMetric]) -> None:
    metric = kind()
    first, second = metric(masks(0), masks(1)), metric(masks(2, 1), masks(3, 1))
    assert torch.equal(metric.get_buffer(), torch.cat([first, second]))
    metric.reset()
    with pytest.raises(ValueError, match=f"{kind.__name__} has scored no case"):
        metric.aggregate()


@pytest.mark.parametrize("kind", ALL[:3])
def test_mean_is_one_number_or_one_for_each_region(kind: type[RegionMetric]) -> None:
    by_region = kind(reduction="mean_batch")
    values = by_region(masks(0), masks(1))
    torch.testing.assert_close(by_region.aggregate(), torch.stack([values[:, 0].mean(), values[:, 1].mean()]))
    assert by_region.aggregate("mean").item() == pytest.approx(values.mean().item())
    overall = kind()
    overall(masks(0), masks(1))
    assert overall.aggregate().item() == pytest.approx(values.mean().item())
    assert torch.equal(overall.get_buffer(), values)


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize("value", [0.5, 2.0, -1.0, float("nan")])
def test_masks_that_are_not_binary_are_refused(kind: type[CumulativeIterationMetric], value: float) -> None:
    good, bad = masks(0), masks(1)
    bad[2, 1, 4, 4] = value
    with pytest.raises(ValueError, match=r"prediction must be a binary mask.*threshold it"):
        kind()(bad, good)
    with pytest.raises(ValueError, match="reference must be a binary mask"):
        kind()(good, bad)


@pytest.mark.parametrize(
    ("pred", "label"), [((1, 2, 4, 4), (1, 1, 4, 4)), ((1, 2, 4, 4), (1, 2, 4, 5)), ((2, 4), (2, 4)), ((1, 2, 4), None)]
)
def test_masks_of_other_shapes_are_refused(pred: tuple[int, ...], label: tuple[int, ...] | None) -> None:
    reference = None if label is None else torch.zeros(label)
    with pytest.raises(ValueError, match="must be masks of one shape") as caught:
        binary_masks(torch.zeros(pred), reference)
    assert str(pred) in str(caught.value)
    assert str(label) in str(caught.value)


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
