# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from monai.utils import convert_to_dst_type

from medsegdiff_monai.inferers.ensemble import EnsembleScores, EnsembleStatistics
from medsegdiff_monai.networks.fusion import fuse_members

__all__ = ["SegmentationPrediction"]


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
