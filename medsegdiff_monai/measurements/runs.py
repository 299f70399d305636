# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0


from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from medsegdiff_monai.measurements.shape import Outlines

__all__ = ["MaskRuns"]


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
