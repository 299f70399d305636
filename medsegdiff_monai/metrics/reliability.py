# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.distributed as dist

from medsegdiff_monai.utils import world_size

__all__ = ["EPSILON", "Reliability", "ReliabilityBins", "binary_log_loss", "binned_error", "equal_mass_error"]

EPSILON = (
    1e-6  # probabilities are kept as far from 0 and 1 where a logarithm is taken of them, as in `scale_temperature`
)
_CELLS = 4096
_CHUNK = 2**20  # voxels that are counted at a time: a volume's copies in double precision would be large
_LIMIT = math.log((1.0 - EPSILON) / EPSILON)


def binary_log_loss(probability: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    """Negative log-likelihood, in nats, of references in {0, 1} under probabilities, element by element.

    A probability nearer to 0 or 1 than 1e-6 is taken as that far from it: a sure mistake costs 13.8, not infinity.
    """
    p = probability.double().clamp(EPSILON, 1.0 - EPSILON)
    return -torch.log(torch.where(reference > 0.5, p, 1.0 - p))


def binned_error(count: torch.Tensor, confidence: torch.Tensor, positive: torch.Tensor) -> float:
    """Difference of mean probability and share of positives in each bin, weighted by the bins' elements.

    Args:
        count: number of elements in each bin, of shape ``(bins,)``.
        confidence: sum of their probabilities.
        positive: number of them that are in the reference.
    """
    return float((confidence - positive).abs().sum() / count.sum())


def equal_mass_error(count: torch.Tensor, confidence: torch.Tensor, positive: torch.Tensor, num_bins: int) -> float:
    """:func:`binned_error` over bins that all hold the same number of elements.

    Elements of one probability cannot be told apart; where the edge of a bin falls among them, each side gets its share
    of them with the positives spread evenly, so the value does not depend on how a sorting breaks ties.

    Args:
        count: number of elements with each probability that occurs, in ascending order of it, of shape ``(cells,)``.
        confidence: sum of their probabilities.
        positive: number of them that are in the reference.
        num_bins: number of bins.
    """
    filled = count > 0
    difference = (confidence - positive)[filled].double().cumsum(0)
    total = count[filled].double().cumsum(0)
    zero = total.new_zeros(1)
    total, difference = torch.cat([zero, total]), torch.cat([zero, difference])
    edges = total[-1] * torch.arange(num_bins + 1, dtype=torch.float64, device=total.device) / num_bins
    cell = torch.searchsorted(total, edges).clamp(1, len(total) - 1)
    share = (edges - total[cell - 1]) / (total[cell] - total[cell - 1])
    at_edges = torch.lerp(difference[cell - 1], difference[cell], share)
    return float(at_edges.diff().abs().sum() / total[-1])


@dataclass(frozen=True)
class ReliabilityBins:
    """What a reliability diagram shows (Niculescu-Mizil and Caruana, ICML 2005).

    Attributes:
        count: number of voxels in each of equal bins of the probability from 0 to 1.
        confidence: their mean probability; None where there are none.
        frequency: share of them in the reference; None where there are none.
    """

    count: list[float]
    confidence: list[float | None]
    frequency: list[float | None]


class Reliability:
    """How often probabilities come true, over all voxels of all cases, counted while they pass.

    Calibration is a property of a data set: errors of single images that cancel one another are none of it. Nothing is
    kept but sums. Adaptive bins are cut from 4096 cells of equal width in the logit between -13.8 and 13.8.

    Args:
        num_bins: number of bins, both of equal width and of equal mass.

    Attributes:
        count: number of voxels in each bin of equal width, of shape ``(num_bins,)``.
        confidence: sum of their probabilities.
        positive: number of them that are in the reference.

    Raises:
        ValueError: when there is no bin.
    """

    def __init__(self, num_bins: int = 15) -> None:
        if num_bins < 1:
            raise ValueError(f"num_bins must be at least 1, got {num_bins}.")
        self.num_bins = num_bins
        # Rows: number, sum of the probabilities, number of positives.
        self._bins = torch.zeros(3, num_bins, dtype=torch.float64)
        self._cells = torch.zeros(3, _CELLS, dtype=torch.float64)
        self._losses = torch.zeros(2, dtype=torch.float64)  # squared error, log loss

    def update(self, probability: torch.Tensor, reference: torch.Tensor, weight: torch.Tensor | None = None) -> None:
        """Count voxels.

        Args:
            probability: of any shape; what rounding has left outside [0, 1] is cut.
            reference: 0 or 1, of the same shape.
            weight: how many voxels each element stands for, of the same shape; one each by default.
        """
        p, y = (torch.as_tensor(t).flatten() for t in (probability, reference))
        w = torch.ones_like(p) if weight is None else torch.as_tensor(weight).flatten()
        for part in zip(*(t.split(_CHUNK) for t in (p, y, w)), strict=True):
            self._count(*(t.double().cpu() for t in part))

    def _count(self, probability: torch.Tensor, y: torch.Tensor, w: torch.Tensor) -> None:
        p = probability.clamp(0.0, 1.0)
        place = torch.logit(p, EPSILON) / (2.0 * _LIMIT) + 0.5
        for sums, position in ((self._bins, p), (self._cells, place)):
            size = sums.shape[1]
            index = (position * size).long().clamp(0, size - 1)
            for row, values in zip(sums, (w, w * p, w * y)):
                row += torch.bincount(index, weights=values, minlength=size)
        self._losses += torch.stack([(w * (p - y) ** 2).sum(), (w * binary_log_loss(p, y)).sum()])

    def add(self, other: Reliability) -> None:
        """Count what another one of as many bins has counted."""
        for own, its in zip(self._sums, other._sums):
            own += its

    def gather(self, device: torch.device) -> None:
        """Count what all processes have counted.

        Args:
            device: where processes exchange tensors.
        """
        if world_size() == 1:
            return
        for sums in self._sums:
            shared = sums.to(device)
            dist.all_reduce(shared)
            sums.copy_(shared)

    @property
    def _sums(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        return self._bins, self._cells, self._losses

    @property
    def count(self) -> torch.Tensor:
        return self._bins[0]

    @property
    def confidence(self) -> torch.Tensor:
        return self._bins[1]

    @property
    def positive(self) -> torch.Tensor:
        return self._bins[2]

    def errors(self) -> dict[str, float]:
        """Expected (``ece``) and adaptive (``ace``) calibration error, Brier score (``brier``) and log loss (``nll``).

        They are those of :class:`ExpectedCalibrationError`, :class:`AdaptiveCalibrationError`, :class:`BrierScore` and
        :class:`NegativeLogLikelihood` with all voxels taken for those of one image.

        Raises:
            ValueError: when no voxel has been counted.
        """
        total = float(self.count.sum())
        if total == 0.0:
            raise ValueError("No voxel has been counted.")
        brier, nll = (self._losses / total).tolist()
        ece = binned_error(self.count, self.confidence, self.positive)
        count, confidence, positive = self._cells
        ace = equal_mass_error(count, confidence, positive, self.num_bins)
        return {"ece": ece, "ace": ace, "brier": brier, "nll": nll}

    def bins(self) -> ReliabilityBins:
        """The means in each bin of equal width."""
        means = [[v / n if n else None for v, n in zip(row.tolist(), self.count.tolist())] for row in self._bins[1:]]
        return ReliabilityBins(self.count.tolist(), *means)

    def as_dict(self) -> dict[str, list[float]]:
        """The sums in each bin of equal width as plain numbers."""
        return {name: getattr(self, name).tolist() for name in ("count", "confidence", "positive")}
