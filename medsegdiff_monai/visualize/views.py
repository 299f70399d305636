# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from medsegdiff_monai.visualize.planes import ORTHOGONAL, Plane, coarse_axis, plane_of

__all__ = ["View", "largest_view", "views_of"]

_SLAB = 3  # a volume so many times wider than deep is shown slice by slice


@dataclass(frozen=True)
class View:
    """One slice of a volume, or a picture, as it lies on the screen.

    Args:
        plane: how the array lies there.
        number: number of the slice, from 0.
        count: number of slices that there are.
    """

    plane: Plane
    number: int
    count: int

    def of(self, array: np.ndarray) -> np.ndarray:
        """``(rows, columns)`` of an array ``(X, Y)`` or ``(X, Y, Z)``; RGB is a further last axis of both."""
        return self.plane.slices(array)[self.number]

    def aspect(self, spacing: Sequence[float] | None) -> float:
        """Height of a pixel over its width, 1 where the spacing (mm, along the axes of the array) is not known."""
        return 1.0 if spacing is None else spacing[self.plane.down] / spacing[self.plane.across]

    @property
    def caption(self) -> str:
        """Which slice it is, in words; empty for a picture."""
        return "" if self.plane.through is None else f"{self.plane.name} {self.number + 1} of {self.count}"


def largest_view(mask: np.ndarray, spacing: Sequence[float] | None, frame: str | None) -> View:
    """The picture, or the slice with the largest section of a mask; the middle one where the mask is empty.

    Args:
        mask: ``(X, Y)`` or ``(X, Y, Z)``, bool.
        spacing: along these axes in mm, or None where it is not known.
        frame: ``"RAS"`` where the axes run to the patient's right, front and head, else None.
    """
    return _through_largest(mask, plane_of(mask.ndim, spacing, frame))


def views_of(mask: np.ndarray, spacing: Sequence[float] | None, frame: str | None) -> list[View]:
    """How a case is shown: a picture as it is, a volume by three of its slices.

    A volume of known directions, about as deep as wide and of even spacing, is shown in three planes, each through the
    largest section of the mask. Any other volume was acquired in slices and is shown by three of these: that with the
    largest section, and those half way from it to the mask's ends.

    Args:
        mask: ``(X, Y)`` or ``(X, Y, Z)``, bool.
        spacing: along these axes in mm, or None where it is not known.
        frame: ``"RAS"`` where the axes run to the patient's right, front and head, else None.
    """
    largest = largest_view(mask, spacing, frame)
    if mask.ndim == 2:
        return [largest]
    extents = [n * s for n, s in zip(mask.shape, spacing or [1.0] * 3)]
    if frame is not None and coarse_axis(spacing) is None and min(extents) * _SLAB >= max(extents):
        return [_through_largest(mask, plane) for plane in ORTHOGONAL]
    plane, middle, count = largest.plane, largest.number, largest.count
    occupied = np.flatnonzero(_areas(mask, plane))
    first, last = (occupied[0], occupied[-1]) if len(occupied) else (0, count - 1)
    numbers = sorted({int(first + middle) // 2, middle, int(middle + last + 1) // 2})
    return [View(plane, number, count) for number in numbers]


def _through_largest(mask: np.ndarray, plane: Plane) -> View:
    areas = _areas(mask, plane)
    return View(plane, int(areas.argmax()) if areas.any() else len(areas) // 2, len(areas))


def _areas(mask: np.ndarray, plane: Plane) -> np.ndarray:
    """Number of pixels of a mask in each slice as it lies on the screen."""
    return plane.slices(mask).sum(axis=(1, 2))
