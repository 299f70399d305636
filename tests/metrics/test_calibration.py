# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.metrics import CumulativeIterationMetric

from medsegdiff_monai.metrics import (
    AdaptiveCalibrationError,
    BrierScore,
    ExpectedCalibrationError,
    NegativeLogLikelihood,
)

ALL = [ExpectedCalibrationError, AdaptiveCalibrationError, BrierScore, NegativeLogLikelihood]


def image(*values: float) -> torch.Tensor:
    """One channel of one case of two rows."""
    return torch.tensor(values, dtype=torch.float64).reshape(1, 1, 2, -1)


# Four voxels in two bins: 0.1 and 0.4, of which one is in the reference, and 0.6 and 0.9, of which both are.
PROBABILITY, REFERENCE = image(0.1, 0.9, 0.4, 0.6), image(0, 1, 1, 1)


def test_four_voxels_by_hand() -> None:
    # Bins of equal width: |0.25 - 0.5| and |0.75 - 1|, half of the voxels each.
    assert ExpectedCalibrationError(2)(PROBABILITY, REFERENCE).item() == pytest.approx(0.25)
    # A single bin: the mean probability 0.5 against the share 0.75.
    assert ExpectedCalibrationError(1)(PROBABILITY, REFERENCE).item() == pytest.approx(0.25)
    # Four bins of one voxel each: the mean distance.
    assert AdaptiveCalibrationError(4)(PROBABILITY, REFERENCE).item() == pytest.approx((0.1 + 0.6 + 0.4 + 0.1) / 4)
    assert BrierScore()(PROBABILITY, REFERENCE).item() == pytest.approx((0.01 + 0.01 + 0.36 + 0.16) / 4)
    nll = -(2 * math.log(0.9) + math.log(0.4) + math.log(0.6)) / 4
    assert NegativeLogLikelihood()(PROBABILITY, REFERENCE).item() == pytest.approx(nll)


def test_bins_of_equal_mass_by_hand() -> None:
    # In two bins of equal width all but one voxel share the first; in two of equal mass, three voxels each.
    p, y = image(0.1, 0.1, 0.2, 0.3, 0.3, 0.9), image(1, 0, 0, 0, 0, 1)
    assert AdaptiveCalibrationError(2)(p, y).item() == pytest.approx((abs(0.4 - 1) + abs(1.5 - 1)) / 6)
    assert ExpectedCalibrationError(2)(p, y).item() == pytest.approx((abs(1.0 - 1) + abs(0.9 - 1)) / 6)


@pytest.mark.parametrize("bins", [1, 2, 3])
def test_voxels_of_one_probability_are_shared_out_between_bins(bins: int) -> None:
    """However the edges cut through them, each bin has their mean share: |0.25 - 0.5| in all of them."""
    for positive in ((1, 1, 0, 0), (0, 0, 1, 1), (0, 1, 0, 1)):
        value = AdaptiveCalibrationError(bins)(image(0.25, 0.25, 0.25, 0.25), image(*positive))
        assert value.item() == pytest.approx(0.25)


def test_adaptive_error_against_sorting_where_bins_are_whole() -> None:
    rng = np.random.default_rng(0)
    p = rng.random(600)
    y = rng.random(600) < p**2
    order = np.argsort(p)
    bins = [(p[part].mean(), y[part].mean()) for part in np.split(order, 15)]
    expected = np.mean([abs(confidence - share) for confidence, share in bins])
    value = AdaptiveCalibrationError()(
        torch.from_numpy(p).reshape(1, 1, 20, 30), torch.from_numpy(y).reshape(1, 1, 20, 30)
    )
    assert value.item() == pytest.approx(expected, rel=1e-6)


def test_a_sure_mistake_costs_the_logarithm_of_a_million() -> None:
    worst = NegativeLogLikelihood()(image(0.0, 1.0), image(1, 0))
    assert worst.item() == pytest.approx(math.log(1e6), rel=1e-6)
    assert NegativeLogLikelihood()(image(0.0, 1.0), image(0, 1)).item() == pytest.approx(1e-6, rel=1e-3)


@pytest.mark.parametrize("kind", ALL)
def test_each_case_and_channel_has_a_value_of_its_own(kind: type[CumulativeIterationMetric]) -> None:
    generator = torch.Generator().manual_seed(0)
    p = torch.rand(3, 2, 6, 5, 4, generator=generator)
    y = (torch.rand(3, 2, 6, 5, 4, generator=generator) < 0.4).float()
    metric = kind()
    values = metric(p, y)
    assert values.shape == (3, 2)
    assert values[1, 1] == kind()(p[1:2, 1:2], y[1:2, 1:2])
    torch.testing.assert_close(metric.aggregate().squeeze(), values.mean())
    torch.testing.assert_close(metric.aggregate("mean_batch"), values.mean(0))
    for pair in ((list(p), list(y)), (MetaTensor(p), y.bool()), (p, y.to(torch.uint8))):
        assert torch.equal(kind()(*pair), values)


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize(
    ("p", "y", "message"),
    [
        (image(0.5, 0.5), None, "one shape"),
        (image(0.5, 0.5), torch.zeros(1, 1, 3, 3), "one shape"),
        (image(-2.0, 5.0), image(0, 1), "sigmoid"),
        (image(math.nan, 0.5), image(0, 1), "sigmoid"),
        (image(0.5, 0.5), image(0, 2), "binary"),
    ],
)
def test_what_is_no_probability_or_mask_is_refused(
    kind: type[CumulativeIterationMetric], p: torch.Tensor, y: torch.Tensor | None, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        kind()(p, y)


@pytest.mark.parametrize("kind", [ExpectedCalibrationError, AdaptiveCalibrationError])
def test_no_bins_are_refused(kind: type[ExpectedCalibrationError]) -> None:
    with pytest.raises(ValueError, match="num_bins must be at least 1, got 0"):
        kind(0)
