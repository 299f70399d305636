# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

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
    """One region of a case, on the grid of its images.

    Args:
        name: name of the region.
        mask: binary mask of shape ``(X, Y)`` or ``(X, Y, Z)``, bool or of the values 0 and 1.
        probability: probability in [0, 1] of the mask's shape, or None where there is no map.
        uncertainty: uncertainty in bits, not negative, of the mask's shape, or None where there is no map.
    """

    name: str
    mask: np.ndarray
    probability: np.ndarray | None = None
    uncertainty: np.ndarray | None = None


@dataclass(frozen=True)
class ReportReliability:
    """Frequency with which probabilities of the segmenter came true on other cases.

    Attributes:
        bins: points of the diagram.
        cases: number of these cases.
        section: what they are called, as ``"validation"``.
        settings: with which settings they were segmented, as ``"4 steps, 5 members"``.
    """

    bins: ReliabilityBins
    cases: int
    section: str
    settings: str


@dataclass(frozen=True, eq=False)
class ReportCase:
    """Content of the report of one case.

    Arrays have MONAI's axis order: X is the column and Y the row of a picture.

    Args:
        title: neutral name of the case; it must not identify the patient.
        images: the image, or several contrasts, by name: grey ``(X, Y)`` or RGB ``(X, Y, 3)``, or volumes of shape
            ``(X, Y, Z)``, all on one grid, of any range.
        regions: the regions, at least one, on that grid.
        spacing: distance of neighbouring pixels along each spatial axis in mm, or None where it is not known.
        frame: ``"RAS"`` for a volume whose axes run to the patient's right, front and head, or None where the
            directions are not known and for pictures.
        measurements: the measurements.
        facts: how the segmentation was made, such as the bundle and its version, steps, members and the seed; no data
            of the patient.
        reliability: reliability of the segmenter's probabilities, or None where it is not known.

    Raises:
        InputError: when shapes, values, names, the spacing or the frame are not as described.
    """

    title: str
    images: Mapping[str, np.ndarray]
    regions: Sequence[ReportRegion]
    spacing: Sequence[float] | None = None
    frame: Literal["RAS"] | None = None
    measurements: Sequence[Measurement] = ()
    facts: Mapping[str, str | int | float] = field(default_factory=dict)
    reliability: ReportReliability | None = None

    def __post_init__(self) -> None:
        if not self.images or not self.regions:
            lacking = "region" if self.images else "image"
            raise InputError(f"The report of {self.title!r} needs an image and a region, got no {lacking}.")
        self._check_grid()
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

    def _check_grid(self) -> None:
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
