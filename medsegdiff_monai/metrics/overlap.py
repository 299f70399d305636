# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from typing import Any

import torch
from monai.metrics import compute_dice, compute_iou

from .region_metric import RegionMetric, binary_masks

__all__ = ["RegionDice", "RegionIoU"]


class RegionDice(RegionMetric):
    """Dice coefficient of each region of each case, with BraTS' convention for empty masks.

    Two empty masks agree: 1. Where one of them alone is empty: 0.

    See :class:`RegionMetric` for the arguments.
    """

    def _compute_tensor(self, y_pred: torch.Tensor, y: torch.Tensor | None = None, **kwargs: Any) -> torch.Tensor:
        """Values ``(B, C)`` of masks ``(B, C, *spatial)``; see :func:`binary_masks` for what is refused."""
        return compute_dice(*binary_masks(y_pred, y), ignore_empty=False)


class RegionIoU(RegionMetric):
    """Intersection over union of each region of each case, with the convention of :class:`RegionDice`.

    See :class:`RegionMetric` for the arguments.
    """

    def _compute_tensor(self, y_pred: torch.Tensor, y: torch.Tensor | None = None, **kwargs: Any) -> torch.Tensor:
        """Values ``(B, C)`` of masks ``(B, C, *spatial)``; see :func:`binary_masks` for what is refused."""
        return compute_iou(*binary_masks(y_pred, y), ignore_empty=False)
