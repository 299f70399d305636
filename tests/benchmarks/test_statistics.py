# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from harness.statistics import bootstrap_interval, least_p_value, paired_p_value, time_to_reach
from scipy.stats import norm


@pytest.mark.parametrize("level", [0.95, 0.5])
def test_interval_of_a_large_sample_is_that_of_the_normal_distribution(level: float) -> None:
    values = np.random.default_rng(0).normal(0.8, 0.1, 400)
    error = values.std() / math.sqrt(len(values))
    half = norm.ppf(0.5 + level / 2) * error
    low, high = bootstrap_interval(values, level)
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.1 * error)


def test_interval_of_two_cases_by_hand() -> None:
    # The mean of two draws is 0, 1/2 or 1 with probabilities 1/4, 1/2 and 1/4.
    assert bootstrap_interval([0.0, 1.0], 0.95) == (0.0, 1.0)
    assert bootstrap_interval([0.0, 1.0], 0.40) == (0.5, 0.5)


@pytest.mark.parametrize("values", [[0.7], [0.7] * 5], ids=["one case", "equal cases"])
def test_interval_of_constant_values_is_exact(values: list[float]) -> None:
    assert bootstrap_interval(values) == pytest.approx((0.7, 0.7))


def test_interval_is_the_same_every_time_and_leaves_the_global_generator_alone() -> None:
    values = np.random.default_rng(1).random(20)
    np.random.seed(3)
    first = bootstrap_interval(values)
    after = np.random.random()
    np.random.seed(4)
    assert bootstrap_interval(values) == first
    np.random.seed(3)
    assert np.random.random() == after
    assert first[0] < values.mean() < first[1]


def by_all_signs(differences: list[int]) -> float:
    """The exact two-sided p-value of distinct differences 1, 2, ...: each sign is as likely as the other."""
    observed = sum(d for d in differences if d > 0)
    sizes = [abs(d) for d in differences]
    sums = [sum(s for s, up in zip(sizes, signs) if up) for signs in itertools.product((0, 1), repeat=len(sizes))]
    tails = [sum(s <= observed for s in sums), sum(s >= observed for s in sums)]
    return min(1.0, 2 * min(tails) / len(sums))


@pytest.mark.parametrize(
    ("differences", "expected"),
    [([1, 2, 3, 4, 5, 6], 2 / 2**6), ([-1, 2, 3, 4, 5, 6], 4 / 2**6), ([1, 2, -3, -4, 5, 6, 7], None)],
    ids=["all positive", "smallest negative", "mixed"],
)
def test_wilcoxon_by_hand(differences: list[int], expected: float | None) -> None:
    exact = by_all_signs(differences)
    assert expected is None or expected == exact
    theirs = np.linspace(0.3, 0.5, len(differences))
    ours = theirs + 0.01 * np.array(differences)
    assert paired_p_value(ours, theirs) == pytest.approx(exact)
    assert paired_p_value(theirs, ours) == pytest.approx(exact)


@pytest.mark.parametrize("pairs", [1, 2, 5, 8])
def test_least_p_value_is_that_of_differences_of_one_sign(pairs: int) -> None:
    assert least_p_value(pairs) == by_all_signs(list(range(1, pairs + 1)))
    theirs = np.linspace(0.1, 0.5, pairs)
    assert least_p_value(pairs) == pytest.approx(paired_p_value(theirs + 0.01 * np.arange(1, pairs + 1), theirs))


def test_wilcoxon_is_paired() -> None:
    theirs = np.linspace(0.1, 0.9, 8)
    ours = theirs + 0.001 * np.arange(1, 9)
    assert paired_p_value(ours, theirs) == pytest.approx(2 / 2**8)
    assert paired_p_value(ours[::-1], theirs) > 0.3


def test_equal_cases_have_a_p_value_of_1() -> None:
    assert paired_p_value([0.5, 0.25, 0.75], [0.5, 0.25, 0.75]) == 1.0


TIMES = [10.0, 20.0, 30.0]


@pytest.mark.parametrize(
    ("values", "target", "expected"),
    [
        pytest.param([0.2, 0.6, 0.8], 0.5, 17.5, id="between"),
        pytest.param([0.2, 0.6, 0.8], 0.6, 20.0, id="at a point"),
        pytest.param([0.2, 0.6, 0.8], 0.2, 10.0, id="at the first"),
        pytest.param([0.2, 0.6, 0.8], 0.05, 2.5, id="before the first"),
        pytest.param([0.2, 0.6, 0.8], 0.81, math.inf, id="never"),
        pytest.param([0.6, 0.4, 0.3], 0.6, 10.0, id="falling"),
        pytest.param([0.6, 0.4, 0.3], 0.65, math.inf, id="falling, never"),
        pytest.param([0.6, 0.4, 0.8], 0.7, 27.5, id="fallen before"),
        pytest.param([0.4, 0.4, 0.4], 0.4, 10.0, id="flat"),
        pytest.param([0.0, 0.0, 0.4], 0.0, 10.0, id="zero"),
        pytest.param([0.2, 0.6, 0.8], math.nan, math.inf, id="no target"),
    ],
)
def test_time_to_reach_by_hand(values: list[float], target: float, expected: float) -> None:
    assert time_to_reach(TIMES, values, target) == pytest.approx(expected)


def test_time_to_reach_needs_a_value_for_each_time() -> None:
    assert time_to_reach([], [], 0.5) == math.inf
    with pytest.raises(ValueError, match="zip"):
        time_to_reach(TIMES, [0.1, 0.2], 0.5)
