# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0


from __future__ import annotations

import numpy as np
import pytest
import torch

from medsegdiff_monai.losses import MaskDenoisingLoss


def by_hand(logits: np.ndarray, target: np.ndarray) -> tuple[float, float]:
    """Soft Dice loss of the cases and channels with a mask, and binary cross-entropy."""
    p = 1 / (1 + np.exp(-logits))
    axes = tuple(range(2, logits.ndim))
    dice = 1 - 2 * (p * target).sum(axes) / (p.sum(axes) + target.sum(axes))
    cross_entropy = -(target * np.log(p) + (1 - target) * np.log(1 - p))
    present = target.any(axes)
    return dice[present].mean() if present.any() else 0.0, cross_entropy.mean()


@pytest.mark.parametrize("form", [lambda m: m, torch.jit.script], ids=["eager", "scripted"])
@pytest.mark.parametrize("dice_weight", [1.0, 0.0, 0.5])
@pytest.mark.parametrize("size", [(6, 7), (4, 5, 6)], ids=["2d", "3d"])
def test_equals_the_weighted_sum_by_hand(size, dice_weight, form):
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 3, (2, 3, *size))
    target = (rng.random(logits.shape) < np.array([0.7, 0.3, 0.1]).reshape(1, 3, *[1] * len(size))).astype(float)
    expected = np.dot((dice_weight, 1.0), by_hand(logits, target))
    actual = form(MaskDenoisingLoss(dice_weight))(torch.from_numpy(logits), torch.from_numpy(target))
    assert actual.shape == ()
    assert float(actual) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("empty", [[(0, 0)], [(0, 1), (1, 0)], [(0, 0), (1, 0), (1, 1), (1, 2)]], ids=str)
def test_empty_masks_do_not_count_in_the_dice_term(empty):
    rng = np.random.default_rng(1)
    logits = rng.normal(0, 2, (2, 3, 5, 6))
    target = (rng.random(logits.shape) < 0.4).astype(float)
    for pair in empty:
        target[pair] = 0
    actual = MaskDenoisingLoss(2.0)(torch.from_numpy(logits), torch.from_numpy(target))
    assert float(actual) == pytest.approx(np.dot((2.0, 1.0), by_hand(logits, target)), rel=1e-4)


def test_all_masks_empty_leaves_the_cross_entropy():
    logits = torch.randn(2, 2, 5, 6, generator=torch.Generator().manual_seed(0), requires_grad=True)
    loss = MaskDenoisingLoss()(logits, torch.zeros(2, 2, 5, 6))
    loss.backward()
    assert loss.item() == pytest.approx(torch.log(1 + logits.exp()).mean().item(), rel=1e-5)
    torch.testing.assert_close(logits.grad, logits.detach().sigmoid() / logits.numel())


def test_one_pixel_is_a_mask():
    logits = torch.zeros(1, 2, 4, 4)
    target = torch.zeros(1, 2, 4, 4)
    target[0, 1, 2, 3] = 1
    dice = 1 - 2 * 0.5 / (8 + 1)
    assert float(MaskDenoisingLoss()(logits, target)) == pytest.approx(dice + np.log(2), rel=1e-4)


def test_the_default_is_dice_plus_cross_entropy():
    logits = torch.tensor([[[[0.0, 0.0], [0.0, 0.0]]]])
    target = torch.tensor([[[[1.0, 1.0], [0.0, 0.0]]]])
    assert float(MaskDenoisingLoss()(logits, target)) == pytest.approx(0.5 + np.log(2), rel=1e-4)


def test_a_right_and_certain_prediction_costs_nothing():
    target = (torch.rand(2, 2, 8, 8, generator=torch.Generator().manual_seed(0)) > 0.5).float()
    loss = MaskDenoisingLoss()
    assert loss(40 * (2 * target - 1), target) < 1e-4
    assert loss(40 * (1 - 2 * target), target) > 40


@pytest.mark.parametrize("foreground", [0.0, 1.0])
@pytest.mark.parametrize("logit", [-1000.0, 0.0, 1000.0])
def test_empty_masks_and_extreme_logits_give_finite_gradients(foreground, logit):
    logits = torch.full((1, 1, 4, 4), logit, requires_grad=True)
    loss = MaskDenoisingLoss()(logits, torch.full((1, 1, 4, 4), foreground))
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(logits.grad).all()


def test_refuses_a_negative_weight():
    with pytest.raises(ValueError, match="dice_weight must not be negative"):
        MaskDenoisingLoss(-1.0)


def test_deep_supervision_halves_the_weight_of_each_coarser_prediction():
    generator = torch.Generator().manual_seed(0)
    stacked = torch.randn(2, 3, 1, 8, 8, generator=generator)
    target = (torch.rand(2, 1, 8, 8, generator=generator) > 0.5).float()
    loss = MaskDenoisingLoss()
    parts = [float(loss(stacked[:, k], target)) for k in range(3)]
    expected = (parts[0] + parts[1] / 2 + parts[2] / 4) / 1.75
    assert float(loss(stacked, target)) == pytest.approx(expected, rel=1e-5)
