# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from medsegdiff_monai.apps.report import ReportCase, ReportRegion
from medsegdiff_monai.transforms import save
from medsegdiff_monai.utils import InputError


def make_case(**parts: Any) -> ReportCase:
    """A picture of 6 x 4 pixels with one region."""
    given: dict[str, Any] = {
        "title": "case 1",
        "images": {"image": np.zeros((6, 4), np.uint8)},
        "regions": [ReportRegion("nodule", np.ones((6, 4), bool))],
    }
    return ReportCase(**{**given, **parts})


def test_contours_have_the_colours_of_the_label_pictures() -> None:
    mask = np.ones((6, 4), bool)
    case = make_case(regions=[ReportRegion(f"r{i}", mask) for i in range(7)])
    palette = ["#{:02X}{:02X}{:02X}".format(*colour) for colour in save._colours(None)[1:7]]
    assert case.colours == [*palette, palette[0]]


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"images": {}}, "needs an image and a region, got no image"),
        ({"regions": []}, "needs an image and a region, got no region"),
        ({"images": {"T1": np.zeros((4, 6))}}, r"The image 'T1' of 'case 1' must have the shape.*got \(4, 6\)"),
        ({"images": {"T1": np.zeros((6, 4, 4))}}, r"\(6, 4, 3\), got \(6, 4, 4\)"),
        ({"spacing": (1.0,)}, "must be 2 positive distances in mm"),
        ({"spacing": (1.0, 0.0)}, "must be 2 positive distances in mm"),
        ({"spacing": (1.0, float("nan"))}, "must be 2 positive distances in mm"),
        ({"frame": "RAS"}, "frame of 'case 1' must be RAS, for volumes only"),
        ({"frame": "LPS"}, "must be RAS"),
    ],
)
def test_bad_cases_are_refused(parts: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        make_case(**parts)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"mask": np.full((6, 4), 2)}, "The mask of the region 'cup' of 'case 1' must hold 0 and 1 only"),
        ({"mask": np.full((6, 4), np.nan)}, "must hold 0 and 1 only"),
        ({"mask": np.zeros((4, 6))}, r"The mask of the region 'cup'.*the shape \(6, 4\), got \(4, 6\)"),
        ({"probability": np.full((6, 4), 1.01)}, r"The probability .* must lie in \[0, 1\]"),
        ({"probability": np.full((6, 4), np.nan)}, r"must lie in \[0, 1\]"),
        ({"probability": np.zeros((6, 5))}, r"The probability .* must have the shape \(6, 4\)"),
        ({"uncertainty": np.full((6, 4), -0.1)}, "The uncertainty .* must be finite and not negative"),
        ({"uncertainty": np.full((6, 4), np.inf)}, "must be finite and not negative"),
        ({"name": "nodule"}, "must have names of their own, got nodule, nodule"),
    ],
)
def test_bad_regions_are_refused(parts: dict[str, Any], message: str) -> None:
    good: dict[str, Any] = {"name": "cup", "mask": np.zeros((6, 4), bool)}
    with pytest.raises(InputError, match=message):
        make_case(regions=[*make_case().regions, ReportRegion(**{**good, **parts})])


@pytest.mark.parametrize("shape", [(6,), (6, 4, 2, 2), (0, 4)])
def test_masks_that_are_neither_picture_nor_volume_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=r"The masks of 'case 1' must have the shape \(X, Y\) or \(X, Y, Z\)"):
        make_case(images={"image": np.zeros(shape)}, regions=[ReportRegion("nodule", np.zeros(shape, bool))])
