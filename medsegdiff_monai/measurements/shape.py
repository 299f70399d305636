# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial.distance import cdist

__all__ = [
    "Diameters",
    "MaskRuns",
    "Outlines",
    "diameters",
    "largest_diameters",
    "outline_diameters",
    "vertical_extent",
]

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
    starts, stops = filled.argmax(axis=1), filled.shape[1] - filled[:, ::-1].argmax(axis=1)
    return outline_diameters(Outlines(np.zeros_like(rows), rows, starts, stops), 1, spacing)[0]


@dataclass(frozen=True)
class Outlines:
    """First and last pixel of each row of some masks, which is all that their convex hulls depend on.

    Attributes:
        masks: index of the mask of each row that holds pixels, in order.
        rows: the row, in the order of its mask.
        starts: its first column with a pixel.
        stops: the column behind its last one.
    """

    masks: np.ndarray
    rows: np.ndarray
    starts: np.ndarray
    stops: np.ndarray

    def extents(self, number: int) -> np.ndarray:
        """Number of columns from the first to the last of each of ``number`` masks; 0 where it is empty."""
        extents = np.zeros(number, dtype=np.intp)
        heads = _heads(self.masks)
        if len(heads):
            reach = np.maximum.reduceat(self.stops, heads) - np.minimum.reduceat(self.starts, heads)
            extents[self.masks[heads]] = reach
        return extents


def _heads(masks: np.ndarray) -> np.ndarray:
    """Where another mask begins."""
    return np.flatnonzero(np.diff(masks, prepend=-1))


def outline_diameters(outlines: Outlines, number: int, spacing: Sequence[float]) -> list[Diameters | None]:
    """Diameters of ``number`` masks from their outlines, see :func:`diameters`."""
    found: list[Diameters | None] = [None] * number
    if len(outlines.masks) == 0:
        return found
    masks, corners = _convex(outlines)
    heads = _heads(masks)
    sizes = np.diff(np.append(heads, len(masks)))
    # From a corner of its own, so that what rounding makes of a mask does not depend on where it lies.
    points = (corners - np.repeat(corners[heads], sizes, axis=0)) * np.asarray(spacing, dtype=float)
    farthest = []
    for first, hull in zip(heads.tolist(), np.split(points, heads[1:]), strict=True):
        start, stop = divmod(int(cdist(hull, hull, "sqeuclidean").argmax()), len(hull))
        farthest.append((first + start, first + stop))
    start, stop = np.array(farthest).T
    longest = points[stop] - points[start]
    y, x = np.repeat(longest, sizes, axis=0).T
    across = points[:, 1] * y - points[:, 0] * x
    extent = np.maximum.reduceat(across, heads) - np.minimum.reduceat(across, heads)
    lengths = np.hypot(longest[:, 0], longest[:, 1])
    for mask, *of_mask in zip(masks[heads].tolist(), lengths.tolist(), (extent / lengths).tolist(), strict=True):
        found[mask] = Diameters(*of_mask)
    return found


