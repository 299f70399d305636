# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
import torch

from medsegdiff_monai.apps.label import member_disagreement
from medsegdiff_monai.utils import InputError


def naive(members: np.ndarray) -> float:
    """The definition, pair by pair and region by region."""
    dice = []
    for a, b in combinations(members > 0.5, 2):
        for x, y in zip(a, b):
            dice.append(2.0 * (x & y).sum() / (x.sum() + y.sum()) if x.sum() + y.sum() else 1.0)
    return 1.0 - float(np.mean(dice))


@pytest.mark.parametrize("shape", [(5, 1, 9, 7), (3, 2, 6, 6), (4, 3, 5, 4, 6)])
def test_equals_the_definition(shape: tuple[int, ...]) -> None:
    members = np.random.default_rng(0).random(shape).astype(np.float32)
    assert member_disagreement(torch.from_numpy(members)) == pytest.approx(naive(members), abs=1e-6)


def test_its_ends_are_agreement_and_disjoint_masks() -> None:
    mask = torch.zeros(1, 8, 8)
    mask[:, 2:5, 2:5] = 0.9
    assert member_disagreement(torch.stack([mask, mask, mask])) == 0.0
    assert member_disagreement(torch.stack([mask, mask.roll(4, dims=2)])) == 1.0
    assert member_disagreement(torch.zeros(4, 1, 8, 8)) == 0.0


def test_does_not_depend_on_the_size_of_the_object() -> None:
    def pair(size: int) -> torch.Tensor:
        members = torch.zeros(2, 1, 64, 64)
        members[0, 0, :size, :size] = 1.0
        members[1, 0, : size // 2, :size] = 1.0
        return members

    assert member_disagreement(pair(8)) == pytest.approx(1 / 3, abs=1e-6)
    assert member_disagreement(pair(48)) == pytest.approx(1 / 3, abs=1e-6)


def test_one_member_cannot_disagree() -> None:
    with pytest.raises(InputError, match="At least 2 members"):
        member_disagreement(torch.ones(1, 1, 8, 8))
