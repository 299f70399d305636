# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import itertools

import numpy as np
import pytest

from medsegdiff_monai.visualize import REFERENCE_COLOUR, REGION_COLOURS, region_colour, rgb, views_of
from medsegdiff_monai.visualize.drawing import (
    draw_image,
    draw_letters,
    draw_scale_bar,
    new_figure,
    pixels_of,
    round_length,
)


@pytest.mark.parametrize(
    ("most", "length"),
    [(9.9, 5), (10, 10), (19.9, 10), (20, 20), (49, 20), (50, 50), (0.3, 0.2), (0.07, 0.05)],
)
def test_lengths_are_one_two_or_five_times_a_power_of_ten(most: float, length: float) -> None:
    assert round_length(most) == pytest.approx(length)


@pytest.mark.parametrize(("millimetres", "aspect", "length"), [(1.0, 1.0, 20.0), (0.25, 1.0, 5.0), (0.5, 3.0, 10.0)])
def test_scale_bar_is_as_long_as_it_says(millimetres: float, aspect: float, length: float) -> None:
    columns, rows = 80, 60
    figure = new_figure(6.0, 6.0)
    axes = figure.add_subplot()
    draw_image(axes, np.zeros((rows, columns)), aspect)
    draw_scale_bar(axes, columns, rows, millimetres, aspect)
    axes.set_axis_off()
    pixels = pixels_of(figure)
    assert axes.texts[0].get_text() == f"{length:g} mm"
    scale = np.diff(axes.transData.transform([(0, 0), (1, 0)])[:, 0])[0]  # pixels of the picture a pixel of the image
    black = (pixels == 0).all(-1)
    left = np.flatnonzero(black.any(0))[0]
    white = (pixels == 255).all(-1)
    # The longest run of white inside the image: letters are narrow.
    longest = 0
    for row in white[:, left:][black.any(1)]:
        inside = np.flatnonzero(~row)
        if len(inside) > 1:
            longest = max(longest, int(np.diff(inside[inside < columns * scale - 2]).max(initial=0)) - 1)
    assert longest == pytest.approx(length / millimetres * scale, abs=3)


def test_right_is_on_the_left_of_axial_and_coronal_slices() -> None:
    image = np.zeros((16, 16, 16))
    image[10:] = 1.0  # x runs to the patient's right
    for view in views_of(np.ones((16, 16, 16), bool), (1.0, 1.0, 1.0), "RAS")[:2]:
        figure = new_figure(3.0, 3.0)
        axes = figure.add_subplot()
        draw_image(axes, view.of(image))
        draw_letters(axes, view.plane.letters)
        places = {text.get_text(): text.get_position() for text in axes.texts}
        assert places["R"][0] < 0.1
        assert places["L"][0] > 0.9
        shown = view.of(image)
        assert shown[:, :6].all()
        assert not shown[:, 6:].any()
        top, bottom = ("A", "P") if view.plane.name == "axial" else ("S", "I")
        assert places[top][1] > 0.9
        assert places[bottom][1] < 0.1


def test_slices_of_unknown_directions_have_no_letters() -> None:
    (view, *_) = views_of(np.ones((8, 8, 8), bool), None, None)
    assert view.plane.letters is None


def test_regions_have_colours_in_order_and_again_from_the_first() -> None:
    assert [region_colour(i) for i in range(7)] == [*REGION_COLOURS, REGION_COLOURS[0]]
    assert rgb(region_colour(0)) == (230, 159, 0)  # orange as Okabe and Ito give it


def test_neighbours_differ_for_readers_without_red_or_green_cones() -> None:
    """Simulated as by Viénot, Brettel and Mollon (1999), the first four regions and the reference stay apart."""
    colours = [[(v / 255.0) ** 2.2 for v in rgb(c)] for c in (*REGION_COLOURS[:4], REFERENCE_COLOUR)]
    for mixing in (
        [[0.11238, 0.88762, 0.0], [0.11238, 0.88762, 0.0], [0.00401, -0.00401, 1.0]],
        [[0.29275, 0.70725, 0.0], [0.29275, 0.70725, 0.0], [-0.02234, 0.02234, 1.0]],
    ):
        seen = [[max(sum(m * v for m, v in zip(row, c)), 0.0) ** (1 / 2.2) for row in mixing] for c in colours]
        for a, b in itertools.combinations(seen, 2):
            assert max(abs(x - y) for x, y in zip(a, b)) > 0.15
