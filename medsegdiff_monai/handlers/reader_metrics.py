# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from monai.handlers import IgniteMetricHandler

from .region_metrics import RegionMetricHandler, of_cases

__all__ = ["ReaderMetricHandler"]


class ReaderMetricHandler(RegionMetricHandler):
    """Score predictions or members against the masks of several readers, in an evaluation by MONAI's engines.

    Columns and details are those of :class:`RegionMetricHandler`.

    Args:
        metric: the metric, called with the masks of R readers ``(B, R, C, *spatial)`` as reference, such as
            :class:`~medsegdiff_monai.metrics.OverReaders`.
        regions: label values of each region by name, in the order of the channels.
        members: whether the metric gets the members ``(B, N, C, *spatial)`` of a case, from channels
            ``(N * C, *spatial)`` under ``members``, in place of the fused masks ``(B, C, *spatial)`` under ``pred``.
    """

    def __init__(self, metric: Any, regions: Mapping[str, Sequence[int]], members: bool = False) -> None:
        super().__init__(metric, regions, of_cases("members" if members else "pred", "label"))
        self.members = members

    def update(self, output: Sequence[Any]) -> None:
        """Score the cases of one iteration.

        Args:
            output: a list of the cases' fused masks ``(C, *spatial)`` or members ``(N * C, *spatial)``, and one of
                their readers' masks ``(R * C, *spatial)``.

        Raises:
            ValueError: when they have other channels than the regions.
        """
        predicted, labels = output
        if len(labels) == 0:  # all cases of the iteration have failed
            return
        scored = self._unstacked(predicted) if self.members else self._scored(predicted)
        IgniteMetricHandler.update(self, [scored, self._unstacked(labels)])

    def _unstacked(self, stacks: Sequence[Any]) -> list[Any]:
        """The scored channels of masks that lie one behind the other, ``(K, C, *spatial)`` for each case."""
        count = len(self.regions)
        for stack in stacks:
            if stack.shape[0] % count:
                names = ", ".join(self.regions)
                raise ValueError(f"Masks must have the regions {names} once or more, got {stack.shape[0]} channels.")
        return [self._scored(stack.reshape(-1, count, *stack.shape[1:])) for stack in stacks]
