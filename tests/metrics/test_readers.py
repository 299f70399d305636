# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import numpy as np
import pytest
import torch

from medsegdiff_monai.metrics import OverReaders, RegionDice, RegionIoU


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
