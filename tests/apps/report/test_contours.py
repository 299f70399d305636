# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import re

import numpy as np
import pytest
from matplotlib.path import Path
from scipy import ndimage

from medsegdiff_monai.apps.report.contours import outline


def corners(path: str) -> list[np.ndarray]:
    """Corners (x, y) of each closed line of a path of M, h, v and z."""
    lines = []
    for line in re.findall(r"M[^z]*z", path):
        x, y = (int(n) for n in re.match(r"M(\d+) (\d+)", line).groups())
        points = [(x, y)]
        for axis, run in re.findall(r"([hv])(-?\d+)", line):
            x, y = (x + int(run), y) if axis == "h" else (x, y + int(run))
            points.append((x, y))
        lines.append(np.array(points))
    return lines


def filled(path: str, shape: tuple[int, int]) -> np.ndarray:
    """Pixels whose centres lie within an odd number of the lines."""
    rows, columns = np.indices(shape)
    centres = np.stack([columns.ravel() + 0.5, rows.ravel() + 0.5], axis=1)
    inside = np.zeros(centres.shape[0], int)
    for line in corners(path):
        inside += Path(line).contains_points(centres)
    return (inside % 2).astype(bool).reshape(shape)


def signed_area(line: np.ndarray) -> float:
    """Shoelace formula; positive for lines that run clockwise on a screen, whose y points down."""
    x, y = line.T
    return float(np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y)) / 2


def length(line: np.ndarray) -> int:
    return int(np.abs(line - np.roll(line, -1, axis=0)).sum())


def test_a_square_is_outlined_along_its_pixels() -> None:
    mask = np.zeros((9, 9), bool)
    mask[3:7, 2:6] = True  # rows 3 to 6, columns 2 to 5
    assert outline(mask) == "M2 3h4v4h-4z"


@pytest.mark.parametrize(
    ("rows", "path"),
    [
        (["..", ".."], ""),
        (["##", "##"], "M0 0h2v2h-2z"),  # along the border of the image
        (["#.", ".."], "M0 0h1v1h-1z"),
        (["#.", "##"], "M0 0h1v1h1v1h-2z"),
        (["#.", ".#"], "M0 0h1v1h-1zM1 1h1v1h-1z"),  # a corner in common: two parts
        ([".#", "#."], "M1 0h1v1h-1zM0 1h1v1h-1z"),
        (["###", "#.#", "###"], "M0 0h3v3h-3zM1 2h1v-1h-1z"),
    ],
)
def test_small_masks_by_hand(rows: list[str], path: str) -> None:
    assert outline(np.array([[c == "#" for c in row] for row in rows])) == path


def test_holes_that_touch_at_a_corner_are_one_line() -> None:
    mask = np.ones((4, 4), bool)
    mask[1, 2] = mask[2, 1] = False
    outer, hole = corners(outline(mask))
    assert (signed_area(outer), signed_area(hole)) == (16.0, -2.0)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
def test_random_masks_come_back_from_their_outlines(seed: int, share: float) -> None:
    mask = np.random.default_rng(seed).random((13, 17)) < share
    path = outline(mask)
    lines = corners(path)
    np.testing.assert_array_equal(filled(path, mask.shape), mask)
    assert sum(signed_area(line) for line in lines) == mask.sum()
    padded = np.pad(mask, 1).astype(int)
    assert sum(length(line) for line in lines) == sum(np.abs(np.diff(padded, axis=a)).sum() for a in (0, 1))
    # Four-connected parts, and holes that are eight-connected, without the surroundings of the image.
    parts = ndimage.label(mask)[1]
    holes = ndimage.label(padded == 0, np.ones((3, 3)))[1] - 1
    assert sum(signed_area(line) > 0 for line in lines) == parts
    assert sum(signed_area(line) < 0 for line in lines) == holes
    for line in lines:  # runs, not single steps: no corner that goes straight on
        steps = np.roll(line, -1, axis=0) - line
        assert ((steps[:, 0] == 0) != (np.roll(steps, -1, axis=0)[:, 0] == 0)).all()
