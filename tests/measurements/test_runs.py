# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0


from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from medsegdiff_monai.measurements.shape import MaskRuns


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
    runs = MaskRuns.of_levels(levels[None], 4)
    assert runs.areas().tolist() == [24, 10, 1, 0]
    assert runs.parts().tolist() == [2, 3, 1, 0]
    outlines = runs.outlines()
    assert outlines.extents(4).tolist() == [10, 8, 1, 0]
    assert outlines.masks.tolist() == [0] * 4 + [1] * 3 + [2]
    second = [values[outlines.masks == 1].tolist() for values in (outlines.rows, outlines.starts, outlines.stops)]
    assert second == [[0, 1, 2], [6, 1, 6], [9, 9, 9]]


@pytest.mark.parametrize("pictures", [1, 3])
@pytest.mark.parametrize("sigma", [0.0, 0.7, 3.0])
def test_each_mask_has_the_parts_area_and_extent_that_scipy_finds(sigma: float, pictures: int) -> None:
    rng = np.random.default_rng(3)
    several = 0
    for _ in range(60):
        noise = rng.random((pictures, *rng.integers(1, 40, 2)))
        height = ndimage.gaussian_filter(noise, (0, sigma, sigma))
        count = int(rng.integers(1, 12))
        levels = np.floor((height - height.min()) / np.ptp(height) * (count + 0.9) if height.size > 1 else height)
        runs = MaskRuns.of_levels(levels.astype(np.uint8), count)
        masks = [of_picture >= k for of_picture in levels for k in range(1, count + 1)]
        assert runs.parts().tolist() == [ndimage.label(m, np.ones((3, 3)))[1] for m in masks]
        assert runs.areas().tolist() == [m.sum() for m in masks]
        boxes = [ndimage.find_objects(m.astype(int)) for m in masks]
        extents = runs.outlines().extents(pictures * count).tolist()
        assert extents == [b[0][1].stop - b[0][1].start if b else 0 for b in boxes]
        several += int(runs.parts().max() > 1)
    assert several > 10


def test_nothing() -> None:
    runs = MaskRuns.of_levels(np.zeros((1, 3, 4), dtype=np.uint8), 2)
    assert runs.parts().tolist() == runs.areas().tolist() == runs.outlines().extents(2).tolist() == [0, 0]
    assert runs.outlines().masks.tolist() == []
