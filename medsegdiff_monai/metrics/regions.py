# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

import math
from abc import abstractmethod
from typing import Any

import torch
from monai.data import MetaTensor
from monai.data.utils import affine_to_spacing
from monai.metrics import (
    CumulativeIterationMetric,
    compute_dice,
    compute_hausdorff_distance,
    compute_iou,
    compute_surface_dice,
)
from monai.metrics.utils import do_metric_reduction
from monai.utils import MetricReduction

__all__ = ["RegionDice", "RegionHausdorffDistance", "RegionIoU", "RegionMetric", "RegionSurfaceDice", "binary_masks"]


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
        values = item.as_subclass(torch.Tensor)
        if values.dtype != torch.bool and not bool(((values == 0) | (values == 1)).all()):
            raise ValueError(f"The {name} must be a binary mask, got values other than 0 and 1: threshold it first.")
        masks.append(values.bool())
    return masks[0], masks[1]


class RegionMetric(CumulativeIterationMetric):
    """Base of the metrics that give each case one finite number for each region, whichever of its masks are empty.

    It is called with binary masks ``(B, C, *spatial)``, or lists of masks ``(C, *spatial)``, unless the subclass says
    otherwise, and returns values ``(B, C)``. A subclass defines ``_compute_tensor``.

    Args:
        reduction: result of ``aggregate``: ``"mean"`` is one number, ``"mean_batch"`` one for each region; see
            ``monai.utils.MetricReduction`` for others.
    """

    def __init__(self, reduction: MetricReduction | str = MetricReduction.MEAN) -> None:
        super().__init__()
        self.reduction = MetricReduction(reduction)

    def aggregate(self, reduction: MetricReduction | str | None = None) -> Any:
        """The values of all cases, of all processes, reduced by the metric's own reduction or another.

        Raises:
            ValueError: when no case has been scored.
        """
        values = self.get_buffer()
        if values is None:
            raise ValueError(f"{self} has scored no case.")
        return do_metric_reduction(values, reduction or self.reduction)[0]


class RegionDice(RegionMetric):
    """Dice coefficient of each region of each case, with BraTS' convention for empty masks.

    Two empty masks agree: 1. Where one of them alone is empty: 0. For the argument see :class:`RegionMetric`.

    >>> label = torch.zeros(1, 1, 8, 8)
    >>> label[..., 2:4, 2:4] = 1
    >>> RegionDice()(label.roll(1, dims=-1), label).item()
    0.5
    """

    def _compute_tensor(self, y_pred: torch.Tensor, y: torch.Tensor | None = None, **kwargs: Any) -> torch.Tensor:
        return compute_dice(*binary_masks(y_pred, y), ignore_empty=False)


class RegionIoU(RegionMetric):
    """Intersection over union of each region of each case; empty masks and arguments as for :class:`RegionDice`."""

    def _compute_tensor(self, y_pred: torch.Tensor, y: torch.Tensor | None = None, **kwargs: Any) -> torch.Tensor:
        return compute_iou(*binary_masks(y_pred, y), ignore_empty=False)


class _SurfaceMetric(RegionMetric):
    """Base of the metrics of two masks' edges."""

    def _compute_tensor(self, y_pred: torch.Tensor, y: torch.Tensor | None = None, **kwargs: Any) -> torch.Tensor:
        pred, label = binary_masks(y_pred, y)
        dims = label.ndim - 2
        spacings = [[1.0] * dims] * len(label)
        if isinstance(y, MetaTensor):
            affines = y.affine.expand(len(label), -1, -1)  # one affine is that of all cases
            spacings = [affine_to_spacing(affine, r=affine.shape[-1] - 1)[:dims].tolist() for affine in affines]
        values = [
            [self._of_two(p, r, spacing) for p, r in zip(case, reference)]
            for case, reference, spacing in zip(pred, label, spacings)
        ]
        return torch.tensor(values, device=y_pred.device)

    @abstractmethod
    def _of_two(self, pred: torch.Tensor, label: torch.Tensor, spacing: list[float]) -> float:
        """Value of two masks of the spatial shape alone, whose spacing is in mm."""


class RegionHausdorffDistance(_SurfaceMetric):
    """Hausdorff distance of each region of each case, in mm, with BraTS' convention for empty masks.

    It is the larger of the two percentiles of the distances from the edge of one mask to that of the other. Two empty
    masks agree: 0. Where one of them alone is empty, it is the length of the volume's diagonal: 373.13 mm for
    240 x 240 x 155 voxels of 1 mm. The spacing is that of the reference's affine where it is a ``MetaTensor``. Without
    one, and for pictures, whose affine is the identity, distances are in pixels.

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
        if not (pred.any() and label.any()):
            return float(pred.any() == label.any())
        return compute_surface_dice(
            pred[None, None], label[None, None], [self.tolerance], include_background=True, spacing=spacing
        ).item()
