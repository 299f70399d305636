# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from medsegdiff_monai.apps.report import ReportCase, ReportReliability
from medsegdiff_monai.apps.report.reliability import reliability_diagram
from medsegdiff_monai.metrics import ReliabilityBins

BINS = ReliabilityBins([300.0, 0.0, 100.0], [0.1, None, 0.9], [0.2, None, 0.9])
KNOWN = ReportReliability(BINS, 40, "validation", "4 steps, 5 members")
SVG = "{http://www.w3.org/2000/svg}"


def drawing(bins: ReliabilityBins) -> ElementTree.Element:
    text = reliability_diagram(bins)
    return ElementTree.fromstring(text.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1))


def test_points_lie_where_the_bins_say() -> None:
    svg = drawing(BINS)
    frame = svg.find(f".//{SVG}rect")
    assert frame is not None
    left, top, width, height = (float(frame.attrib[k]) for k in ("x", "y", "width", "height"))
    dots = [c.attrib for c in svg.iter(f"{SVG}circle")]
    places = [((float(d["cx"]) - left) / width, 1 - (float(d["cy"]) - top) / height) for d in dots]
    assert places == [pytest.approx((0.1, 0.2), abs=1e-3), pytest.approx((0.9, 0.9), abs=1e-3)]
    radii = [float(d["r"]) for d in dots]
    assert radii[0] > radii[1]  # it has more voxels
    line = [p.attrib["points"] for p in svg.iter(f"{SVG}polyline") if "stroke-dasharray" not in p.attrib]
    assert line == [" ".join(f"{d['cx']},{d['cy']}" for d in dots)]


def test_diagram_has_a_name_and_a_description_for_those_who_do_not_see_it() -> None:
    svg = drawing(BINS)
    title, described = svg.find(f"{SVG}title"), svg.find(f"{SVG}desc")
    assert title is not None
    assert described is not None
    assert svg.attrib["role"] == "img"
    assert svg.attrib["aria-labelledby"].split() == [title.attrib["id"], described.attrib["id"]]
    assert "miss it by 7.5 percentage points" in str(described.text)  # 300 voxels by 0.1, 100 by 0
    assert "style" not in reliability_diagram(BINS)  # which the page's content security policy forbids


def test_nothing_known_of_any_bin_is_an_empty_diagram() -> None:
    svg = drawing(ReliabilityBins([0.0, 0.0], [None, None], [None, None]))
    assert not list(svg.iter(f"{SVG}circle"))


def test_page_shows_it_below_the_measurements(volume_case: ReportCase, parse: Callable[[ReportCase], Any]) -> None:
    page = parse(replace(volume_case, reliability=KNOWN))
    assert "How often probabilities came true on 40 validation cases (4 steps, 5 members)." in page.text("p")
    assert len([a for a in page.all("svg") if a.get("class") == "reliability"]) == 1
    cells = page.text("td").split()
    for number in ("0.100", "0.200", "0.900", "300", "100", "none"):
        assert number in cells
    html = page.html
    assert html.index("measurements-title") < html.index("came true on") < html.index("facts-title")


def test_page_without_it_says_nothing_of_it(volume_case: ReportCase, parse: Callable[[ReportCase], Any]) -> None:
    page = parse(volume_case)
    assert not [a for a in page.all("svg") if a.get("class") == "reliability"]
    assert "came true" not in page.text()


def test_a_single_case_is_one_case(volume_case: ReportCase, parse: Callable[[ReportCase], Any]) -> None:
    page = parse(replace(volume_case, reliability=replace(KNOWN, cases=1)))
    assert "on 1 validation case (" in page.text("p")
