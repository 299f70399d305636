# Copyright (c) MedSegDiff-MONAI contributors
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#     http://www.apache.org/licenses/LICENSE-2.0
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.

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
