# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from typing import Any

import torch
from monai.utils import MetricReduction

from .regions import RegionMetric

__all__ = ["GeneralizedEnergyDistance", "OverReaders"]


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
        if y is None or y.ndim != y_pred.ndim + 1 or y.shape[1] == 0:
            shapes = f"{tuple(y_pred.shape)} and {None if y is None else tuple(y.shape)}"
            raise ValueError(f"Masks (B, C, *spatial) need those of readers (B, R, C, *spatial), got {shapes}.")
        of_readers: list[Any] = [self.metric._compute_tensor(y_pred, reader) for reader in y.unbind(1)]
        values = torch.stack(of_readers)
        return values.mean(0) if self.over == "mean" else getattr(values, f"a{self.over}")(0)


class GeneralizedEnergyDistance(RegionMetric):
    """Squared generalised energy distance between the masks of an ensemble and those of several readers.

    ``2 E[d(S, Y)] - E[d(S, S')] - E[d(Y, Y')]`` with ``d = 1 - IoU`` (Kohl et al., NeurIPS 2018, arXiv 1806.05034),
    where S and S' are drawn from the members and Y and Y' from the readers, independently, so that the same one may be
    drawn twice. Two empty masks have distance 0. It is 0 where both vary alike, and not below.

    It is called with members ``(B, N, C, *spatial)`` and readers ``(B, R, C, *spatial)``, both binary, and returns
    values ``(B, C)``. See :class:`RegionMetric` for the argument.

    >>> masks = torch.zeros(1, 2, 1, 4, 4)
    >>> masks[0, 0, 0, :2], masks[0, 1, 0, 1:3] = 1, 1
    >>> distance = GeneralizedEnergyDistance()
    >>> [round(distance(members, masks).item(), 4) for members in (masks, masks[:, :1])]
    [0.0, 0.3333]
    """

    def _compute_tensor(self, y_pred: torch.Tensor, y: torch.Tensor | None = None, **kwargs: Any) -> torch.Tensor:
        if y is None or y.ndim < 4 or y.shape[0] != y_pred.shape[0] or y.shape[2:] != y_pred.shape[2:]:
            shapes = f"{tuple(y_pred.shape)} and {None if y is None else tuple(y.shape)}"
            raise ValueError(f"Members (B, N, C, *spatial) and readers (B, R, C, *spatial) must fit, got {shapes}.")
        for name, masks in (("members", y_pred), ("readers", y)):
            if not bool(((masks == 0) | (masks == 1)).all()):
                raise ValueError(
                    f"The {name} must be binary masks, got values other than 0 and 1: threshold them first."
                )
        # (B, C, N, V), in numbers that count voxels exactly
        members, readers = (t.as_subclass(torch.Tensor).flatten(3).transpose(1, 2).double() for t in (y_pred, y))
        between, of_members, of_readers = (
            _distances(first, second).mean((-2, -1))
            for first, second in ((members, readers), (members, members), (readers, readers))
        )
        return (2.0 * between - of_members - of_readers).float()


def _distances(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """``1 - IoU`` of each pair, ``(B, C, N, R)``, of masks ``(B, C, N, V)`` and ``(B, C, R, V)``."""
    overlap = first @ second.transpose(-1, -2)
    union = first.sum(-1)[..., :, None] + second.sum(-1)[..., None, :] - overlap
    return torch.where(union > 0, 1.0 - overlap / union.clamp(min=1.0), 0.0)
