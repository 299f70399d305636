# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0


from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage
from scipy.spatial import ConvexHull
from scipy.spatial.distance import pdist, squareform

from medsegdiff_monai.measurements.shape import (
    diameters,
    largest_diameters,
    vertical_extent,
)
from medsegdiff_monai.metrics import vertical_cup_to_disc_ratio


def ellipse(shape: tuple[int, int], radii: tuple[float, float], angle: float = 0.0) -> np.ndarray:
    """Ellipse in the middle; its first radius lies along an axis turned by the angle (degrees) from the rows' axis."""
    y, x = np.mgrid[: shape[0], : shape[1]] - (np.reshape(shape, (2, 1, 1)) - 1) / 2
    a = np.deg2rad(angle)
    along, across = y * np.cos(a) + x * np.sin(a), x * np.cos(a) - y * np.sin(a)
    return (along / radii[0]) ** 2 + (across / radii[1]) ** 2 <= 1


def test_a_rectangle_is_as_long_as_its_diagonal() -> None:
    mask = np.zeros((20, 30), dtype=bool)
    mask[3:7, 5:17] = True  # 4 rows of 0.5 mm, 12 columns of 0.25 mm
    found = diameters(mask, (0.5, 0.25))
    assert found is not None
    assert found.longest == pytest.approx(np.hypot(2.0, 3.0))
    assert found.perpendicular == pytest.approx(2 * 2.0 * 3.0 / np.hypot(2.0, 3.0))  # both corners beside the diagonal
    assert vertical_extent(mask, 0.5) == pytest.approx(2.0)


@pytest.mark.parametrize("angle", [0.0, 20.0, 45.0, 100.0])
def test_an_ellipse_has_the_diameters_of_its_axes(angle: float) -> None:
    mask = ellipse((160, 160), (60.0, 25.0), angle)
    found = diameters(mask, (0.1, 0.1))
    assert found is not None
    assert found.longest == pytest.approx(12.0, abs=0.15)
    assert found.perpendicular == pytest.approx(5.0, abs=0.35)


def test_the_longest_diameter_is_that_of_all_pairs_of_corners() -> None:
    rng = np.random.default_rng(0)
    mask = rng.random((9, 11)) > 0.8
    corners = np.array([(r + i, c + j) for r, c in np.argwhere(mask) for i in (0, 1) for j in (0, 1)]) * [0.7, 1.3]
    pairs = np.linalg.norm(corners[:, None] - corners[None], axis=-1)
    found = diameters(mask, (0.7, 1.3))
    assert found is not None
    assert found.longest == pytest.approx(pairs.max())


def blobs(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Parts of many shapes and sizes, with holes and empty rows, some of single pixels; maybe nothing."""
    noise = rng.random(shape)
    return noise > 0.9 if rng.random() < 0.3 else ndimage.gaussian_filter(noise, rng.uniform(0.5, 3.0)) > 0.55


def test_both_diameters_are_those_of_the_convex_hull_of_all_corners() -> None:
    rng = np.random.default_rng(1)
    measured = 0
    for _ in range(200):
        mask, spacing = blobs(rng, *rng.integers(1, 30, 2)), rng.choice([0.3, 0.5, 1.0, 1.7], 2)
        found = diameters(mask, spacing)
        if not mask.any():
            assert found is None
            continue
        assert found is not None
        corners = np.array([(r + i, c + j) for r, c in np.argwhere(mask) for i in (0, 1) for j in (0, 1)]) * spacing
        hull = corners[ConvexHull(corners).vertices]
        pairs = squareform(pdist(hull))
        assert found.longest == pytest.approx(pairs.max())
        widths = []  # where several pairs are as far apart, any of them will do
        for first, last in np.argwhere(pairs > pairs.max() - 1e-9):
            axis = (hull[last] - hull[first]) / pairs[first, last]
            widths.append(np.ptp(hull @ [-axis[1], axis[0]]))
        assert min(abs(w - found.perpendicular) for w in widths) < 1e-9
        measured += 1
    assert measured > 100


def test_one_pixel_and_none() -> None:
    mask = np.zeros((5, 5), dtype=bool)
    assert diameters(mask, (1.0, 1.0)) is None
    assert vertical_extent(mask, 1.0) == 0.0
    mask[2, 2] = True
    found = diameters(mask, (1.0, 1.0))
    assert found is not None
    assert (found.longest, found.perpendicular) == pytest.approx((np.sqrt(2), np.sqrt(2)))


def test_a_volume_is_measured_in_its_largest_plane() -> None:
    volume = np.zeros((4, 20, 20), dtype=bool)
    volume[1, 2:5, 2:5] = True
    volume[2, 4:6, 1:18] = True
    found = largest_diameters(volume, (1.0, 1.0))
    assert found is not None
    assert found.plane == 2
    assert found.longest == pytest.approx(np.hypot(2, 17))
    assert largest_diameters(np.zeros((3, 4, 4)), (1.0, 1.0)) is None


def test_no_plane_is_longer_than_that_of_the_largest_diameters() -> None:
    rng = np.random.default_rng(2)
    for _ in range(50):
        volume = blobs(rng, 10, 16, 14)
        each = {i: d for i, plane in enumerate(volume) if (d := diameters(plane, (1.0, 0.5))) is not None}
        if not each:
            assert largest_diameters(volume, (1.0, 0.5)) is None
            continue
        best = max(each, key=lambda i: each[i].longest)  # the first of those that are as long
        found = largest_diameters(volume, (1.0, 0.5))
        assert found is not None
        assert (found.longest, found.perpendicular, found.plane) == (each[best].longest, each[best].perpendicular, best)


def test_the_ratio_is_that_of_the_evaluation() -> None:
    disc, cup = ellipse((40, 50), (15.0, 12.0)), ellipse((40, 50), (8.0, 11.0))
    expected = vertical_cup_to_disc_ratio(torch.tensor(disc.T)[None], torch.tensor(cup.T)[None])
    assert vertical_extent(cup, 0.3) / vertical_extent(disc, 0.3) == pytest.approx(float(expected))
    assert vertical_extent(np.zeros_like(cup), 0.3) == 0.0
