# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from scipy.optimize import minimize_scalar
from torch import nn

from .reliability import EPSILON, Reliability

__all__ = ["TEMPERATURE_BOUNDS", "MemberLogits", "TemperatureFit", "fit_temperature"]

TEMPERATURE_BOUNDS = (0.1, 10.0)
_SURE = 1e-4
_LEAST, _MOST = (math.log((1.0 - p) / p) for p in (_SURE, EPSILON))  # |logit| of sure voxels
_CELLS = 128


@dataclass(frozen=True)
class TemperatureFit:
    """A fitted temperature; at a bound of the search, the best one may lie beyond."""

    temperature: float
    at_bound: bool


class MemberLogits:
    """Members of an ensemble with their references, kept as far as a temperature is fitted to them and judged.

    Logits are kept of voxels of which some member is wrong or not sure (nearer than 1e-4 to 0 or 1). Of the others,
    which are nearly all, they are counted in cells of 0.04: each member's value stands for 1/N voxel, as if the mean
    over members were taken of the loss and not within it; the losses differ by under 1e-4 at a temperature of 2.
    """

    def __init__(self) -> None:
        self._kept: list[tuple[torch.Tensor, torch.Tensor]] = []
        # For references of 0 and of 1: number of sure voxels in each cell, and the sum of their |logit|.
        self._sure = torch.zeros(2, 2, _CELLS, dtype=torch.float64)

    def update(self, members: torch.Tensor, reference: torch.Tensor) -> None:
        """Take in members ``(B, N, C, *spatial)``, at temperature 1, and references of 0 or 1, ``(B, C, *spatial)``."""
        count = members.shape[1]
        p = members.movedim(1, 0).flatten(1).float().cpu()
        y = reference.flatten().cpu() > 0.5
        logits = torch.logit(p, EPSILON)  # as `scale_temperature` limits them
        wrong = torch.where(y, 1.0 - p, p)
        kept = (wrong > _SURE).any(0)
        self._kept.append((logits[:, kept], y[kept]))
        for value, sums in zip((False, True), self._sure):
            sure = logits[:, ~kept & (y == value)].abs().double().flatten()
            cell = ((sure - _LEAST) / (_MOST - _LEAST) * _CELLS).long().clamp(0, _CELLS - 1)
            sums[0] += torch.bincount(cell, minlength=_CELLS) / count
            sums[1] += torch.bincount(cell, weights=sure, minlength=_CELLS) / count

    @property
    def voxels(self) -> float:
        """Number of voxels of all channels."""
        return sum(len(y) for _, y in self._kept) + float(self._sure[:, 0].sum())

    def _sure_logits(self) -> Iterator[tuple[int, torch.Tensor, torch.Tensor]]:
        """Reference, mean logit and number of sure voxels, cell by cell."""
        for value, sums in enumerate(self._sure):
            number, total = sums[:, sums[0] > 0]
            yield value, (total if value else -total) / number, number

    def loss(self, temperature: float) -> float:
        """Mean negative log-likelihood, in nats, of the members' mean at a temperature; no probability is cut."""
        total = 0.0
        for logits, y in self._kept:
            right = torch.where(y, logits, -logits) / temperature
            share = nn.functional.logsigmoid(right).logsumexp(0) - math.log(len(logits))
            total -= float(share.sum(dtype=torch.float64))
        for value, logit, number in self._sure_logits():
            right = (logit if value else -logit) / temperature
            total -= float((number * nn.functional.logsigmoid(right)).sum())
        return total / self.voxels

    def reliability(self, temperature: float, num_bins: int = 15) -> Reliability:
        """Calibration of the members' mean probability at a temperature."""
        counted = Reliability(num_bins)
        for logits, y in self._kept:
            counted.update(torch.sigmoid(logits / temperature).mean(0), y)
        for value, logit, number in self._sure_logits():
            counted.update(torch.sigmoid(logit / temperature), torch.full_like(logit, value), number)
        return counted


def fit_temperature(members: MemberLogits, bounds: tuple[float, float] = TEMPERATURE_BOUNDS) -> TemperatureFit:
    """Temperature at which the members' mean probability has the least negative log-likelihood.

    Each member's logits are divided by it before the mean is taken, as
    :func:`medsegdiff_monai.networks.fusion.scale_temperature` does in the inferer (Guo et al., ICML 2017, arXiv
    1706.04599, Sec. 4.2, for a single network; for the order of both steps in an ensemble see Rahaman and Thiery,
    NeurIPS 2021, arXiv 2007.08792). The search, within the bounds, is over the logarithm of the temperature.

    Raises:
        ValueError: when there is no voxel.
    """
    if members.voxels == 0:
        raise ValueError("There is no voxel to fit a temperature to.")
    low, high = (math.log(b) for b in bounds)
    best = minimize_scalar(
        lambda log: members.loss(math.exp(log)), bounds=(low, high), method="bounded", options={"xatol": 1e-4}
    ).x
    return TemperatureFit(math.exp(best), bool(min(best - low, high - best) < 1e-2))
