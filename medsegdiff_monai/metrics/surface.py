# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Any

import torch
from monai.data import MetaTensor
from monai.data.utils import affine_to_spacing
from monai.metrics import compute_hausdorff_distance, compute_surface_dice
from monai.utils import MetricReduction

from .regions import RegionMetric, binary_masks

__all__ = ["RegionHausdorffDistance", "RegionSurfaceDice"]


def _spacings(references: Any) -> list[list[float]]:
    """Spacing in mm along the spatial axes, for each case of a batch; 1 where it has no affine."""
    dims = references.ndim - 2
    if not isinstance(references, MetaTensor):
        return [[1.0] * dims] * len(references)
    affines = references.affine.expand(len(references), -1, -1)  # one affine is that of all cases
    return [affine_to_spacing(affine, r=affine.shape[-1] - 1)[:dims].tolist() for affine in affines]


class _SurfaceMetric(RegionMetric):
    """Base of the metrics of two masks' edges, which know the distance between neighbouring voxels."""

    def _compute_tensor(self, y_pred: torch.Tensor, y: torch.Tensor | None = None, **kwargs: Any) -> torch.Tensor:
        pred, label = binary_masks(y_pred, y)
        values = [
            [self._of_two(p, r, spacing) for p, r in zip(case, reference)]
            for case, reference, spacing in zip(pred, label, _spacings(y))
        ]
        return torch.tensor(values, device=y_pred.device)

    @abstractmethod
    def _of_two(self, pred: torch.Tensor, label: torch.Tensor, spacing: list[float]) -> float:
        """Value of two masks of the spatial shape alone."""


class RegionHausdorffDistance(_SurfaceMetric):
    """Hausdorff distance of each region of each case, in mm, with BraTS' convention for empty masks.

    It is the larger of the two percentiles of the distances from the edge of one mask to that of the other. Two empty
    masks agree: 0. Where one of them alone is empty, it is the length of the volume's diagonal: 373.13 mm for
    240 x 240 x 155 voxels of 1 mm.

    The spacing is that of the reference's affine where it is a ``MetaTensor``. Without one, and for pictures, whose
    affine is the identity, distances are in pixels.

    Args:
        percentile: percentile of the distances, in (0, 100]; 100 takes the largest.
        reduction: see :class:`RegionMetric`.

    Raises:
        ValueError: when the percentile is out of range.
    """

    def __init__(self, percentile: float = 95.0, reduction: MetricReduction | str = MetricReduction.MEAN) -> None:
        super().__init__(reduction)
        if not 0 < percentile <= 100:
            raise ValueError(f"percentile must be in (0, 100], got {percentile}.")
        self.percentile = percentile

    def _of_two(self, pred: torch.Tensor, label: torch.Tensor, spacing: list[float]) -> float:
        empty = [not mask.any() for mask in (pred, label)]
        if any(empty):
            return 0.0 if all(empty) else math.hypot(*(n * s for n, s in zip(label.shape, spacing)))
        return compute_hausdorff_distance(
            pred[None, None], label[None, None], include_background=True, percentile=self.percentile, spacing=spacing
        ).item()


class RegionSurfaceDice(_SurfaceMetric):
    """Normalised surface Dice of each region of each case, with BraTS' convention for empty masks.

    The share of both masks' edges that lies within a tolerance of the other's edge (Nikolov et al.,
    https://arxiv.org/abs/1809.04430), where an edge is its mask's outermost voxels. Two empty masks agree: 1. Where one
    of them alone is empty: 0. The spacing is found as by :class:`RegionHausdorffDistance`.

    Args:
        tolerance: distance in mm (in pixels where there is no spacing) up to which an edge counts as met.
        reduction: see :class:`RegionMetric`.

    Raises:
        ValueError: when the tolerance is not a number from 0 on.
    """

    def __init__(self, tolerance: float = 2.0, reduction: MetricReduction | str = MetricReduction.MEAN) -> None:
        super().__init__(reduction)
        if not 0 <= tolerance < math.inf:
            raise ValueError(f"tolerance must be a number from 0 on, got {tolerance}.")
        self.tolerance = tolerance

    def _of_two(self, pred: torch.Tensor, label: torch.Tensor, spacing: list[float]) -> float:
        empty = [not mask.any() for mask in (pred, label)]
        if any(empty):
            return float(all(empty))
        return compute_surface_dice(
            pred[None, None], label[None, None], [self.tolerance], include_background=True, spacing=spacing
        ).item()
