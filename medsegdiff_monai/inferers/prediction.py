# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from monai.data import MetaTensor
from monai.utils import convert_to_dst_type

from medsegdiff_monai.inferers.ensemble import EnsembleStatistics
from medsegdiff_monai.networks.fusion import staple_of_patterns, staple_performance

__all__ = ["CaseScores", "EnsembleScores", "SegmentationPrediction", "fuse_statistics"]


@dataclass(frozen=True)
class CaseScores:
    """Image-level scores of one case: what :class:`EnsembleScores` has of it, as numbers.

    Attributes:
        boundary_entropy: of each channel, in bits; NaN where its mask has no edge.
        pairwise_dice: of each channel; None with a single member.
        predicted_dice: of each channel.
        sensitivity: of each member, one for each channel; None with a single member.
        specificity: likewise.
    """

    boundary_entropy: list[float]
    pairwise_dice: list[float] | None
    predicted_dice: list[float]
    sensitivity: list[list[float]] | None
    specificity: list[list[float]] | None


@dataclass(frozen=True)
class EnsembleScores:
    """Image-level scores of an ensemble.

    Attributes:
        boundary_entropy: mean entropy in bits within 2 elements of the fused mask's edge, of shape ``(B, C)``; NaN
            where the mask has no edge.
        pairwise_dice: mean Dice over all pairs of members, of shape ``(B, C)``; None with a single member.
        predicted_dice: Dice that the fused mask is expected to have, of shape ``(B, C)``, see
            :meth:`EnsembleStatistics.predicted_dice`.
        sensitivity: that of each member by STAPLE, of shape ``(B, N, C)``, NaN where no member has voted; None with a
            single member.
        specificity: likewise; NaN where all members have voted everywhere.
    """

    boundary_entropy: torch.Tensor
    pairwise_dice: torch.Tensor | None
    predicted_dice: torch.Tensor
    sensitivity: torch.Tensor | None
    specificity: torch.Tensor | None

    @classmethod
    def of(cls, statistics: EnsembleStatistics, probability: torch.Tensor) -> EnsembleScores:
        """The scores of an ensemble.

        Args:
            statistics: those of its members.
            probability: fused probability of shape ``(B, C, *spatial)``.
        """
        several = statistics.count > 1
        performance = _performance(statistics, probability.shape[0], probability.shape[1]) if several else (None, None)
        return cls(
            statistics.boundary_entropy(probability),
            statistics.pairwise_dice(),
            statistics.predicted_dice(probability),
            *performance,
        )

    def of_case(self, case: int) -> CaseScores:
        """The scores of one case of the batch."""
        pairs, sensitivity, specificity = (
            None if t is None else t[case].tolist() for t in (self.pairwise_dice, self.sensitivity, self.specificity)
        )
        of_channels = (self.boundary_entropy[case].tolist(), pairs, self.predicted_dice[case].tolist())
        return CaseScores(*of_channels, sensitivity, specificity)


def _performance(statistics: EnsembleStatistics, cases: int, channels: int) -> tuple[torch.Tensor, torch.Tensor]:
    found = torch.empty(2, cases, statistics.count, channels, dtype=torch.float64)
    for b in range(cases):
        for c in range(channels):
            patterns, counts = statistics.patterns(b, c)
            _, *rates = staple_of_patterns(patterns.cpu(), counts.cpu())
            found[:, b, :, c] = torch.stack(rates)
    return found[0], found[1]


def fuse_statistics(statistics: EnsembleStatistics, fusion: str) -> torch.Tensor:
    """:func:`~medsegdiff_monai.networks.fusion.fuse_members` of members that have passed.

    Args:
        statistics: those of the members.
        fusion: ``"mean"``, ``"majority"`` or ``"staple"``.

    Returns:
        Fused probability of shape ``(B, C, *spatial)``.
    """
    if fusion == "mean":
        return statistics.mean
    fused = torch.empty_like(statistics.mean)
    for b in range(fused.shape[0]):
        for c in range(fused.shape[1]):
            votes = statistics.votes(b, c)
            truth = staple_performance(votes)[0] if fusion == "staple" else votes.float().mean(0)
            fused[b, c] = truth.to(fused.dtype).reshape(fused.shape[2:])
    return fused


@dataclass(frozen=True)
class SegmentationPrediction:
    """What an ensemble of samples says about an image. It unpacks into probability, uncertainty and members.

    Everything else is calculated when it is asked for.

    Attributes:
        probability: fused probability of shape ``(B, C, *spatial)`` in [0, 1].
        uncertainty: entropy of the mean probability, of shape ``(B, C, *spatial)``, in bits: 0 is certain, 1 is not.
        members: probability of each member, of shape ``(B, N, C, *spatial)``; None where they were not kept.
        gathered: what was gathered of the members as they were drawn.
    """

    probability: torch.Tensor
    uncertainty: torch.Tensor
    members: torch.Tensor | None
    gathered: EnsembleStatistics | None = None

    def __iter__(self) -> Iterator[torch.Tensor | None]:
        return iter((self.probability, self.uncertainty, self.members))

    @cached_property
    def statistics(self) -> EnsembleStatistics:
        """What the members say together.

        Raises:
            ValueError: when there are neither members nor what was gathered of them.
        """
        if self.gathered is not None:
            return self.gathered
        if self.members is None:
            raise ValueError("A prediction needs its members or what was gathered of them.")
        return EnsembleStatistics.of(self.members)

    @property
    def deviation(self) -> torch.Tensor | None:
        """Standard deviation over the members, of shape ``(B, C, *spatial)``; None with a single member."""
        return self._like(self.statistics.deviation)

    @property
    def mutual_information(self) -> torch.Tensor | None:
        """Share of the uncertainty that is due to differences between members, in bits; None with a single member."""
        return self._like(self.statistics.mutual_information)

    @property
    def expected_entropy(self) -> torch.Tensor:
        """Share of the uncertainty that each member has by itself, on average, in bits."""
        return self._like(self.statistics.expected_entropy)

    @cached_property
    def scores(self) -> EnsembleScores:
        """Scores of each image as a whole."""
        probability: Any = self.probability
        return EnsembleScores.of(
            self.statistics, probability.as_tensor() if isinstance(probability, MetaTensor) else probability
        )

    def _like(self, item: Any) -> Any:
        """A map with the metadata that the probability has."""
        return None if item is None else convert_to_dst_type(item, self.probability, dtype=item.dtype)[0]
