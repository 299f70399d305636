# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import itertools

from medsegdiff_monai.visualize import REFERENCE_COLOUR, REGION_COLOURS, region_colour, rgb


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
