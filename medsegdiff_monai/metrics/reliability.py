# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import nn

from medsegdiff_monai.utils import world_size

__all__ = ["EPSILON", "Reliability", "ReliabilityBins", "binary_log_loss"]

EPSILON = 1e-6  # distance from 0 and 1 that probabilities keep in a logarithm, as in `scale_temperature`
_CELLS = 4096
_CHUNK = 2**20  # voxels that are counted at a time: a volume's copies in double precision would be large
_LIMIT = math.log((1.0 - EPSILON) / EPSILON)


def binary_log_loss(probability: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    """Negative log-likelihood, in nats, of references in {0, 1} under probabilities, element by element.

    A probability nearer to 0 or 1 than 1e-6 is taken as that far from it: a sure mistake costs 13.8, not infinity.
    """
    p = probability.double().clamp(EPSILON, 1.0 - EPSILON)
    return -torch.log(torch.where(reference > 0.5, p, 1.0 - p))


@dataclass(frozen=True)
class ReliabilityBins:
    """Points of a reliability diagram (Niculescu-Mizil and Caruana, ICML 2005), in equal bins of the probability."""

    count: list[float]  # of voxels
    confidence: list[float | None]  # their mean probability; None where there are none
    frequency: list[float | None]  # share of them in the reference, likewise


class Reliability:
    """Frequency with which probabilities come true, over all voxels of all cases, counted while they pass.

    Calibration is a property of a data set: errors of single images that cancel one another are none of it. Nothing is
    kept but sums. Adaptive bins are cut from 4096 cells of equal width in the logit between -13.8 and 13.8.

    >>> reliability = Reliability(num_bins=2)
    >>> reliability.update(torch.tensor([0.1, 0.4, 0.6, 0.9]), torch.tensor([0, 1, 1, 1]))
    >>> {name: round(error, 4) for name, error in reliability.errors().items()}
    {'ece': 0.25, 'ace': 0.25, 'brier': 0.135, 'nll': 0.4095}
    >>> reliability.bins().frequency
    [0.5, 1.0]

    Args:
        num_bins: number of bins, both of equal width and of equal mass.

    Raises:
        ValueError: when there is no bin.
    """

    def __init__(self, num_bins: int = 15) -> None:
        if num_bins < 1:
            raise ValueError(f"num_bins must be at least 1, got {num_bins}.")
        self.num_bins = num_bins
        # Rows: number, sum of the probabilities, number of positives.
        bins, cells = (torch.zeros(3, size, dtype=torch.float64) for size in (num_bins, _CELLS))
        losses = torch.zeros(2, dtype=torch.float64)  # squared error, log loss
        self._sums = (bins, cells, losses)

    def update(self, probability: torch.Tensor, reference: torch.Tensor, weight: torch.Tensor | None = None) -> None:
        """Count voxels, given in arrays of one shape.

        Args:
            probability: probabilities; what rounding has left outside [0, 1] is cut.
            reference: 0 or 1.
            weight: number of voxels that each element stands for; one by default.
        """
        p, y = (torch.as_tensor(t).flatten() for t in (probability, reference))
        w = torch.ones_like(p) if weight is None else torch.as_tensor(weight).flatten()
        for part in zip(*(t.split(_CHUNK) for t in (p, y, w)), strict=True):
            self._count(*(t.double().cpu() for t in part))

    def _count(self, probability: torch.Tensor, y: torch.Tensor, w: torch.Tensor) -> None:
        p = probability.clamp(0.0, 1.0)
        scaled_logit = torch.logit(p, EPSILON) / (2.0 * _LIMIT) + 0.5
        bins, cells, losses = self._sums
        for sums, position in ((bins, p), (cells, scaled_logit)):
            size = sums.shape[1]
            index = (position * size).long().clamp(0, size - 1)
            for row, values in zip(sums, (w, w * p, w * y)):
                row += torch.bincount(index, weights=values, minlength=size)
        losses += torch.stack([(w * (p - y) ** 2).sum(), (w * binary_log_loss(p, y)).sum()])

    def add(self, other: Reliability) -> None:
        """Count what another one of as many bins has counted."""
        for own, its in zip(self._sums, other._sums):
            own += its

    def gather(self, device: torch.device) -> None:
        """Count what all processes have counted, which exchange tensors on a device."""
        if world_size() > 1:
            for sums in self._sums:
                shared = sums.to(device)
                dist.all_reduce(shared)
                sums.copy_(shared)

    def errors(self) -> dict[str, float]:
        """Calibration errors of all voxels that have been counted.

        Returns:
            ``ece``, the expected calibration error (Guo et al., ICML 2017, arXiv 1706.04599, Eq. 3) of the region's
            probability in bins of equal width; ``ace``, the same in bins of equal mass (Nguyen and O'Connor, EMNLP
            2015, arXiv 1508.05154; Nixon et al., CVPR Workshops 2019, arXiv 1904.01685); ``brier``, the mean squared
            error (Brier, 1950); ``nll``, the mean of :func:`binary_log_loss`.

        Raises:
            ValueError: when no voxel has been counted.
        """
        (count, confidence, positive), cells, losses = self._sums
        total = float(count.sum())
        if total == 0.0:
            raise ValueError("No voxel has been counted.")
        brier, nll = (losses / total).tolist()
        ece = float((confidence - positive).abs().sum()) / total
        return {"ece": ece, "ace": _equal_mass_error(cells, self.num_bins), "brier": brier, "nll": nll}

    def bins(self) -> ReliabilityBins:
        """The means in each bin of equal width."""
        count, *sums = self._sums[0].tolist()
        confidence, frequency = ([total / n if n else None for total, n in zip(row, count)] for row in sums)
        return ReliabilityBins(count, confidence, frequency)


def _equal_mass_error(cells: torch.Tensor, num_bins: int) -> float:
    """Error over bins of one number of elements; an edge within a cell parts its positives as it parts its elements."""
    count, confidence, positive = cells[:, cells[0] > 0]
    difference, total = (confidence - positive).cumsum(0), count.cumsum(0)
    total, difference = (nn.functional.pad(sums, (1, 0)) for sums in (total, difference))
    edges = total[-1] * torch.arange(num_bins + 1, dtype=torch.float64) / num_bins
    cell = torch.searchsorted(total, edges).clamp(1, len(total) - 1)
    share = (edges - total[cell - 1]) / (total[cell] - total[cell - 1])
    at_edges = torch.lerp(difference[cell - 1], difference[cell], share)
    return float(at_edges.diff().abs().sum() / total[-1])
