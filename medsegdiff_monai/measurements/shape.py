# Copyright (c) MedSegDiff-MONAI contributors
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#     http://www.apache.org/licenses/LICENSE-2.0
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.


from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from medsegdiff_monai.metrics import vertical_cup_to_disc_ratio

__all__ = [
    "Diameters",
    "Outline",
    "diameters",
    "largest_diameters",
    "mask_area",
    "mask_volume",
    "outline_diameters",
    "vertical_extent",
    "vertical_ratio",
]

_MM3_PER_ML = 1000.0
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Diameters:
    """Longest diameter of a mask in a plane, and its extent perpendicular to it in that plane.

    Attributes:
        longest: in the unit of the spacing.
        perpendicular: in the same unit.
        plane: index of the plane, for a volume.
    """

    longest: float
    perpendicular: float
    plane: int = 0


def mask_volume(mask: np.ndarray, voxel_volume: float) -> float:
    """Volume in mL of a mask whose voxels have the volume ``voxel_volume`` in mm3."""
    return float(np.count_nonzero(mask)) * voxel_volume / _MM3_PER_ML


def mask_area(mask: np.ndarray, spacing: Sequence[float]) -> float:
    """Area of a mask ``(rows, columns)``, in the square of the unit of the spacing between rows and columns."""
    return float(np.count_nonzero(mask)) * float(spacing[0]) * float(spacing[1])


def diameters(mask: np.ndarray, spacing: Sequence[float]) -> Diameters | None:
    """Longest (maximum Feret) diameter of a mask ``(rows, columns)`` and its extent perpendicular to that.

    Both are measured between the outer edges of pixels: one pixel is as long as its diagonal. Parts that hang together
    nowhere are measured as one.

    Args:
        mask: binary mask.
        spacing: between rows and between columns.

    Returns:
        The diameters in the unit of the spacing, or None where the mask is empty.
    """
    filled = np.asarray(mask, dtype=bool)
    rows = np.flatnonzero(filled.any(axis=1))
    if len(rows) == 0:
        return None
    filled = filled[rows]
    outline = Outline(rows, filled.argmax(axis=1), filled.shape[1] - filled[:, ::-1].argmax(axis=1))
    return outline_diameters([outline], spacing)[0]


@dataclass(frozen=True)
class Outline:
    """First and last pixel of each row of a mask that is not empty, which is all that its convex hull depends on.

    Attributes:
        rows: rows that hold pixels, in order.
        starts: first column of each.
        stops: column behind its last one.
    """

    rows: np.ndarray
    starts: np.ndarray
    stops: np.ndarray

    def sides(self) -> list[np.ndarray]:
        """Corners of the rows down the left side and down the right one, each ``(2, n)``: y, and x outwards."""
        lines = np.stack([self.rows, self.rows + 1], axis=1).ravel()
        return [np.stack([lines, np.repeat(outwards, 2)]) for outwards in (-self.starts, self.stops)]


def outline_diameters(outlines: Sequence[Outline], spacing: Sequence[float]) -> list[Diameters]:
    """Diameters of masks from their outlines, see :func:`diameters`."""
    hulls = _convex([side for outline in outlines for side in outline.sides()])
    found = []
    for left, right in zip(hulls[::2], hulls[1::2], strict=True):
        y = np.concatenate([left[0], right[0]]) * float(spacing[0])
        x = np.concatenate([-left[1], right[1]]) * float(spacing[1])
        squares = np.subtract.outer(y, y) ** 2 + np.subtract.outer(x, x) ** 2
        first, last = divmod(int(squares.argmax()), len(y))
        longest = math.sqrt(squares[first, last])
        across = (x * (y[last] - y[first]) - y * (x[last] - x[first])) / longest
        found.append(Diameters(longest, float(across.max() - across.min())))
    return found


def _convex(sides: Sequence[np.ndarray]) -> list[np.ndarray]:
    """What of the sides of some masks, see :meth:`Outline.sides`, belongs to their convex hulls.

    Masks are measured by the hundred and are small, so that this is done for many at once and without the general
    algorithm: all corners that do not bend their side outwards are taken out until there are none; a corner of the hull
    never is one of them.
    """
    if not sides:
        return []
    corners = np.concatenate(sides, axis=1)
    sizes = [side.shape[1] for side in sides]
    first = np.cumsum(sizes) - sizes
    ends = np.zeros(corners.shape[1], dtype=bool)
    ends[first] = ends[first - 1] = True  # top and bottom of each side are on the hull
    while True:
        dy, dx = np.diff(corners)
        keep = ends.copy()
        keep[1:-1] |= dx[:-1] * dy[1:] > dx[1:] * dy[:-1]  # whole numbers: exact
        if keep.all():
            break
        corners, ends = np.compress(keep, corners, axis=1), ends[keep]
    return np.split(corners, np.flatnonzero(ends)[2::2], axis=1)


def largest_diameters(mask: np.ndarray, spacing: Sequence[float]) -> Diameters | None:
    """The longest diameter in any of the planes ``(planes, rows, columns)`` and the perpendicular one in that plane.

    Args:
        mask: binary mask in the planes that were acquired.
        spacing: between rows and between columns.

    Returns:
        The diameters, or None where the mask is empty.
    """
    filled = np.asarray(mask, dtype=bool)
    bounds = _diagonals(filled, spacing)
    best: Diameters | None = None
    for index in np.argsort(-bounds, kind="stable").tolist():
        if bounds[index] == 0.0 or (best is not None and bounds[index] < best.longest * (1.0 - _ROUNDING)):
            break  # nothing that fits into the planes left is as long
        found = diameters(filled[index], spacing)
        if found is not None and (best is None or (found.longest, -index) > (best.longest, -best.plane)):
            best = Diameters(found.longest, found.perpendicular, index)
    return best


def _diagonals(mask: np.ndarray, spacing: Sequence[float]) -> np.ndarray:
    """Diagonal of the box around what is in each of the planes ``(planes, rows, columns)``; 0 where it is empty."""
    sides = []
    by_axis: list[Any] = [mask.any(axis=2), mask.any(axis=1)]
    for lines in by_axis:
        length = lines.shape[1] - lines[:, ::-1].argmax(axis=1) - lines.argmax(axis=1)
        sides.append(np.where(lines.any(axis=1), length, 0))
    return np.hypot(sides[0] * spacing[0], sides[1] * spacing[1])


def vertical_extent(mask: np.ndarray, row_spacing: float) -> float:
    """Extent of a mask ``(rows, columns)`` from its first row to its last, in the unit of the spacing; 0 if empty."""
    rows = np.flatnonzero(np.asarray(mask, dtype=bool).any(axis=1))
    return float(rows[-1] - rows[0] + 1) * row_spacing if len(rows) else 0.0


def vertical_ratio(inner: np.ndarray, outer: np.ndarray) -> float | None:
    """Vertical extent of the cup divided by that of the disc, from masks ``(rows, columns)``; None without disc."""
    pair = [torch.as_tensor(np.ascontiguousarray(np.asarray(m, dtype=bool).T))[None] for m in (outer, inner)]
    ratio = float(vertical_cup_to_disc_ratio(*pair))
    return None if np.isnan(ratio) else ratio
