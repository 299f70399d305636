# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from PIL import Image

from medsegdiff_monai.apps.report import ReportCase, ReportReliability
from medsegdiff_monai.metrics import ReliabilityBins

BINS = ReliabilityBins([300.0, 0.0, 100.0], [0.1, None, 0.9], [0.2, None, 0.9])
KNOWN = ReportReliability(BINS, 40, "validation", "4 steps, 5 members")


def shown(page: Any) -> list[dict[str, str]]:
    return [image for image in page.all("img") if image.get("class") == "reliability"]


def test_diagram_says_what_it_shows_to_those_who_do_not_see_it(
    volume_case: ReportCase, parse: Callable[[ReportCase], Any]
) -> None:
    (image,) = shown(parse(replace(volume_case, reliability=KNOWN)))
    assert image["alt"].startswith("Reliability diagram. ")
    assert "miss it by 7.5 percentage points" in image["alt"]  # 300 voxels by 0.1, 100 by 0


def test_diagram_lies_on_the_colours_of_the_page(
    volume_case: ReportCase, parse: Callable[[ReportCase], Any], pixels: Callable[[str], Image.Image]
) -> None:
    """The ground is transparent, and on a dark screen a filter turns black into white."""
    page = parse(replace(volume_case, reliability=KNOWN))
    picture = np.asarray(pixels(shown(page)[0]["src"].removeprefix("data:image/png;base64,")))
    assert picture.shape[2] == 4
    assert (picture[..., 3] == 0).mean() > 0.5
    (style,) = (text for tag, text in page.texts if tag == "style")
    assert ".reliability { filter: invert(1)" in style[style.index("(prefers-color-scheme: dark)") :]


def test_nothing_known_of_any_bin_is_an_empty_diagram(
    volume_case: ReportCase, parse: Callable[[ReportCase], Any]
) -> None:
    empty = replace(KNOWN, bins=ReliabilityBins([0.0, 0.0], [None, None], [None, None]))
    (image,) = shown(parse(replace(volume_case, reliability=empty)))
    assert "miss it by 0.0 percentage points" in image["alt"]


def test_page_shows_it_below_the_measurements(volume_case: ReportCase, parse: Callable[[ReportCase], Any]) -> None:
    page = parse(replace(volume_case, reliability=KNOWN))
    assert "How often probabilities came true on 40 validation cases (4 steps, 5 members)." in page.text("p")
    assert len(shown(page)) == 1
    cells = page.text("td").split()
    for number in ("0.100", "0.200", "0.900", "300", "100", "none"):
        assert number in cells
    html = page.html
    assert html.index("measurements-title") < html.index("came true on") < html.index("facts-title")


def test_page_without_it_says_nothing_of_it(volume_case: ReportCase, parse: Callable[[ReportCase], Any]) -> None:
    page = parse(volume_case)
    assert not shown(page)
    assert "came true" not in page.text()


def test_a_single_case_is_one_case(volume_case: ReportCase, parse: Callable[[ReportCase], Any]) -> None:
    page = parse(replace(volume_case, reliability=replace(KNOWN, cases=1)))
    assert "on 1 validation case (" in page.text("p")
