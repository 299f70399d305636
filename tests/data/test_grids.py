# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import math

import numpy as np
import pytest

from medsegdiff_monai.data.grids import grid_shift, grid_spacing, spacing_in_metadata

AFFINE = np.diag([2.0, 3.0, 4.0, 1.0])


def test_equal_grids_are_not_apart() -> None:
    assert grid_shift(AFFINE, AFFINE.copy(), (5, 6, 7)) == 0.0


def test_moved_grid_is_apart_by_its_move() -> None:
    moved = AFFINE.copy()
    moved[:3, 3] = 3.0, 0.0, -4.0
    assert grid_shift(AFFINE, moved, (5, 6, 7)) == pytest.approx(5.0)


def test_other_spacing_is_apart_at_the_far_corner() -> None:
    assert grid_shift(AFFINE, np.diag([2.0, 3.0, 4.5, 1.0]), (5, 6, 7)) == pytest.approx(6 * 0.5)


def test_turned_grid_is_apart_by_the_chord_at_the_far_corner() -> None:
    angle = math.radians(2)
    turn = np.eye(4)
    turn[:2, :2] = [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]
    radius = math.hypot(4 * 2.0, 5 * 3.0)
    assert grid_shift(AFFINE, turn @ AFFINE, (5, 6, 7)) == pytest.approx(2 * radius * math.sin(angle / 2))


def test_pictures_have_grids_as_well() -> None:
    """MONAI gives a picture an affine of three dimensions: the third axis has no corners."""
    assert grid_shift(np.eye(4), np.diag([1.0, 1.0, 9.0, 1.0]), (5, 6)) == 0.0
    assert grid_shift(np.eye(4), np.diag([1.0, 2.0, 1.0, 1.0]), (5, 6)) == pytest.approx(5.0)


def test_spacing_is_how_far_a_step_along_an_axis_leads() -> None:
    turn = np.array([[0.0, -1.0, 0.0], [0.6, 0.0, 0.8], [0.8, 0.0, -0.6]])  # rows and columns of length 1
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag([2.0, 3.0, 4.0])
    assert grid_spacing(affine, 3) == pytest.approx([2.0, 3.0, 4.0])
    assert grid_spacing(affine, 2) == pytest.approx([2.0, 3.0])


@pytest.mark.parametrize(
    "meta",
    [{}, {"spacing": np.full(2, np.nan)}, {"spacing": np.array([1.0, 0.0])}, {"spacing": np.array([np.inf, 1.0])}],
)
def test_what_is_no_distance_is_no_spacing(meta: dict[str, np.ndarray]) -> None:
    assert spacing_in_metadata(meta) is None
    assert spacing_in_metadata({"spacing": np.array([0.5, 2.0])}) == [0.5, 2.0]
