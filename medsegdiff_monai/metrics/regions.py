# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from typing import Any

import torch
from monai.data import MetaTensor
from monai.metrics import CumulativeIterationMetric, compute_dice, compute_iou
from monai.metrics.utils import do_metric_reduction
from monai.utils import MetricReduction

__all__ = ["RegionDice", "RegionIoU", "RegionMetric", "binary_masks"]


def binary_masks(y_pred: torch.Tensor, y: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
    """Prediction and reference, both of shape ``(B, C, *spatial)``, as boolean tensors without metadata.

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
        reduction: result of ``aggregate``: ``"mean"`` is one number, ``"mean_batch"`` one for each region; see
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


class RegionDice(RegionMetric):
    """Dice coefficient of each region of each case, with BraTS' convention for empty masks.

    Two empty masks agree: 1. Where one of them alone is empty: 0. See :class:`RegionMetric` for the arguments.

    >>> label = torch.zeros(1, 1, 8, 8)
    >>> label[..., 2:4, 2:4] = 1
    >>> RegionDice()(label.roll(1, dims=-1), label).item()
    0.5
    """

    def _compute_tensor(self, y_pred: torch.Tensor, y: torch.Tensor | None = None, **kwargs: Any) -> torch.Tensor:
        return compute_dice(*binary_masks(y_pred, y), ignore_empty=False)


class RegionIoU(RegionMetric):
    """Intersection over union of each region of each case, with the convention of :class:`RegionDice`.

    See :class:`RegionMetric` for the arguments.
    """

    def _compute_tensor(self, y_pred: torch.Tensor, y: torch.Tensor | None = None, **kwargs: Any) -> torch.Tensor:
        return compute_iou(*binary_masks(y_pred, y), ignore_empty=False)
