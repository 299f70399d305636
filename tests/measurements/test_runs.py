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

import numpy as np
import pytest
from scipy import ndimage

from medsegdiff_monai.measurements.runs import LevelRuns


def test_levels_by_hand() -> None:
    # Two peaks on one plateau, a ring around a hole, and a pixel that touches the ring by its corner alone.
    levels = np.array(
        [
            [1, 1, 1, 1, 1, 0, 2, 2, 2, 0],
            [1, 3, 1, 2, 1, 0, 2, 0, 2, 0],
            [1, 1, 1, 1, 1, 0, 2, 2, 2, 0],
            [0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
        ],
        dtype=np.uint8,
    )
    runs = LevelRuns.of(levels, 4)
    assert runs.areas().tolist() == [24, 10, 1, 0]
    assert runs.parts().tolist() == [2, 3, 1, 0]
    assert runs.extents().tolist() == [10, 8, 1, 0]
    ring = runs.outlines()[1]
    assert [ring.rows.tolist(), ring.starts.tolist(), ring.stops.tolist()] == [[0, 1, 2], [6, 1, 6], [9, 9, 9]]
    assert len(runs.outlines()) == 3


@pytest.mark.parametrize("sigma", [0.0, 0.7, 3.0])
def test_each_mask_has_the_parts_area_and_extent_that_scipy_finds(sigma: float) -> None:
    rng = np.random.default_rng(3)
    several = 0
    for _ in range(60):
        height = ndimage.gaussian_filter(rng.random(rng.integers(1, 40, 2)), sigma)
        count = int(rng.integers(1, 12))
        levels = np.floor((height - height.min()) / np.ptp(height) * (count + 0.9) if height.size > 1 else height)
        runs = LevelRuns.of(levels.astype(np.uint8), count)
        masks = [levels >= k for k in range(1, count + 1)]
        assert runs.parts().tolist() == [ndimage.label(m, np.ones((3, 3)))[1] for m in masks]
        assert runs.areas().tolist() == [m.sum() for m in masks]
        boxes = [ndimage.find_objects(m.astype(int)) for m in masks]
        assert runs.extents().tolist() == [b[0][1].stop - b[0][1].start if b else 0 for b in boxes]
        several += int(runs.parts().max() > 1)
    assert several > 10


def test_nothing() -> None:
    runs = LevelRuns.of(np.zeros((3, 4), dtype=np.uint8), 2)
    assert runs.parts().tolist() == runs.areas().tolist() == runs.extents().tolist() == [0, 0]
    assert runs.outlines() == []
