# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pytest
from matplotlib.path import Path
from PIL import Image
from scipy import ndimage

from medsegdiff_monai.apps.report.pictures import (
    colour_bar,
    grey_levels,
    map_levels,
    map_picture,
    outline,
    picture,
)
from medsegdiff_monai.visualize import display_window


def test_bytes_are_shown_as_they_are() -> None:
    image = np.random.default_rng(0).integers(30, 90, (6, 5)).astype(np.uint8)
    assert display_window(image) == (0.0, 255.0)
    np.testing.assert_array_equal(grey_levels(image, (0.0, 255.0)), image)


def test_the_window_leaves_out_half_a_percent_at_both_ends() -> None:
    image = np.arange(1001.0)
    image[-1] = 1e6  # one bright pixel does not darken the rest
    low, high = display_window(image)
    assert (low, high) == (5.0, 995.0)
    levels = grey_levels(image, (low, high))
    assert levels[:6].tolist() == [0] * 6
    assert levels[995:].tolist() == [255] * 6
    assert levels[500] == round(255 * 495 / 990)


@pytest.mark.parametrize("dtype", [np.int16, np.float32, np.float64, np.uint16])
def test_the_window_is_the_same_for_any_type(dtype: type) -> None:
    image = np.arange(200).reshape(10, 20).astype(dtype)
    low, high = display_window(image)
    assert (low, high) == pytest.approx((0.995, 198.005), abs=1e-4)
    expected = np.clip(np.round((np.arange(200) - 0.995) / 197.01 * 255), 0, 255).reshape(10, 20)
    np.testing.assert_array_equal(grey_levels(image, (low, high)), expected)


def test_constant_and_undefined_images_are_black() -> None:
    for image in (np.full((3, 3), 7.0), np.full((3, 3), np.nan)):
        assert not grey_levels(image, display_window(image)).any()


def test_pixels_that_are_not_finite_are_black() -> None:
    image = np.linspace(10.0, 20.0, 400)
    image[[3, 300, 301]] = np.nan, np.inf, -np.inf
    levels = grey_levels(image, display_window(image))
    assert levels[[3, 300, 301]].tolist() == [0, 0, 0]
    assert levels[399] == 255


def test_one_pixel_that_differs_is_seen() -> None:
    image = np.zeros((100, 100), np.int16)
    image[40, 50] = 3
    assert display_window(image) == (0.0, 3.0)


def test_pictures_are_exact(pixels: Callable[[str], Image.Image]) -> None:
    rng = np.random.default_rng(1)
    for shape, mode in (((7, 4), "L"), ((7, 4, 3), "RGB")):
        levels = rng.integers(0, 256, shape).astype(np.uint8)
        back = pixels(picture(levels))
        assert back.mode == mode
        np.testing.assert_array_equal(np.asarray(back), levels)


def test_maps_are_exact_to_half_a_level(pixels: Callable[[str], Image.Image]) -> None:
    values = np.random.default_rng(2).random((9, 8)) * 1.3
    values[0, :2] = 0.0, 1.3
    back = pixels(map_picture(map_levels(values, 1.3), "viridis"))
    assert back.mode == "P"
    np.testing.assert_allclose(np.asarray(back) / 255 * 1.3, values, atol=0.5 / 255 * 1.3 + 1e-9)


def test_maps_have_the_colours_of_their_bar_and_fade_at_the_lower_end(pixels: Callable[[str], Image.Image]) -> None:
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    coloured = np.asarray(pixels(map_picture(levels, "cividis")).convert("RGBA")).reshape(256, 4)
    bar = np.asarray(pixels(colour_bar("cividis")))
    np.testing.assert_array_equal(coloured[1:, :3], bar[0, 1:])
    assert (bar == bar[0]).all()
    # The ends of cividis as it was published: dark blue to yellow.
    np.testing.assert_allclose(bar[0, [0, 255]], [(0, 34, 78), (254, 232, 56)], atol=2)
    alpha = coloured[:, 3].astype(int)
    assert alpha[0] == 0
    assert alpha[13] == round(255 * 13 / 25.5)
    assert (alpha[26:] == 255).all()
    assert (np.diff(alpha) >= 0).all()


def test_a_map_of_zeros_is_no_picture() -> None:
    assert map_picture(np.zeros((5, 5), np.uint8), "viridis") == ""


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
