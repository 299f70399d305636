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

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import minimum_spanning_tree

from medsegdiff_monai.measurements.shape import Outline

__all__ = ["LevelRuns"]


@dataclass(frozen=True)
class LevelRuns:
    """Masks of a picture that lie in one another, as the runs of pixels that lie in the same ones.

    A pixel's level is the number of masks that it lies in, and mask ``k`` of 1 to ``count`` is where the level is at
    least ``k``. There are far fewer runs than pixels, and what all of the masks measure follows from them at once.

    Attributes:
        count: number of masks.
        row: row of each run with a level above 0, in reading order.
        start: its first column.
        stop: the column behind its last one.
        level: its level.
    """

    count: int
    row: np.ndarray
    start: np.ndarray
    stop: np.ndarray
    level: np.ndarray

    @classmethod
    def of(cls, levels: np.ndarray, count: int) -> LevelRuns:
        """The runs of levels ``(rows, columns)`` (uint8) of ``count`` masks."""
        rows, columns = levels.shape
        framed = np.zeros((rows, columns + 1), dtype=np.uint8)  # runs end with their row
        framed[:, :columns] = levels
        flat = framed.ravel()
        cuts = np.flatnonzero(np.concatenate([flat[:1] != 0, flat[1:] != flat[:-1]]))
        level = flat[cuts]
        filled = level > 0
        start, stop = cuts[filled], cuts[1:][filled[:-1]]  # the last cut is into nothing
        row = start // (columns + 1)
        return cls(count, row, start - row * (columns + 1), stop - row * (columns + 1), level[filled].astype(np.intp))

    def areas(self) -> np.ndarray:
        """Number of pixels of each mask, ``(count,)``."""
        return self._at_least(self.level, self.stop - self.start)

    def extents(self) -> np.ndarray:
        """Number of columns from the first to the last of each mask, ``(count,)``; 0 where it is empty."""
        extents = np.zeros(self.count, dtype=np.intp)
        for k in range(1, int(self.level.max(initial=0)) + 1):
            on = self.level >= k
            extents[k - 1] = self.stop[on].max() - self.start[on].min()
        return extents

    def outlines(self) -> list[Outline]:
        """First and last pixel of each row, of the masks up to the last that is not empty."""
        found = []
        row, start, stop, level = self.row, self.start, self.stop, self.level
        for k in range(1, int(level.max(initial=0)) + 1):
            on = level >= k
            row, start, stop, level = row[on], start[on], stop[on], level[on]
            new = row[1:] != row[:-1]
            first, last = np.append(True, new), np.append(new, True)
            found.append(Outline(row[first], start[first], stop[last]))
        return found

    def parts(self) -> np.ndarray:
        """Number of connected parts of each mask, ``(count,)``; corners connect.

        Runs and where they touch are a graph, in which an edge is in as many masks as both of its runs are. A forest
        that spans it by its highest edges spans each mask, which has a part for each run that exceeds its edges.
        """
        if len(self.level) == 0:
            return np.zeros(self.count, dtype=np.intp)
        ends, neighbours = self._touching()
        depth = np.minimum(np.repeat(self.level, np.diff(ends)), self.level[neighbours])
        above = float(self.count + 1)  # the shallowest costs most, and nothing costs 0, which would be no edge
        graph = csr_array((above - depth, neighbours, ends), shape=(len(self.level),) * 2)
        forest = above - minimum_spanning_tree(graph, overwrite=True).data
        return self._at_least(self.level) - self._at_least(forest.astype(np.intp))

    def _touching(self) -> tuple[np.ndarray, np.ndarray]:
        """Those that touch each run, further on in its row and in the next, as the rows of a sparse matrix."""
        width = int(self.stop.max()) + 3  # no run touches one beyond the end of a row
        start, stop = self.row * width + self.start, self.row * width + self.stop
        first = np.searchsorted(stop, start + width, side="left")
        found = np.searchsorted(start, stop + width, side="right") - first
        beside = np.append(start[1:] == stop[:-1], False)
        ends = np.concatenate([[0], np.cumsum(found + beside)])
        neighbours = np.arange(ends[-1]) + np.repeat(first - ends[:-1] - beside, found + beside)
        neighbours[ends[:-1][beside]] = np.flatnonzero(beside) + 1
        return ends, neighbours

    def _at_least(self, levels: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
        """How many of some levels, or the sum of their weights, reach 1, 2, ... ``count``."""
        each = np.bincount(levels, weights, minlength=self.count + 1)
        return each[::-1].cumsum()[::-1][1:].astype(np.intp)
