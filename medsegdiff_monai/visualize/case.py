# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from medsegdiff_monai.utils import InputError

from .drawing import displayable, plain

__all__ = ["PicturedCase"]


@dataclass(frozen=True, eq=False)
class PicturedCase:
    """Parts of a picture of one case, on the grid of its image; X is the column and Y the row of a picture.

    Parts that are None are unknown, or are not shown.

    Raises:
        InputError: when the shapes do not fit one another.
    """

    name: str
    image: np.ndarray  # grey (X, Y) or (X, Y, Z), or RGB with a further last axis of 3, of any range
    regions: Sequence[str]  # their names, R of them
    masks: np.ndarray  # fused, (R, *spatial), foreground where not 0
    probability: np.ndarray  # fused, (R, *spatial), in [0, 1]
    uncertainty: np.ndarray | None = None  # in bits, (R, *spatial); a single member has none
    mutual_information: np.ndarray | None = None  # the share of it that is due to differences between members
    reference: np.ndarray | None = None  # masks (R, *spatial)
    members: np.ndarray | None = None  # masks (N, R, *spatial)
    contrast: str | None = None  # the name of the one that the image is
    spacing: Sequence[float] | None = None  # of pixels along each spatial axis, in mm
    frame: str | None = None  # "RAS" for a volume whose axes run to the patient's right, front and head
    predicted_dice: Sequence[float] | None = None  # Dice that each fused mask is expected to have
    agreement: Sequence[float] | None = None  # mean Dice between members, of each region

    def __post_init__(self) -> None:
        spatial = tuple(self.masks.shape[1:])
        expected = (len(self.regions), *spatial)
        if len(spatial) not in (2, 3) or self.image.shape not in (spatial, (*spatial, 3)):
            raise InputError(
                f"The image of {self.name!r} must have the shape of its masks, {spatial}, or be RGB of that shape, got "
                f"{self.image.shape}."
            )
        for part in ("masks", "probability", "uncertainty", "mutual_information", "reference"):
            array = getattr(self, part)
            if array is not None and tuple(array.shape) != expected:
                raise InputError(f"The {part} of {self.name!r} must have the shape {expected}, got {array.shape}.")
        if self.members is not None and tuple(self.members.shape[1:]) != expected:
            needed = ("N", *expected)
            raise InputError(f"The members of {self.name!r} must have the shape {needed}, got {self.members.shape}.")

    @cached_property
    def displayed(self) -> np.ndarray:
        """The image in [0, 1]; a volume's slices have one brightness."""
        return displayable(self.image)

    @property
    def object(self) -> np.ndarray:
        """Foreground of any region, ``(*spatial)``: of the fused masks, or of the reference where these are empty."""
        fused = (self.masks != 0).any(0)
        return fused if fused.any() or self.reference is None else (self.reference != 0).any(0)

    @property
    def title(self) -> str:
        """The name of the case, and below it what the scores say about each region."""
        named = {"predicted Dice": self.predicted_dice, "members agree": self.agreement}
        known = {name: scores for name, scores in named.items() if scores is not None}
        lines = [plain(self.name)]
        for i, region in enumerate(self.regions):
            said = ", ".join(f"{name} {scores[i]:.2f}" for name, scores in known.items() if not math.isnan(scores[i]))
            if said:
                lines.append(f"{region}: {said}" if len(self.regions) > 1 else said)
        return "\n".join(lines)
