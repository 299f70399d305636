# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0


"""Intervals and tests over cases."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import stats

__all__ = ["bootstrap_interval", "least_p_value", "paired_p_value", "time_to_reach"]


def bootstrap_interval(values: Sequence[float], level: float = 0.95, resamples: int = 10_000) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean over cases.

    Args:
        values: one value for each case.
        level: coverage of the interval.
        resamples: number of resamples of the cases, drawn with a fixed seed.
    """
    data = np.asarray(values, dtype=float)
    if len(data) < 2 or np.ptp(data) == 0:
        return float(data.mean()), float(data.mean())
    result = stats.bootstrap(
        (data,), np.mean, confidence_level=level, n_resamples=resamples, method="percentile", rng=0
    )
    return float(result.confidence_interval.low), float(result.confidence_interval.high)


def paired_p_value(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Two-sided Wilcoxon signed-rank test of the same cases under two methods; 1 where all are equal."""
    difference = np.asarray(ours, dtype=float) - np.asarray(theirs, dtype=float)
    return 1.0 if not difference.any() else float(stats.wilcoxon(difference).pvalue)


def least_p_value(pairs: int) -> float:
    """The least p-value that :func:`paired_p_value` can have: all differences of so many pairs have one sign."""
    return min(1.0, 2.0 / 2.0**pairs)


def time_to_reach(times: Sequence[float], values: Sequence[float], target: float) -> float:
    """The time at which a curve of validations first reaches a target, between two of them by a straight line.

    Returns:
        The time, infinite where the target is never reached.
    """
    previous_time, previous = 0.0, 0.0
    for time, value in zip(times, values, strict=True):
        if value >= target:
            rise = value - previous
            share = 1.0 if rise <= 0 else max(0.0, (target - previous) / rise)
            return previous_time + share * (time - previous_time)
        previous_time, previous = time, value
    return float("inf")
