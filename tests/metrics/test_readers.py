# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from medsegdiff_monai.metrics import GeneralizedEnergyDistance, OverReaders, RegionDice, RegionIoU


def masks(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).random(shape) < 0.4


@pytest.mark.parametrize("over", ["mean", "min", "max"])
def test_dice_with_each_reader_by_formula(over: str) -> None:
    fused, readers = masks(3, 2, 5, 6), masks(3, 4, 2, 5, 6)
    both = (fused[:, None] & readers).sum((3, 4))
    dice = 2 * both / (fused[:, None].sum((3, 4)) + readers.sum((3, 4)))
    found = OverReaders(RegionDice(), over)(torch.from_numpy(fused), torch.from_numpy(readers))
    np.testing.assert_allclose(found, getattr(dice, over)(1), rtol=1e-6)


def test_one_reader_is_the_metric_itself() -> None:
    fused, readers = torch.from_numpy(masks(2, 1, 4, 5, 6)), torch.from_numpy(masks(2, 1, 1, 4, 5, 6))
    assert torch.equal(OverReaders(RegionIoU(), "min")(fused, readers), RegionIoU()(fused, readers[:, 0]))


def test_lists_of_cases_with_different_numbers_of_readers() -> None:
    metric = OverReaders(RegionDice())
    full, empty = torch.ones(1, 4, 4), torch.zeros(1, 4, 4)
    metric([full, full], [torch.stack([full, empty]), torch.stack([full, empty, empty, empty])])
    assert metric.get_buffer().flatten().tolist() == [0.5, 0.25]
    assert float(metric.aggregate()) == 0.375


def test_other_shapes_and_names_are_refused() -> None:
    with pytest.raises(ValueError, match="over must be mean, min or max, got 'median'"):
        OverReaders(RegionDice(), "median")
    with pytest.raises(ValueError, match=r"readers \(B, R, C, \*spatial\), got"):
        OverReaders(RegionDice())(torch.ones(1, 1, 4, 4), torch.ones(1, 1, 4, 4))


def strip(*sizes: int) -> torch.Tensor:
    """Masks ``(1, len(sizes), 1, 2, 4)`` of the first pixels of eight."""
    masks = torch.zeros(1, len(sizes), 1, 8)
    for i, size in enumerate(sizes):
        masks[0, i, 0, :size] = 1
    return masks.reshape(1, len(sizes), 1, 2, 4)


def test_hand_case() -> None:
    # d(S, Y): 1 - 2/4 and 1 - 4/4 on average 1/4; d(S, S'): 0, 1/2, 1/2, 0; d(Y, Y'): 0.
    value = GeneralizedEnergyDistance()(strip(2, 4), strip(4))
    assert value.item() == pytest.approx(2 * 0.25 - 0.25 - 0.0)


def test_single_masks_give_twice_the_distance() -> None:
    assert GeneralizedEnergyDistance()(strip(2), strip(6)).item() == pytest.approx(2 * (1 - 2 / 6))


def test_empty_masks_agree() -> None:
    assert GeneralizedEnergyDistance()(strip(0), strip(0)).item() == 0.0
    assert GeneralizedEnergyDistance()(strip(0), strip(3)).item() == 2.0
    # d(S, Y) = 1/2, d(S, S') = 0, d(Y, Y') = 1/2.
    assert GeneralizedEnergyDistance()(strip(0), strip(0, 3)).item() == pytest.approx(2 * 0.5 - 0.0 - 0.5)


def test_same_variation_is_no_distance() -> None:
    masks = torch.rand(2, 4, 3, 6, 5, generator=torch.Generator().manual_seed(0)) < 0.4
    same = GeneralizedEnergyDistance()(masks, masks.flip(1))
    torch.testing.assert_close(same, torch.zeros(2, 3))
    repeated = GeneralizedEnergyDistance()(masks, masks.repeat(1, 2, 1, 1, 1))
    torch.testing.assert_close(repeated, torch.zeros(2, 3))


def test_random_volumes_by_formula() -> None:
    rng = np.random.default_rng(1)
    s, y = (rng.random((1, n, 2, 4, 3, 5)) < share for n, share in ((3, 0.5), (4, 0.3)))

    def mean(first: np.ndarray, second: np.ndarray) -> float:
        pairs = itertools.product(first, second)
        return float(np.mean([1 - (a & b).sum() / (a | b).sum() for a, b in pairs]))

    values = GeneralizedEnergyDistance()(torch.from_numpy(s), torch.from_numpy(y))
    for c in range(2):
        a, b = s[0, :, c], y[0, :, c]
        assert values[0, c].item() == pytest.approx(2 * mean(a, b) - mean(a, a) - mean(b, b), rel=1e-5)


def test_lists_of_cases_and_their_mean() -> None:
    metric = GeneralizedEnergyDistance()
    metric([strip(2, 4)[0], strip(2)[0]], [strip(4)[0], strip(6)[0]])
    assert metric.aggregate().item() == pytest.approx((0.25 + 4 / 3) / 2)


@pytest.mark.parametrize(
    ("members", "readers", "message"),
    [
        (strip(2), None, "must fit"),
        (strip(2), strip(2)[:, 0], "must fit"),
        (strip(2), torch.zeros(1, 1, 1, 3, 3), "must fit"),
        (0.5 * strip(2), strip(2), "The members must be binary"),
        (strip(2), 2 * strip(2), "The readers must be binary"),
    ],
)
def test_what_does_not_fit_is_refused(members: torch.Tensor, readers: torch.Tensor | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GeneralizedEnergyDistance()(members, readers)
