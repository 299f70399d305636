# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.metrics import CalibrationErrorMetric

from medsegdiff_monai.metrics import Reliability

BINS = 20


def counted(*cases: tuple[list, list], bins: int = BINS) -> Reliability:
    reliability = Reliability(bins)
    for probability, label in cases:
        reliability.update(torch.tensor(probability), torch.tensor(label))
    return reliability


def sums_of(reliability: Reliability) -> dict[str, list[float]]:
    """Number of voxels, sum of their probabilities and number of positives, in each bin."""
    bins = reliability.bins()
    means = (bins.confidence, bins.frequency)
    confidence, positive = ([n * (value or 0.0) for n, value in zip(bins.count, values)] for values in means)
    return {"count": bins.count, "confidence": confidence, "positive": positive}


def in_bins(**bins: float) -> list[float]:
    return [bins.get(f"b{i}", 0.0) for i in range(BINS)]


def random_cases(seed: int = 0) -> list[tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(seed)
    shapes = ((2, 5, 7), (2, 9, 4), (2, 3, 4, 5))
    return [(rng.random(shape), (rng.random(shape) < 0.3).astype(float)) for shape in shapes]


def test_bins_by_hand() -> None:
    sums = sums_of(counted(([[[0.02, 0.04, 0.06], [0.51, 0.52, 0.97]]], [[[0, 1, 0], [1, 0, 1]]])))
    assert sums["count"] == in_bins(b0=2, b1=1, b10=2, b19=1)
    assert sums["positive"] == in_bins(b0=1, b10=1, b19=1)
    assert sums["confidence"] == pytest.approx(in_bins(b0=0.06, b1=0.06, b10=1.03, b19=0.97), abs=1e-6)


def test_means_of_two_bins_and_of_an_empty_one_by_hand() -> None:
    bins = counted(([0.1, 0.3, 0.9, 0.8], [0, 1, 1, 1]), bins=3).bins()
    assert bins.count == [2, 0, 2]
    assert bins.confidence == [pytest.approx(0.2), None, pytest.approx(0.85)]
    assert bins.frequency == [0.5, None, 1.0]


def test_ends_of_the_range_belong_to_the_first_and_the_last_bin() -> None:
    sums = sums_of(counted(([[0.0, 1.0, 1.0, 0.5]], [[0, 1, 0, 1]])))
    assert sums["count"] == in_bins(b0=1, b19=2, b10=1)
    assert sums["confidence"] == in_bins(b19=2, b10=0.5)
    assert sums["positive"] == in_bins(b19=1, b10=1)


def test_rounding_beyond_the_range_is_cut() -> None:
    sums = sums_of(counted(([[-1e-6, 1 + 1e-6]], [[0, 1]])))
    assert sums["count"] == in_bins(b0=1, b19=1)
    assert sums["confidence"] == in_bins(b19=1)


def test_sums_run_over_cases_of_any_shape() -> None:
    cases = random_cases()
    sums = sums_of(counted(*((p.tolist(), y.tolist()) for p, y in cases)))
    p, y = (np.concatenate([c[k].ravel() for c in cases]) for k in (0, 1))
    edges = np.linspace(0, 1, BINS + 1)
    for key, weights in {"count": None, "confidence": p, "positive": y}.items():
        np.testing.assert_allclose(sums[key], np.histogram(p, edges, weights=weights)[0], rtol=1e-5, err_msg=key)


def test_errors_are_those_of_all_voxels_as_one_image() -> None:
    cases = random_cases(1)
    reliability = Reliability(7)
    for probability, label in cases:
        reliability.update(torch.from_numpy(probability), MetaTensor(torch.from_numpy(label)))
    p, y = (np.concatenate([c[k].ravel() for c in cases]) for k in (0, 1))
    errors = reliability.errors()
    monai = CalibrationErrorMetric(7, calibration_reduction="expected")
    monai(torch.from_numpy(p)[None, None], torch.from_numpy(y)[None, None])
    assert errors["ece"] == pytest.approx(float(monai.aggregate()), abs=1e-6)
    assert errors["brier"] == pytest.approx(((p - y) ** 2).mean(), rel=1e-6)
    assert errors["nll"] == pytest.approx(-np.log(np.where(y == 1, p, 1 - p)).mean(), rel=1e-6)


def test_errors_of_four_voxels_by_hand() -> None:
    voxels = [0.1, 0.9, 0.4, 0.6], [0, 1, 1, 1]
    errors = counted(voxels, bins=2).errors()
    # Bins of equal width: |0.25 - 0.5| and |0.75 - 1|, half of the voxels each.
    assert errors["ece"] == pytest.approx(0.25)
    assert errors["brier"] == pytest.approx((0.01 + 0.01 + 0.36 + 0.16) / 4)
    assert errors["nll"] == pytest.approx(-(2 * math.log(0.9) + math.log(0.4) + math.log(0.6)) / 4)
    # A single bin: the mean probability 0.5 against the share 0.75. Four bins of one voxel each: the mean distance.
    assert counted(voxels, bins=1).errors()["ece"] == pytest.approx(0.25)
    assert counted(voxels, bins=4).errors()["ace"] == pytest.approx((0.1 + 0.6 + 0.4 + 0.1) / 4)


def test_bins_of_equal_mass_by_hand() -> None:
    # In two bins of equal width all but one voxel share the first; in two of equal mass, three voxels each.
    errors = counted(([0.1, 0.1, 0.2, 0.3, 0.3, 0.9], [1, 0, 0, 0, 0, 1]), bins=2).errors()
    assert errors["ace"] == pytest.approx((abs(0.4 - 1) + abs(1.5 - 1)) / 6)
    assert errors["ece"] == pytest.approx((abs(1.0 - 1) + abs(0.9 - 1)) / 6)


@pytest.mark.parametrize("bins", [1, 2, 3])
def test_voxels_of_one_probability_are_shared_out_between_bins(bins: int) -> None:
    """However the edges cut through them, each bin has their mean share: |0.25 - 0.5| in all of them."""
    for positive in ([1, 1, 0, 0], [0, 0, 1, 1], [0, 1, 0, 1]):
        assert counted(([0.25] * 4, positive), bins=bins).errors()["ace"] == pytest.approx(0.25)


def test_adaptive_error_against_sorting_where_bins_are_whole() -> None:
    rng = np.random.default_rng(0)
    p = rng.random(600)
    y = rng.random(600) < p**2
    parts = [(p[part].mean(), y[part].mean()) for part in np.split(np.argsort(p), BINS)]
    expected = np.mean([abs(confidence - share) for confidence, share in parts])
    # Voxels of one fine cell share its errors, which moves the value by less than the cell is wide.
    assert counted((p.tolist(), y.tolist())).errors()["ace"] == pytest.approx(expected, abs=2e-3)


def test_a_sure_mistake_costs_the_logarithm_of_a_million() -> None:
    assert counted(([0.0, 1.0], [1, 0])).errors()["nll"] == pytest.approx(math.log(1e6), rel=1e-6)
    assert counted(([0.0, 1.0], [0, 1])).errors()["nll"] == pytest.approx(1e-6, rel=1e-3)


def test_weights_stand_for_voxels() -> None:
    weighted, repeated = Reliability(4), Reliability(4)
    p, y, w = torch.tensor([0.1, 0.4, 0.8]), torch.tensor([0, 1, 1]), torch.tensor([3, 1, 2])
    weighted.update(p, y, w)
    repeated.update(p.repeat_interleave(w), y.repeat_interleave(w))
    assert weighted.errors() == pytest.approx(repeated.errors(), rel=1e-12)
    for name, values in sums_of(weighted).items():
        assert values == pytest.approx(sums_of(repeated)[name])


def test_parts_add_up() -> None:
    (first, second, third) = ((p.tolist(), y.tolist()) for p, y in random_cases(2))
    whole, part = counted(first, second, third), counted(first)
    part.add(counted(second, third))
    assert part.errors() == pytest.approx(whole.errors(), rel=1e-12)


def test_probabilities_that_come_true_have_no_error() -> None:
    """Bernoulli draws: what is left of both errors is the draws' own, about sqrt(p (1 - p) / n) in each bin."""
    rng = np.random.default_rng(4)
    p = torch.from_numpy(rng.beta(0.3, 0.6, 400_000))
    reliability = Reliability()
    reliability.update(p, torch.from_numpy(rng.random(len(p))) < p)
    assert reliability.errors()["ece"] < 2e-3
    assert reliability.errors()["ace"] < 2e-3
    wrong = Reliability()  # and probabilities that are all 0.1 too large are found to be so
    wrong.update((p + 0.1).clamp(max=1), torch.from_numpy(rng.random(len(p))) < p)
    expected = float(((p + 0.1).clamp(max=1) - p).mean())
    assert wrong.errors()["ece"] == pytest.approx(expected, abs=2e-3)
    assert wrong.errors()["ace"] == pytest.approx(expected, abs=2e-3)


def test_nothing_counted_is_refused() -> None:
    with pytest.raises(ValueError, match="No voxel"):
        Reliability().errors()
    with pytest.raises(ValueError, match="num_bins must be at least 1, got 0"):
        Reliability(0)
