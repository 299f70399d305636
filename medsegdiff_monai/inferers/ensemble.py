# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from monai.utils import convert_to_dst_type
from scipy import ndimage

from medsegdiff_monai.networks.fusion import fuse_members, staple_of_patterns

__all__ = ["EnsembleScores", "EnsembleStatistics", "SegmentationPrediction", "binary_entropy"]

_BAND = 2
# Where a temperature above 1 has passed, no background is surer than about 1e-3. An image has so much background that
# the sum over it would say how large the image is, and drown what the object's edge says.
_LEAST_PROBABILITY = 0.01


def binary_entropy(probability: torch.Tensor) -> torch.Tensor:
    """Entropy in bits of a yes or no with the probability, of any shape: 0 is certain, 1 is not."""
    # Three times as fast as torch.special.entr on a CPU. Below the least normal number p log p is as good as 0.
    least = torch.finfo(probability.dtype).tiny
    rest = 1.0 - probability
    bits = probability.clamp(min=least).log2_().mul_(probability)
    return bits.addcmul_(rest.clamp(min=least).log2_(), rest).abs_()  # of a sum below 0, and no -0 for certainty


@dataclass(frozen=True)
class EnsembleScores:
    """Image-level scores of an ensemble.

    Attributes:
        boundary_entropy: see :meth:`EnsembleStatistics.boundary_entropy`, of shape ``(B, C)``.
        pairwise_dice: see :meth:`EnsembleStatistics.pairwise_dice`, of shape ``(B, C)``; None with a single member.
        predicted_dice: see :meth:`EnsembleStatistics.predicted_dice`, of shape ``(B, C)``.
        sensitivity: that of each member by STAPLE, of shape ``(B, N, C)``, NaN where no member has voted; None with a
            single member.
        specificity: likewise; NaN where all members have voted everywhere.
    """

    boundary_entropy: torch.Tensor
    pairwise_dice: torch.Tensor | None
    predicted_dice: torch.Tensor
    sensitivity: torch.Tensor | None
    specificity: torch.Tensor | None


