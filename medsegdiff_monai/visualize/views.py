# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["Plane", "View", "largest_view", "plane_of", "views_of"]

# Slices whose distance is that much larger than the pixels within them are the ones that were acquired.
_COARSE = 1.5
_SLAB = 3  # a volume so many times wider than deep is shown slice by slice


@dataclass(frozen=True)
class Plane:
    """Layout of an array on the screen: which slices there are, and where their rows and columns come from."""

    name: str
    through: int | None  # array axis that runs through the slices, None for a picture
    across: int  # array axis from left to right of the screen
    down: int  # array axis from top to bottom of the screen
    mirrored: bool = False  # whether the screen runs against the axes `across` and `down`
    letters: tuple[str, str, str, str] | None = None  # the patient's side at the left, right, top and bottom
    caption: str = ""  # the same in words

    def slices(self, array: np.ndarray) -> np.ndarray:
        """Slices ``(S, rows, columns)`` of ``(X, Y)`` or ``(X, Y, Z)``; RGB is a further last axis of both."""
        stack = array[None] if self.through is None else np.moveaxis(array, self.through, 0)
        rows_first = np.swapaxes(stack, 1, 2)  # behind the axis of the slices stands the one across, then that down
        return rows_first[:, ::-1, ::-1] if self.mirrored else rows_first


_PICTURE = Plane("picture", None, across=0, down=1)
_STACK = Plane("slices", 2, across=0, down=1, caption="The directions of the patient are not known.")
_RIGHT_ON_LEFT = "The patient's right is on the left of the picture (radiological view)."
_AXIAL = Plane("axial", 2, 0, 1, True, ("R", "L", "A", "P"), f"Axial slices from feet to head. {_RIGHT_ON_LEFT}")
_CORONAL = Plane("coronal", 1, 0, 2, True, ("R", "L", "S", "I"), f"Coronal slices from back to front. {_RIGHT_ON_LEFT}")
_FRONT_ON_LEFT = "The patient's front is on the left of the picture."
_TO_THE_RIGHT = f"Sagittal slices from the patient's left to the right. {_FRONT_ON_LEFT}"
_SAGITTAL = Plane("sagittal", 0, 1, 2, True, ("A", "P", "S", "I"), _TO_THE_RIGHT)
_ORTHOGONAL = (_AXIAL, _CORONAL, _SAGITTAL)


def plane_of(dims: int, spacing: Sequence[float] | None, frame: str | None) -> Plane:
    """The plane in which a case of 2 or 3 spatial axes is shown.

    A volume of known directions is shown in the plane in which its slices are far apart, which is the one that it was
    acquired in, or else in axial slices; any other volume in slices along its last axis, as they are stored. The
    spacing along the axes is in mm, or None where it is not known. The frame is ``"RAS"`` where they run to the
    patient's right, front and head, else None.
    """
    if dims == 2:
        return _PICTURE
    if frame is None:
        return _STACK
    coarse = _coarse_axis(spacing)
    return _AXIAL if coarse is None else (_SAGITTAL, _CORONAL, _AXIAL)[coarse]


def _coarse_axis(spacing: Sequence[float] | None) -> int | None:
    """The axis along which slices are far apart, or None where none is or the spacing (mm) is not known."""
    if spacing is None:
        return None
    coarsest = int(np.argmax(spacing))
    return coarsest if spacing[coarsest] >= _COARSE * sorted(spacing)[1] else None


@dataclass(frozen=True)
class View:
    """One slice of a volume, or a picture, as it lies on the screen."""

    plane: Plane
    number: int  # of the slice, from 0
    count: int  # of all slices

    def of(self, array: np.ndarray) -> np.ndarray:
        """``(rows, columns)`` of an array ``(X, Y)`` or ``(X, Y, Z)``; RGB is a further last axis of both."""
        return self.plane.slices(array)[self.number]

    def aspect(self, spacing: Sequence[float] | None) -> float:
        """Height of a pixel over its width, 1 where the spacing (mm, along the axes of the array) is not known."""
        return 1.0 if spacing is None else spacing[self.plane.down] / spacing[self.plane.across]

    @property
    def caption(self) -> str:
        """Name and number of the slice; empty for a picture."""
        return "" if self.plane.through is None else f"{self.plane.name} {self.number + 1} of {self.count}"


def largest_view(mask: np.ndarray, spacing: Sequence[float] | None, frame: str | None) -> View:
    """The picture, or the slice with the largest section of a mask; the middle one where the mask is empty.

    The mask is ``(X, Y)`` or ``(X, Y, Z)``, bool; for the other arguments see :func:`plane_of`.
    """
    return _through_largest(mask, plane_of(mask.ndim, spacing, frame))


def views_of(mask: np.ndarray, spacing: Sequence[float] | None, frame: str | None) -> list[View]:
    """The views that show a case: a 2D image as it is, a volume by three of its slices.

    A volume of known directions, about as deep as wide and of even spacing, is shown in three planes, each through the
    largest section of the mask. Any other volume was acquired in slices and is shown by three of these: that with the
    largest section, and those half way from it to the mask's ends. For the arguments see :func:`largest_view`.
    """
    largest = largest_view(mask, spacing, frame)
    if mask.ndim == 2:
        return [largest]
    extents = [n * s for n, s in zip(mask.shape, spacing or [1.0] * 3)]
    if frame is not None and _coarse_axis(spacing) is None and min(extents) * _SLAB >= max(extents):
        return [_through_largest(mask, plane) for plane in _ORTHOGONAL]
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
