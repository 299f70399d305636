# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import numpy as np
import pytest

from medsegdiff_monai.visualize import largest_view, views_of


def ball(shape: tuple[int, ...], centre: tuple[int, ...], radius: float) -> np.ndarray:
    grid = np.indices(shape)
    return sum((g - c) ** 2 for g, c in zip(grid, centre)) <= radius**2


def test_a_picture_is_shown_as_it_lies() -> None:
    array = np.arange(12).reshape(4, 3)  # (X, Y)
    (view,) = views_of(array > 5, None, None)
    np.testing.assert_array_equal(view.of(array), array.T)
    assert view.caption == ""
    assert view.aspect((0.5, 2.0)) == 4.0  # pixels are 2 mm high and 0.5 mm wide


def test_a_volume_of_even_spacing_is_shown_in_three_planes_through_the_largest_section() -> None:
    mask = ball((20, 24, 22), (12, 9, 5), 4)
    views = views_of(mask, (1.0, 1.0, 1.0), "RAS")
    captions = [view.caption.split()[0] for view in views]
    assert captions == ["axial", "coronal", "sagittal"]
    numbers = [(20, 24, 22)[view.plane.through] for view in views]
    assert [view.count for view in views] == numbers
    # Slices of a ball through its centre have the most pixels.
    for view, centre in zip(views, (5, 9, 12)):
        index = view.number
        assert index == centre


def test_a_volume_of_thick_slices_is_shown_by_three_of_them() -> None:
    mask = np.zeros((20, 24, 40), bool)
    mask[4:6, 4:6, 10:31] = True
    mask[2:12, 2:12, 12] = True
    views = views_of(mask, (1.0, 1.0, 5.0), "RAS")
    assert {view.plane.name for view in views} == {"axial"}
    assert [view.number for view in views] == [11, 12, 21]  # half way to 10, the largest, half way to 30
    assert views[1].caption == "axial 13 of 40"


@pytest.mark.parametrize("frame", ["RAS", None])
def test_a_thin_slab_is_shown_slice_by_slice(frame: str | None) -> None:
    mask = ball((40, 40, 9), (20, 20, 4), 5)
    assert {view.plane.through for view in views_of(mask, (1.0, 1.0, 1.0), frame)} == {2}


def test_nothing_segmented_is_shown_in_the_middle() -> None:
    empty = np.zeros((20, 24, 40), bool)
    assert [view.number for view in views_of(empty, (1.0, 1.0, 1.0), "RAS")] == [20, 12, 10]
    assert [view.number for view in views_of(empty, (1.0, 1.0, 5.0), "RAS")] == [10, 20, 30]
    assert largest_view(empty, None, None).number == 20
    single = np.zeros((5, 5, 1), bool)
    assert [view.number for view in views_of(single, None, None)] == [0]
