# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import numpy as np
import pytest

from medsegdiff_monai.visualize import largest_view, plane_of, views_of


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


SHAPE = (5, 7, 9)
RIGHT, FRONT, HEAD = (1, 0, 0), (0, 1, 0), (0, 0, 1)
TOWARDS = {"R": RIGHT, "L": (-1, 0, 0), "A": FRONT, "P": (0, -1, 0), "S": HEAD, "I": (0, 0, -1)}


def landmark(*voxel: int) -> np.ndarray:
    volume = np.zeros(SHAPE)
    volume[voxel] = 1.0
    return volume


def test_pictures_have_their_columns_along_x_and_rows_along_y() -> None:
    plane = plane_of(2, (0.1, 0.2), None)
    array = np.arange(6.0).reshape(2, 3)  # X = 2, Y = 3
    np.testing.assert_array_equal(plane.slices(array), [[[0, 3], [1, 4], [2, 5]]])
    rgb = np.arange(18).reshape(2, 3, 3)
    assert plane.slices(rgb).shape == (1, 3, 2, 3)
    np.testing.assert_array_equal(plane.slices(rgb)[0, 2, 1], rgb[1, 2])
    assert plane.letters is None


def test_volumes_of_unknown_directions_are_shown_as_they_are_stored() -> None:
    plane = plane_of(3, (1.0, 1.0, 5.0), None)
    assert plane.slices(landmark(1, 2, 3))[3, 2, 1] == 1.0
    assert plane.letters is None
    assert "not known" in plane.caption


@pytest.mark.parametrize(
    ("spacing", "name", "through"),
    [
        (None, "axial", 2),
        ((1.0, 1.0, 1.0), "axial", 2),
        ((1.0, 1.0, 5.0), "axial", 2),
        ((1.2, 1.0, 1.0), "axial", 2),
        ((1.0, 4.0, 1.0), "coronal", 1),
        ((3.0, 1.0, 0.9), "sagittal", 0),
        ((3.0, 1.0, 2.5), "axial", 2),
    ],
)
def test_volumes_are_shown_in_the_plane_they_were_acquired_in(
    spacing: tuple[float, ...] | None, name: str, through: int
) -> None:
    plane = plane_of(3, spacing, "RAS")
    assert (plane.name, plane.through) == (name, through)
    assert len(plane.slices(np.zeros(SHAPE))) == SHAPE[through]


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (1.0, 4.0, 1.0), (4.0, 1.0, 1.0)])
def test_letters_name_the_sides_that_the_screen_runs_to(spacing: tuple[float, ...]) -> None:
    plane = plane_of(3, spacing, "RAS")
    middle = np.array([2, 3, 4])
    step, row, column = (int(n[0]) for n in np.nonzero(plane.slices(landmark(*middle))))
    moves = {0: (0, -1), 1: (0, 1), 2: (-1, 0), 3: (1, 0)}  # left, right, top, bottom: change of row and column
    for side, letter in enumerate(plane.letters):
        moved = plane.slices(landmark(*(middle + TOWARDS[letter])))
        assert moved[step, row + moves[side][0], column + moves[side][1]] == 1.0


def test_the_right_of_the_patient_is_on_the_left_of_the_screen() -> None:
    plane = plane_of(3, None, "RAS")
    right_front_foot = plane.slices(landmark(SHAPE[0] - 1, SHAPE[1] - 1, 0))
    assert right_front_foot[0, 0, 0] == 1.0
    assert plane.letters == ("R", "L", "A", "P")
    assert "right is on the left" in plane.caption
    assert plane_of(3, (1, 4, 1), "RAS").letters == ("R", "L", "S", "I")
    assert plane_of(3, (4, 1, 1), "RAS").letters == ("A", "P", "S", "I")


def test_rgb_volumes_keep_their_colours() -> None:
    volume = np.zeros((*SHAPE, 3))
    volume[1, 2, 3] = 1.0, 2.0, 3.0
    np.testing.assert_array_equal(plane_of(3, None, "RAS").slices(volume)[3, 4, 3], [1.0, 2.0, 3.0])
