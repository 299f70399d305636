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
    "diameters",
    "largest_diameters",
    "mask_area",
    "mask_volume",
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
    rows, columns = _hull(np.asarray(mask, dtype=bool))
    if len(rows) == 0:
        return None
    y, x = rows * float(spacing[0]), columns * float(spacing[1])
    squares = np.subtract.outer(y, y) ** 2 + np.subtract.outer(x, x) ** 2
    first, last = divmod(int(squares.argmax()), len(y))
    longest = math.sqrt(squares[first, last])
    across = (x * (y[last] - y[first]) - y * (x[last] - x[first])) / longest
    return Diameters(longest, float(across.max() - across.min()))


def _hull(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Corners of the convex hull of a mask's pixels, each a square, in order around it: their rows and columns.

    Masks are measured by the hundred and are small, so that this is done without the general algorithm: from the
    outline, which has corners where the lines between rows meet it, all corners that do not bend it outwards are taken
    out until there are none; a corner of the hull never is one of them.
    """
    first, last = mask.argmax(axis=1), mask.shape[1] - mask[:, ::-1].argmax(axis=1)
    rows = np.flatnonzero(mask[np.arange(len(mask)), first])
    # Down the left side and up the right: at each line the corner of the row above it comes before that of the next.
    lines = np.concatenate([rows + 1, rows])
    down = np.argsort(lines, kind="stable")
    left, right = (np.concatenate([ends[rows], ends[rows]])[down] for ends in (first, last))
    y, x = np.concatenate([lines[down], lines[down][::-1]]), np.concatenate([left, right[::-1]])
    while len(y):
        dy, dx = y - _behind(y, -1), x - _behind(x, -1)
        bends = dy * _behind(dx, 1) > dx * _behind(dy, 1)  # whole numbers: exact
        if bends.all():
            break
        y, x = y[bends], x[bends]
    return y, x


def _behind(ring: np.ndarray, steps: int) -> np.ndarray:
    """What lies ``steps`` further on a ring of corners."""
    return np.concatenate([ring[steps:], ring[:steps]])


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
