# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from typing import Any

import torch
from monai.utils import MetricReduction

from .region_metric import RegionMetric

__all__ = ["OverReaders"]


class OverReaders(RegionMetric):
    """A metric of one reference, taken of each of several readers' in turn.

    It is called with masks ``(B, C, *spatial)`` and readers ``(B, R, C, *spatial)`` and returns values ``(B, C)``.

    Args:
        metric: the metric, such as :class:`RegionDice`.
        over: the ``"mean"``, ``"min"`` or ``"max"`` over the readers.
        reduction: see :class:`RegionMetric`.

    Raises:
        ValueError: when ``over`` is none of these.
    """

    def __init__(
        self, metric: RegionMetric, over: str = "mean", reduction: MetricReduction | str = MetricReduction.MEAN
    ) -> None:
        super().__init__(reduction)
        if over not in ("mean", "min", "max"):
            raise ValueError(f"over must be mean, min or max, got {over!r}.")
        self.metric = metric
        self.over = over

    def _compute_tensor(self, y_pred: torch.Tensor, y: torch.Tensor | None = None, **kwargs: Any) -> torch.Tensor:
        """Values ``(B, C)``.

        Raises:
            ValueError: when there are no references ``(B, R, C, *spatial)``, or the metric refuses the masks.
        """
        if y is None or y.ndim != y_pred.ndim + 1 or y.shape[1] == 0:
            shapes = f"{tuple(y_pred.shape)} and {None if y is None else tuple(y.shape)}"
            raise ValueError(f"Masks (B, C, *spatial) need those of readers (B, R, C, *spatial), got {shapes}.")
        each: list[Any] = [self.metric._compute_tensor(y_pred, one) for one in y.unbind(1)]
        values = torch.stack(each)
        return values.mean(0) if self.over == "mean" else getattr(values, f"a{self.over}")(0)
