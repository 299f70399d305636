# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from typing import Any

import torch
from monai.metrics import CumulativeIterationMetric

from .regions import binary_masks

__all__ = ["CupToDiscRatio", "vertical_cup_to_disc_ratio"]


def _vertical_extent(mask: torch.Tensor) -> torch.Tensor:
    """Number of rows from the first to the last of a mask ``(B, X, Y)``, both included; ``(B,)``, 0 where empty."""
    rows = mask.bool().any(dim=1)
    before_first, after_last = (ordered.cumsum(dim=1).eq(0).sum(dim=1) for ordered in (rows, rows.flip(1)))
    return (rows.shape[1] - before_first - after_last).clamp(min=0)


def vertical_cup_to_disc_ratio(disc: torch.Tensor, cup: torch.Tensor) -> torch.Tensor:
    """Vertical extent of the optic cup divided by that of the optic disc, which includes the cup; ``(B,)``.

    The binary masks are ``(B, X, Y)``; Y is vertical, as in pictures that MONAI reads from PNG or JPEG. The ratio is 0
    where the cup alone is empty, NaN where the disc is.

    Raises:
        ValueError: when the masks are not 2D or their shapes differ.
    """
    if disc.ndim != 3 or disc.shape != cup.shape:
        shapes = f"{tuple(disc.shape)} and {tuple(cup.shape)}"
        raise ValueError(f"Disc and cup must be 2D masks of one shape (B, X, Y), got {shapes}.")
    extent = _vertical_extent(disc)
    return torch.where(extent > 0, _vertical_extent(cup) / extent, torch.nan)


class CupToDiscRatio(CumulativeIterationMetric):
    """Vertical cup-to-disc ratio of each case as predicted and in the reference, and its absolute error.

    It is called with binary masks ``(B, C, X, Y)``, or lists of masks ``(C, X, Y)``, and returns values ``(B, 3)``:
    predicted ratio, reference ratio, absolute error. A ratio to an empty disc is NaN, and so is its error.

    Args:
        disc_channel: channel of the disc, which includes the cup.
        cup_channel: channel of the cup.
    """

    column_names = ("predicted", "reference", "absolute_error")

    def __init__(self, disc_channel: int = 0, cup_channel: int = 1) -> None:
        super().__init__()
        self.required_channels = (disc_channel, cup_channel)  # which the data must label

    def _compute_tensor(self, y_pred: torch.Tensor, y: torch.Tensor | None = None, **kwargs: Any) -> torch.Tensor:
        pairs = (masks[:, self.required_channels].unbind(1) for masks in binary_masks(y_pred, y))
        predicted, reference = (vertical_cup_to_disc_ratio(disc, cup) for disc, cup in pairs)
        return torch.stack([predicted, reference, (predicted - reference).abs()], dim=1)

    def aggregate(self) -> torch.Tensor:
        """Mean absolute error over the cases, of all processes, that have one; NaN where none has.

        Raises:
            ValueError: when no case has been scored.
        """
        values = self.get_buffer()
        if values is None:
            raise ValueError(f"{self} has scored no case.")
        return values[:, 2].nanmean()
