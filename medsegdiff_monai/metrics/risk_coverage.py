# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from monai.metrics import CumulativeIterationMetric
from numpy.typing import ArrayLike

__all__ = ["AreaUnderRiskCoverage", "RiskCoverage", "area_under_risk_coverage", "risk_coverage"]


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
        """What the area has beyond the optimal one: 0 where confidence ranks the cases as their risks do."""
        return self.area - self.optimal


def risk_coverage(confidence: ArrayLike, risk: ArrayLike) -> RiskCoverage:
    """Risk-coverage curve of cases (Geifman and El-Yaniv, NeurIPS 2017, arXiv 1705.08500).

    The area and the excess are those of Geifman, Uziel and El-Yaniv (ICLR 2019, arXiv 1805.08206). Among cases
    of one confidence the order is arbitrary; the curve is the mean over all orders.

    Args:
        confidence: how sure each case is, of any scale; larger is surer, of shape ``(cases,)``.
        risk: how wrong each is, such as 1 - Dice, of the same shape.

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


def area_under_risk_coverage(confidence: ArrayLike, risk: ArrayLike) -> float:
    """Area under the curve of :func:`risk_coverage`, whose arguments these are."""
    return risk_coverage(confidence, risk).area


class AreaUnderRiskCoverage(CumulativeIterationMetric):
    """Area under the risk-coverage curve over all cases of all processes, gathered batch by batch.

    It is called with the confidence and the risk of cases, each of shape ``(B,)``.
    """

    def _compute_tensor(self, y_pred: torch.Tensor, y: torch.Tensor | None = None, **kwargs: Any) -> torch.Tensor:
        """Confidence and risk of each case side by side, ``(B, 2)``."""
        if y is None or y.shape != y_pred.shape or y.ndim != 1:
            shapes = f"{tuple(y_pred.shape)} and {None if y is None else tuple(y.shape)}"
            raise ValueError(f"Confidence and risk must be one number a case, (B,), got {shapes}.")
        return torch.stack([y_pred.double(), y.double()], dim=1)

    def curve(self) -> RiskCoverage:
        """The curve of all cases.

        Raises:
            ValueError: when there is no case.
        """
        pairs = self.get_buffer()
        if pairs is None:
            raise ValueError("No case has been given.")
        return risk_coverage(*pairs.cpu().numpy().T)

    def aggregate(self) -> float:
        """The area; see :meth:`curve`."""
        return self.curve().area
