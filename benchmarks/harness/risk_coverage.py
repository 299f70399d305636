# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

__all__ = ["RiskCoverage", "risk_coverage"]


@dataclass(frozen=True, eq=False)
class RiskCoverage:
    """Risk among the cases that are kept when the least confident ones are set aside.

    Attributes:
        coverage: share of the cases that are kept, from one case to all, of shape ``(cases,)``.
        risk: mean risk of those kept.
        area: area under the curve: the mean of ``risk``.
        optimal: the area that a confidence in the order of the risks would have.
    """

    coverage: np.ndarray
    risk: np.ndarray
    area: float
    optimal: float

    @property
    def excess(self) -> float:
        """Area beyond the optimal one: 0 where confidence ranks the cases as their risks do."""
        return self.area - self.optimal


def risk_coverage(confidence: ArrayLike, risk: ArrayLike) -> RiskCoverage:
    """Risk-coverage curve of cases (Geifman and El-Yaniv, NeurIPS 2017, arXiv 1705.08500).

    The area and the excess are those of Geifman, Uziel and El-Yaniv (ICLR 2019, arXiv 1805.08206). Among cases
    of one confidence the order is arbitrary; the curve is the mean over all orders.

    Args:
        confidence: of any scale, larger is surer, of shape ``(cases,)``.
        risk: error of each case, such as 1 - Dice, of the same shape.

    Raises:
        ValueError: when there is no case, the shapes differ or a value is not finite.
    """
    c, r = (np.asarray(values, dtype=float) for values in (confidence, risk))
    if c.ndim != 1 or c.shape != r.shape or len(c) == 0:
        raise ValueError(f"Confidence and risk must be one number a case, got shapes {c.shape} and {r.shape}.")
    if not (np.isfinite(c).all() and np.isfinite(r).all()):
        raise ValueError("Confidence and risk must be finite: leave out cases without a value.")
    kept = np.arange(1, len(c) + 1)
    _, group, size = np.unique(-c, return_inverse=True, return_counts=True)
    expected = (np.bincount(group, r) / size)[np.sort(group)]  # the mean of those tied, at each place in the order
    curve = expected.cumsum() / kept
    optimal = float((np.sort(r).cumsum() / kept).mean())
    return RiskCoverage(kept / len(c), curve, float(curve.mean()), optimal)
