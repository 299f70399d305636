# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

"""Calibration of each image by itself; :class:`Reliability` is what a data set is judged by."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
from monai.data import MetaTensor
from monai.utils import MetricReduction

from .region_metric import RegionMetric
from .reliability import binary_log_loss, binned_error, equal_mass_error

__all__ = ["AdaptiveCalibrationError", "BrierScore", "ExpectedCalibrationError", "NegativeLogLikelihood"]

_ROUNDING = 1e-4  # interpolation leaves so much outside [0, 1]


def _probability_and_reference(y_pred: torch.Tensor, y: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
    """Probability and binary reference as float64 of shape ``(B, C, V)``.

    Raises:
        ValueError: when there is no reference, the shapes differ, a probability is outside [0, 1] or a reference is
            neither 0 nor 1.
    """
    if y is None or y.shape != y_pred.shape or y.ndim < 3:
        shapes = f"{tuple(y_pred.shape)} and {None if y is None else tuple(y.shape)}"
        raise ValueError(f"Probability and reference must be of one shape (B, C, *spatial), got {shapes}.")
    p, reference = ((t.as_tensor() if isinstance(t, MetaTensor) else t).flatten(2).double() for t in (y_pred, y))
    if not bool(((p >= -_ROUNDING) & (p <= 1.0 + _ROUNDING)).all()):
        raise ValueError("Probabilities must be in [0, 1], got other values: logits need a sigmoid first.")
    if not bool(((reference == 0) | (reference == 1)).all()):
        raise ValueError("The reference must be a binary mask, got values other than 0 and 1.")
    return p.clamp(0.0, 1.0), reference


class _CalibrationMetric(RegionMetric):
    """A metric of probabilities; a subclass defines what it is of one channel of one case."""

    def _compute_tensor(self, y_pred: torch.Tensor, y: torch.Tensor | None = None, **kwargs: Any) -> torch.Tensor:
        """Values ``(B, C)`` of probabilities and binary references, both of shape ``(B, C, *spatial)``.

        Raises:
            ValueError: when the shapes differ, or values are not probabilities or not binary.
        """
        p, reference = _probability_and_reference(y_pred, y)
        values = [
            [self._of_channel(*pair) for pair in zip(*case, strict=True)] for case in zip(p, reference, strict=True)
        ]
        return torch.tensor(values, dtype=torch.float32, device=y_pred.device)

    @abstractmethod
    def _of_channel(self, p: torch.Tensor, reference: torch.Tensor) -> float:
        """The value of probabilities and references, each of shape ``(V,)``."""


class _BinnedError(_CalibrationMetric):
    def __init__(self, num_bins: int = 15, reduction: MetricReduction | str = MetricReduction.MEAN) -> None:
        super().__init__(reduction)
        if num_bins < 1:
            raise ValueError(f"num_bins must be at least 1, got {num_bins}.")
        self.num_bins = num_bins


class ExpectedCalibrationError(_BinnedError):
    """Expected calibration error of each region of each case (Guo et al., ICML 2017, arXiv 1706.04599, Eq. 3).

    Voxels are binned by the probability of the region, not by that of the likelier of two classes: in each bin of equal
    width the mean probability is compared with the share of voxels in the reference.

    Args:
        num_bins: number of bins.
        reduction: see :class:`RegionMetric`.

    Raises:
        ValueError: when there is no bin.
    """

    def _of_channel(self, p: torch.Tensor, reference: torch.Tensor) -> float:
        index = (p * self.num_bins).long().clamp(max=self.num_bins - 1)
        sums = [torch.bincount(index, weights, self.num_bins) for weights in (torch.ones_like(p), p, reference)]
        return binned_error(*sums)


class AdaptiveCalibrationError(_BinnedError):
    """Calibration error over bins of equal mass, of each region of each case.

    Bins hold the same number of voxels each (Nguyen and O'Connor, EMNLP 2015, arXiv 1508.05154; Nixon et al.,
    CVPR Workshops 2019, arXiv 1904.01685), see :func:`equal_mass_error` for voxels of one probability.

    Args:
        num_bins: number of bins.
        reduction: see :class:`RegionMetric`.

    Raises:
        ValueError: when there is no bin.
    """

    def _of_channel(self, p: torch.Tensor, reference: torch.Tensor) -> float:
        values, cell, count = torch.unique(p, return_inverse=True, return_counts=True)
        positive = torch.bincount(cell, reference, len(values))
        return equal_mass_error(count, values * count, positive, self.num_bins)


class BrierScore(_CalibrationMetric):
    """Mean squared difference of probability and reference (Brier, 1950), of each region of each case.

    See :class:`RegionMetric` for the arguments.
    """

    def _of_channel(self, p: torch.Tensor, reference: torch.Tensor) -> float:
        return float(((p - reference) ** 2).mean())


class NegativeLogLikelihood(_CalibrationMetric):
    """Mean negative log-likelihood of the reference in nats, of each region of each case; see :class:`RegionMetric`.

    A probability nearer to 0 or 1 than 1e-6 is taken as that far from it, see :func:`binary_log_loss`.
    """

    def _of_channel(self, p: torch.Tensor, reference: torch.Tensor) -> float:
        return float(binary_log_loss(p, reference).mean())
