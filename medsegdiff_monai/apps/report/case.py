# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from medsegdiff_monai.measurements import Measurement
from medsegdiff_monai.metrics import ReliabilityBins
from medsegdiff_monai.utils import InputError
from medsegdiff_monai.visualize import region_colour

__all__ = ["ReportCase", "ReportRegion", "ReportReliability"]

# Dashes and gaps of the contours in pixels of the screen: where contours coincide, the lower one shows in the gaps.
_REGION_DASHES = ((), (16, 5), (8, 4), (14, 4, 3, 4))


@dataclass(frozen=True, eq=False)
class ReportRegion:
    """One region of a case, with arrays ``(X, Y)`` or ``(X, Y, Z)`` on the grid of its images."""

    name: str
    mask: np.ndarray  # bool or of the values 0 and 1
    probability: np.ndarray | None = None  # in [0, 1]
    uncertainty: np.ndarray | None = None  # in bits, not negative


@dataclass(frozen=True)
class ReportReliability:
    """Frequency with which probabilities of the segmenter came true on other cases."""

    bins: ReliabilityBins
    cases: int
    section: str  # the name of these cases, as "validation"
    settings: str  # those with which they were segmented, as "4 steps, 5 members"


@dataclass(frozen=True, eq=False)
class ReportCase:
    """Content of the report of one case, on one grid; X is the column and Y the row of a picture.

    The images are contrasts by name: grey ``(X, Y)``, RGB ``(X, Y, 3)`` or volumes ``(X, Y, Z)``, of any range. Title
    and facts must not identify the patient.

    Raises:
        InputError: when shapes, values, names, the spacing or the frame are not as described.
    """

    title: str
    images: Mapping[str, np.ndarray]
    regions: Sequence[ReportRegion]  # at least one
    spacing: Sequence[float] | None = None  # of pixels along each spatial axis, in mm; None where it is not known
    frame: Literal["RAS"] | None = None  # of a volume whose axes run to the patient's right, front and head
    measurements: Sequence[Measurement] = ()
    facts: Mapping[str, str | int | float] = field(default_factory=dict)  # how the segmentation was made
    reliability: ReportReliability | None = None  # of the segmenter's probabilities

    def __post_init__(self) -> None:
        if not self.images or not self.regions:
            lacking = "region" if self.images else "image"
            raise InputError(f"The report of {self.title!r} needs an image and a region, got no {lacking}.")
        dims = len(self.shape)
        if dims not in (2, 3) or 0 in self.shape:
            raise InputError(f"The masks of {self.title!r} must have the shape (X, Y) or (X, Y, Z), got {self.shape}.")
        spacing = self.spacing
        if spacing is not None and (len(spacing) != dims or not all(math.isfinite(s) and s > 0 for s in spacing)):
            raise InputError(
                f"The spacing of {self.title!r} must be {dims} positive distances in mm, got {list(spacing)}."
            )
        if self.frame not in (None, "RAS") or (self.frame and dims == 2):
            raise InputError(f"The frame of {self.title!r} must be RAS, for volumes only, or None, got {self.frame!r}.")
        for name, image in self.images.items():
            if image.shape not in (self.shape, (*self.shape, 3)):
                raise InputError(
                    f"The image {name!r} of {self.title!r} must have the shape of the masks, {self.shape}, or that of "
                    f"an RGB image, {(*self.shape, 3)}, got {image.shape}."
                )
        names = [region.name for region in self.regions]
        if len(set(names)) != len(names):
            raise InputError(f"The regions of {self.title!r} must have names of their own, got {', '.join(names)}.")
        for region in self.regions:
            self._check_region(region)

    @property
    def shape(self) -> tuple[int, ...]:
        """Spatial shape of the case."""
        return tuple(self.regions[0].mask.shape)

    @property
    def colours(self) -> list[str]:
        """Colour of each region's contour."""
        return [region_colour(i) for i in range(len(self.regions))]

    @property
    def dashes(self) -> list[tuple[int, ...]]:
        """Dashes of each region's contour."""
        return [_REGION_DASHES[i % len(_REGION_DASHES)] for i in range(len(self.regions))]

    def _check_region(self, region: ReportRegion) -> None:
        of = f"of the region {region.name!r} of {self.title!r}"
        for part in ("mask", "probability", "uncertainty"):
            array = getattr(region, part)
            if array is not None and array.shape != self.shape:
                raise InputError(f"The {part} {of} must have the shape {self.shape}, got {array.shape}.")
        if not np.isin(region.mask, (0, 1)).all():
            raise InputError(f"The mask {of} must hold 0 and 1 only.")
        if region.probability is not None and not ((region.probability >= 0) & (region.probability <= 1)).all():
            raise InputError(f"The probability {of} must lie in [0, 1].")
        if region.uncertainty is not None and not (
            np.isfinite(region.uncertainty).all() and (region.uncertainty >= 0).all()
        ):
            raise InputError(f"The uncertainty {of} must be finite and not negative.")