class EnsembleStatistics:
    """Maps and scores of an ensemble, each calculated when it is asked for, channel by channel to save memory.

    Maps are returned without copying; do not modify them.

    Args:
        members: probabilities of shape ``(B, N, C, *spatial)`` in [0, 1].

    Example:
        >>> members = torch.tensor([1.0, 0.0, 0.5, 0.5]).reshape(1, 2, 1, 2).transpose(1, 3)
        >>> statistics = EnsembleStatistics(members)  # two members of two pixels: 1 and 0, and both 0.5
        >>> statistics.mutual_information.flatten().tolist(), statistics.expected_entropy.flatten().tolist()
        ([1.0, 0.0], [0.0, 1.0])
    """

    def __init__(self, members: torch.Tensor) -> None:
        self.members = members
        self._patterns: dict[tuple[int, int], tuple[torch.Tensor, torch.Tensor]] = {}

    @property
    def count(self) -> int:
        """Number of members."""
        return self.members.shape[1]

    @cached_property
    def mean(self) -> torch.Tensor:
        """Mean probability of shape ``(B, C, *spatial)``."""
        mean = torch.zeros_like(self.members[:, 0], dtype=torch.float32)
        for i, member in enumerate(self.members.unbind(1)):
            for out, p in zip(mean.unbind(1), member.unbind(1)):
                out.add_(p.float() - out, alpha=1.0 / (i + 1))
        return mean

    @cached_property
    def deviation(self) -> torch.Tensor | None:
        """Standard deviation over the members (divided by N, not N - 1), ``(B, C, *spatial)``; None with one member."""
        if self.count < 2:
            return None
        deviation = torch.zeros_like(self.mean)
        for c, out in enumerate(deviation.unbind(1)):
            mean = torch.zeros_like(out)
            for i, p in enumerate(self.members[:, :, c].float().unbind(1)):
                # Differences from the running mean (Welford 1962): sums of squares of numbers near 1 would lose the
                # small differences between members.
                shift = p - mean
                mean.add_(shift, alpha=1.0 / (i + 1))
                out.addcmul_(shift, p - mean)
            out.div_(self.count).sqrt_()
        return deviation

    @cached_property
    def entropy(self) -> torch.Tensor:
        """Entropy in bits of the mean probability, of shape ``(B, C, *spatial)``: the total uncertainty."""
        return torch.stack([binary_entropy(p) for p in self.mean.unbind(1)], dim=1)

    @cached_property
    def expected_entropy(self) -> torch.Tensor:
        """Mean entropy in bits of the members, ``(B, C, *spatial)``: the uncertainty of each by itself (aleatoric)."""
        expected = torch.zeros_like(self.mean)
        for i, member in enumerate(self.members.unbind(1)):
            for out, p in zip(expected.unbind(1), member.unbind(1)):
                out.add_(binary_entropy(p.float()).sub_(out), alpha=1.0 / (i + 1))
        return expected

    @cached_property
    def mutual_information(self) -> torch.Tensor | None:
        """Entropy of the mean beyond the members' own, in bits, ``(B, C, *spatial)`` (epistemic); None with one member.

        It is large where each member is decided and they decide differently (Depeweg et al., ICML 2018, arXiv
        1710.07283, Eq. 1 and what follows; Smith and Gal, UAI 2018, arXiv 1803.08533).
        """
        if self.count < 2:
            return None
        return (self.entropy - self.expected_entropy).clamp_(min=0.0)  # rounding may leave a little below 0

    def scores(self, probability: torch.Tensor) -> EnsembleScores:
        """Scores of each image as a whole.

        Args:
            probability: fused probability of shape ``(B, C, *spatial)``.
        """
        sensitivity, specificity = self._performance() if self.count > 1 else (None, None)
        return EnsembleScores(
            self.boundary_entropy(probability),
            self.pairwise_dice(),
            self.predicted_dice(probability),
            sensitivity,
            specificity,
        )

    def pairwise_dice(self) -> torch.Tensor | None:
        """Mean Dice over all pairs of the members' masks at 0.5, of shape ``(B, C)``; None with one member.

        Two empty masks agree. (Roy et al., MICCAI 2018, arXiv 1804.07046, use it to tell a segmentation's quality.)
        """
        if self.count < 2:
            return None
        first, second = torch.triu_indices(self.count, self.count, offset=1).unbind()
        values = torch.empty(self.mean.shape[:2], dtype=torch.float64)
        for b, c in self._cases_and_channels():
            patterns, counts = (t.double() for t in self.patterns(b, c))
            overlap = (patterns * counts) @ patterns.T
            sizes = overlap.diagonal()
            total = (sizes[:, None] + sizes)[first, second]
            values[b, c] = torch.where(total > 0, 2.0 * overlap[first, second] / total.clamp(min=1.0), 1.0).mean()
        return values

    def predicted_dice(self, probability: torch.Tensor) -> torch.Tensor:
        """Dice that the fused mask has with a mask drawn by the members' mean probability, of shape ``(B, C)``.

        With expectations in numerator and denominator: ``2 sum_{v in M} p_v / (|M| + sum_v p_v)``; 1 where both are
        empty. Probabilities below 1 % are taken as 0.

        Args:
            probability: fused probability ``(B, C, *spatial)``, whose mask M at 0.5 is meant.
        """
        values = torch.ones(probability.shape[:2], dtype=torch.float64)
        for b, c in self._cases_and_channels():
            p, mask = self.mean[b, c], probability[b, c] >= 0.5
            total = mask.sum() + (p * (p >= _LEAST_PROBABILITY)).sum(dtype=torch.float64)
            if float(total) > 0.0:
                values[b, c] = 2.0 * (p * mask).sum(dtype=torch.float64) / total
        return values

    def boundary_entropy(self, probability: torch.Tensor) -> torch.Tensor:
        """Mean entropy in bits of the members' mean within 2 elements of the fused mask's edge, of shape ``(B, C)``.

        Where the mask is empty or fills the image there is no edge: NaN.

        Args:
            probability: fused probability ``(B, C, *spatial)``, whose mask at 0.5 is meant.
        """
        values = torch.full(probability.shape[:2], math.nan, dtype=torch.float64)
        for b, c in self._cases_and_channels():
            mask = (probability[b, c] >= 0.5).cpu().numpy()
            cube = [2 * _BAND + 1] * mask.ndim
            band = ndimage.maximum_filter(mask, cube) & ~ndimage.minimum_filter(mask, cube)
            if band.any():
                values[b, c] = binary_entropy(self.mean[b, c].cpu()[torch.from_numpy(band)]).mean(dtype=torch.float64)
        return values

    def patterns(self, case: int, channel: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Combinations of the members' votes at 0.5 that occur, ``(N, P)``, and how often each does, ``(P,)``.

        With N members there are far fewer of them than voxels, and overlap and STAPLE ask for nothing else. The first
        is that of no vote at all, whose count may be 0.
        """
        if (case, channel) not in self._patterns:
            votes = (self.members[case, :, channel] >= 0.5).flatten(1).cpu()
            voted = votes[:, votes.any(0)]  # sorting is for the object, not for the image
            combinations, counts = _columns(voted)
            nobody = counts.new_tensor([votes.shape[1] - voted.shape[1]])
            patterns = torch.cat([torch.zeros_like(votes[:, :1]), combinations], dim=1)
            self._patterns[case, channel] = (patterns.to(torch.uint8), torch.cat([nobody, counts]))
        return self._patterns[case, channel]

    def _performance(self) -> tuple[torch.Tensor, torch.Tensor]:
        rates = torch.empty(2, self.members.shape[0], self.count, self.members.shape[2], dtype=torch.float64)
        for b, c in self._cases_and_channels():
            _, *of_channel = staple_of_patterns(*self.patterns(b, c))
            rates[:, b, :, c] = torch.stack(of_channel)
        return rates[0], rates[1]

    def _cases_and_channels(self) -> list[tuple[int, int]]:
        return [(b, c) for b in range(self.members.shape[0]) for c in range(self.members.shape[2])]


def _columns(votes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Columns that occur in votes ``(N, V)``, of shape ``(N, P)``, and how often each does, ``(P,)``.

    ``torch.unique`` of columns compares them element by element, which is far slower than numbers.
    """
    code = torch.zeros(votes.shape[1], dtype=torch.long)
    for i, vote in enumerate(votes.flip(0)):
        if i % 32 == 31:  # 32 bits more than a number below V stay within 64
            code = torch.unique(code, return_inverse=True)[1]
        code = code * 2 + vote
    values, place, counts = torch.unique(code, return_inverse=True, return_counts=True)
    some = torch.empty_like(values).scatter_(0, place, torch.arange(len(code)))
    return votes[:, some], counts


@dataclass(frozen=True)
class SegmentationPrediction:
    """Fused probability of an image and the members behind it. It unpacks into probability, uncertainty and members.

    Everything else is calculated from the members when it is asked for.

    Attributes:
        probability: fused probability of shape ``(B, C, *spatial)`` in [0, 1].
        statistics: maps and scores of the members.
    """

    probability: torch.Tensor
    statistics: EnsembleStatistics

    @classmethod
    def from_members(cls, members: torch.Tensor, fusion: str = "mean") -> SegmentationPrediction:
        """Fuse members of shape ``(B, N, C, *spatial)``, see :func:`~medsegdiff_monai.networks.fusion.fuse_members`."""
        statistics = EnsembleStatistics(members)
        return cls(statistics.mean if fusion == "mean" else fuse_members(members, fusion), statistics)

    def __iter__(self) -> Iterator[torch.Tensor]:
        return iter((self.probability, self.uncertainty, self.members))

    @property
    def members(self) -> torch.Tensor:
        """Probability of each member, of shape ``(B, N, C, *spatial)``."""
        return self.statistics.members

    @property
    def uncertainty(self) -> torch.Tensor:
        """Entropy of the mean probability, ``(B, C, *spatial)``, in bits: 0 is certain, 1 is not."""
        return self._like_probability(self.statistics.entropy)

    @property
    def deviation(self) -> torch.Tensor | None:
        """Standard deviation over the members, of shape ``(B, C, *spatial)``; None with a single member."""
        return self._like_probability(self.statistics.deviation)

    @property
    def mutual_information(self) -> torch.Tensor | None:
        """Uncertainty that is due to differences between members, in bits; None with a single member."""
        return self._like_probability(self.statistics.mutual_information)

    @property
    def expected_entropy(self) -> torch.Tensor:
        """Uncertainty that each member has by itself, on average, in bits."""
        return self._like_probability(self.statistics.expected_entropy)

    @cached_property
    def scores(self) -> EnsembleScores:
        """Scores of each image as a whole."""
        probability: Any = self.probability
        return self.statistics.scores(probability.as_tensor() if hasattr(probability, "as_tensor") else probability)

    def _like_probability(self, item: Any) -> Any:
        """A map with the metadata that the probability has."""
        return None if item is None else convert_to_dst_type(item, self.probability, dtype=item.dtype)[0]
