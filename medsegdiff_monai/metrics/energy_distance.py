# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from typing import Any

import torch
from monai.data import MetaTensor

from .region_metric import RegionMetric

__all__ = ["GeneralizedEnergyDistance"]


class GeneralizedEnergyDistance(RegionMetric):
    """Squared generalised energy distance between the masks of an ensemble and those of several readers.

    ``2 E[d(S, Y)] - E[d(S, S')] - E[d(Y, Y')]`` with ``d = 1 - IoU`` (Kohl et al., NeurIPS 2018, arXiv 1806.05034),
    where S and S' are drawn from the members and Y and Y' from the readers, independently, so that the same one may be
    drawn twice. Two empty masks have distance 0. It is 0 where both vary alike, and not below.

    It is called with members ``(B, N, C, *spatial)`` and readers ``(B, R, C, *spatial)``, both binary, and returns
    values of shape ``(B, C)``. See :class:`RegionMetric` for the arguments.
    """

    def _compute_tensor(self, y_pred: torch.Tensor, y: torch.Tensor | None = None, **kwargs: Any) -> torch.Tensor:
        """Values ``(B, C)``.

        Raises:
            ValueError: when members and readers differ in more than their number, or are no binary masks.
        """
        if y is None or y.ndim < 4 or y.shape[0] != y_pred.shape[0] or y.shape[2:] != y_pred.shape[2:]:
            shapes = f"{tuple(y_pred.shape)} and {None if y is None else tuple(y.shape)}"
            raise ValueError(f"Members (B, N, C, *spatial) and readers (B, R, C, *spatial) must fit, got {shapes}.")
        for name, masks in (("members", y_pred), ("readers", y)):
            if not bool(((masks == 0) | (masks == 1)).all()):
                raise ValueError(
                    f"The {name} must be binary masks, got values other than 0 and 1: threshold them first."
                )
        members, readers = (_by_channel(masks) for masks in (y_pred, y))
        between = _distances(members, readers).mean((-2, -1))
        among = [_distances(masks, masks).mean((-2, -1)) for masks in (members, readers)]
        return (2.0 * between - among[0] - among[1]).float()


def _by_channel(masks: torch.Tensor) -> torch.Tensor:
    """Masks ``(B, N, C, *spatial)`` as ``(B, C, N, V)``, in numbers that count voxels exactly."""
    plain = masks.as_tensor() if isinstance(masks, MetaTensor) else masks
    return plain.flatten(3).transpose(1, 2).double()


def _distances(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """``1 - IoU`` of each pair, ``(B, C, N, R)``, of masks ``(B, C, N, V)`` and ``(B, C, R, V)``."""
    overlap = first @ second.transpose(-1, -2)
    union = first.sum(-1)[..., :, None] + second.sum(-1)[..., None, :] - overlap
    return torch.where(union > 0, 1.0 - overlap / union.clamp(min=1.0), 0.0)