def _convex(outlines: Outlines) -> tuple[np.ndarray, np.ndarray]:
    """The corners ``(y, x)`` on the convex hull of each mask, ``(n, 2)``, by mask, and the index of the mask of each.

    Masks are measured by the hundred and are small, so that this is done for all at once and without the general
    algorithm: down the left sides and down the right ones, all corners that do not bend their side outwards are taken
    out until there are none; a corner of the hull never is one of them.
    """
    sides = np.concatenate([outlines.masks, outlines.masks + outlines.masks[-1] + 1])
    y = np.tile(np.stack([outlines.rows, outlines.rows + 1], axis=1).ravel(), 2)
    x = np.repeat(np.concatenate([-outlines.starts, outlines.stops]), 2)  # outwards
    corners = np.arange(len(y))
    heads = 2 * _heads(sides)
    ends = np.zeros(len(y), dtype=bool)  # top and bottom of each side are on the hull
    ends[heads] = ends[heads - 1] = True
    while True:
        dy, dx = y[1:] - y[:-1], x[1:] - x[:-1]
        keep = ends.copy()
        keep[1:-1] |= dx[:-1] * dy[1:] > dx[1:] * dy[:-1]  # whole numbers: exact
        kept = np.flatnonzero(keep)
        if len(kept) == len(keep):
            break
        corners, y, x, ends = corners[kept], y[kept], x[kept], ends[kept]
    right, row = np.divmod(corners // 2, len(outlines.masks))
    masks = outlines.masks[row]
    order = np.argsort(masks, kind="stable")
    return masks[order], np.stack([y, np.where(right, x, -x)], axis=1)[order]


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


@dataclass(frozen=True)
class MaskRuns:
    """Masks of pictures as the runs of pixels that they have in each row.

    There are far fewer runs than pixels, and what is measured of a mask follows from them, for all masks at once. A
    place counts pixels through all masks, one behind the other, where each row has a pixel of nothing behind it and
    each mask a row of nothing below it: neither in a row nor from a row to the next is anything beside what is not.

    Attributes:
        number: number of masks.
        height: rows of a mask, with the one below it.
        width: columns of a mask, with the one behind them.
        first: place of the first pixel of each run, in order.
        behind: place behind its last pixel.
    """

    number: int
    height: int
    width: int
    first: np.ndarray
    behind: np.ndarray

    @classmethod
    def of_levels(cls, levels: np.ndarray, count: int) -> MaskRuns:
        """Those of ``count`` masks of each picture that lie in one another, the largest first.

        Args:
            levels: in how many of its picture's masks a pixel lies, at most ``count``, uint8 of shape
                ``(pictures, rows, columns)``.
            count: number of masks of a picture.
        """
        pictures, rows, columns = levels.shape
        height, width = rows + 1, columns + 1
        framed = np.zeros(1 + pictures * height * width, dtype=np.uint8)
        framed[1:].reshape(pictures, height, width)[:, :rows, :columns] = levels
        steps = np.flatnonzero(framed[1:] != framed[:-1])
        before, after = framed[steps].astype(np.intp), framed[steps + 1].astype(np.intp)
        size = height * width
        places = steps + steps // size * ((count - 1) * size)
        crossings = [_crossed(places, low, high, size) for low, high in ((before, after), (after, before))]
        return cls(pictures * count, height, width, *crossings)

    def areas(self) -> np.ndarray:
        """Number of pixels of each mask, ``(number,)``."""
        return np.bincount(self._masks, self.behind - self.first, minlength=self.number)

    def outlines(self) -> Outlines:
        """First and last pixel of each row of the masks."""
        lines = self.first // self.width
        new = lines[1:] != lines[:-1]
        head, tail = (np.append(True, new), np.append(new, True)) if len(lines) else (new, new)
        lines = lines[head]
        masks = lines // self.height
        starts, stops = self.first[head] - lines * self.width, self.behind[tail] - lines * self.width
        return Outlines(masks, lines - masks * self.height, starts, stops)

    def parts(self) -> np.ndarray:
        """Number of connected parts of each mask, ``(number,)``; corners connect.

        Where no run of a mask touches two runs of the next row, no two ways lead from one run to another: each touch
        joins two parts, and there are as many parts as runs that exceed the touches. Other masks are searched.
        """
        masks = self._masks
        low = np.searchsorted(self.behind, self.first + self.width, side="left")
        touched = np.searchsorted(self.first, self.behind + self.width, side="right") - low  # of the next row
        parts = np.bincount(masks, minlength=self.number) - np.bincount(masks, touched, self.number).astype(np.intp)
        branching = np.zeros(self.number, dtype=bool)
        branching[masks[touched > 1]] = True
        if not branching.any():
            return parts
        kept = branching[masks]
        places = np.cumsum(kept) - 1
        low = places[np.minimum(low[kept], len(kept) - 1)]  # of a run that touches none it may lie beyond the last
        touched, masks = touched[kept], masks[kept]
        begins = np.append(0, np.cumsum(touched))
        below = np.arange(begins[-1]) + np.repeat(low - begins[:-1], touched)
        touching = csr_array((np.ones(len(below)), below, begins), shape=(len(low),) * 2)
        found, part = connected_components(touching, directed=False)
        mask_of_part = np.empty(found, dtype=np.intp)
        mask_of_part[part] = masks
        return np.where(branching, np.bincount(mask_of_part, minlength=self.number), parts)

    @cached_property
    def _masks(self) -> np.ndarray:
        return self.first // (self.height * self.width)


def _crossed(places: np.ndarray, low: np.ndarray, high: np.ndarray, size: int) -> np.ndarray:
    """The places, in order, in each of the masks that are entered where a level rises from ``low`` to ``high``."""
    rises = np.maximum(high - low, 0)
    begins = np.cumsum(rises) - rises
    steps = np.repeat(places + (low - begins) * size, rises)
    return np.sort(steps + np.arange(len(steps)) * size)
