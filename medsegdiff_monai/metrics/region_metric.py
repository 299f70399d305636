# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from typing import Any

import torch
from monai.data import MetaTensor
from monai.metrics import CumulativeIterationMetric
from monai.metrics.utils import do_metric_reduction
from monai.utils import MetricReduction

__all__ = ["RegionMetric", "binary_masks"]


def binary_masks(y_pred: torch.Tensor, y: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
    """Prediction and reference as boolean tensors without metadata.

    Args:
        y_pred: prediction of shape ``(B, C, *spatial)``.
        y: reference of the same shape.

    Raises:
        ValueError: when there is no reference, the shapes differ, or a value is neither 0 nor 1.
    """
    if y is None or y.shape != y_pred.shape or y.ndim < 3:
        shapes = f"{tuple(y_pred.shape)} and {None if y is None else tuple(y.shape)}"
        raise ValueError(f"Prediction and reference must be masks of one shape (B, C, *spatial), got {shapes}.")
    masks = []
    for name, item in (("prediction", y_pred), ("reference", y)):
        values = item.as_tensor() if isinstance(item, MetaTensor) else item
        if values.dtype != torch.bool and not bool(((values == 0) | (values == 1)).all()):
            raise ValueError(f"The {name} must be a binary mask, got values other than 0 and 1: threshold it first.")
        masks.append(values.bool())
    return masks[0], masks[1]


class RegionMetric(CumulativeIterationMetric):
    """Base of the metrics that give each case one finite number for each region, whichever of its masks are empty.

    It is called with binary masks of shape ``(B, C, *spatial)``, or lists of masks ``(C, *spatial)``, unless the
    subclass says otherwise, and returns values of shape ``(B, C)``. A subclass defines ``_compute_tensor``.

    Args:
        reduction: what ``aggregate`` gives: ``"mean"`` one number, ``"mean_batch"`` one for each region; see
            ``monai.utils.MetricReduction`` for others.
    """

    def __init__(self, reduction: MetricReduction | str = MetricReduction.MEAN) -> None:
        super().__init__()
        self.reduction = MetricReduction(reduction)

    def aggregate(self, reduction: MetricReduction | str | None = None) -> Any:
        """The values of all cases, of all processes, reduced.

        Args:
            reduction: in place of the metric's own.

        Raises:
            ValueError: when no case has been scored.
        """
        values = self.get_buffer()
        if values is None:
            raise ValueError(f"{self} has scored no case.")
        return do_metric_reduction(values, reduction or self.reduction)[0]
