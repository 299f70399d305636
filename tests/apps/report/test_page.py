# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medsegdiff_monai.apps.report import ReportCase, ReportRegion, write_report
from medsegdiff_monai.measurements import Measurement
from medsegdiff_monai.utils import InputError

EVIL = "</script><script>alert('x')</script><img src=x onerror=alert(1)>\"&<!--"


def picture_case(**parts: Any) -> ReportCase:
    """An RGB picture of 12 x 8 pixels with a square of 4 pixels at X 2 to 5 and Y 1 to 4."""
    mask = np.zeros((12, 8), np.uint8)
    mask[2:6, 1:5] = 1
    rgb = np.random.default_rng(5).integers(0, 256, (12, 8, 3)).astype(np.uint8)
    given: dict[str, Any] = {"title": "case 3", "images": {"fundus": rgb}, "regions": [ReportRegion("disc", mask)]}
    return ReportCase(**{**given, **parts})


def test_a_picture_comes_back_in_rows_and_columns(parse: Callable, pixels: Callable) -> None:
    case = picture_case(spacing=(0.25, 0.5))
    content = parse(case).content
    assert (content["slices"], content["rows"], content["columns"]) == (1, 8, 12)
    assert (content["pixelWidth"], content["pixelHeight"], content["inMillimetres"]) == (0.25, 0.5, True)
    back = np.asarray(pixels(content["contrasts"][0]["slices"][0]))
    np.testing.assert_array_equal(back, np.swapaxes(case.images["fundus"], 0, 1))
    assert content["regions"][0]["contours"] == ["M2 1h4v4h-4z"]
    assert content["regions"][0]["probability"] is None
    assert content["letters"] is None


def test_a_volume_comes_back_slice_by_slice(parse: Callable, pixels: Callable, volume_case: ReportCase) -> None:
    content = parse(volume_case).content
    assert (content["slices"], content["rows"], content["columns"]) == (6, 10, 14)
    assert (content["pixelWidth"], content["pixelHeight"]) == (1.0, 2.0)
    assert content["letters"] == ["R", "L", "A", "P"]
    for contrast in content["contrasts"]:
        image = volume_case.images[contrast["name"]].astype(np.float64)
        low, high = np.percentile(image, (0.5, 99.5))
        assert contrast["display"] == f"Shown from {low:.4g} (black) to {high:.4g} (white)."
        for z, encoded in enumerate(contrast["slices"]):
            seen_from_the_feet = image[::-1, ::-1, z].T  # the right on the left, the front at the top
            expected = 255 * np.clip((seen_from_the_feet - low) / (high - low), 0, 1)
            np.testing.assert_allclose(np.asarray(pixels(encoded)), expected, atol=0.51)


def test_maps_and_contours_lie_on_the_image(parse: Callable, pixels: Callable, volume_case: ReportCase) -> None:
    for shown, region in zip(parse(volume_case).content["regions"], volume_case.regions):
        assert shown["name"] == region.name
        for part in ("probability", "uncertainty"):
            for z, encoded in enumerate(shown[part]):
                expected = getattr(region, part)[::-1, ::-1, z].T
                levels = np.asarray(pixels(encoded)) if encoded else np.zeros((10, 14))
                np.testing.assert_allclose(levels / 255, expected, atol=0.51 / 255)
    outer = parse(volume_case).content["regions"][0]
    # Voxels X 3 to 5 and Y 2 to 5 of 14 x 10, mirrored: columns 8 to 10, rows 4 to 7.
    assert outer["contours"] == ["", "", "", "M8 4h3v4h-3z", "M5 3h7v6h-7z", ""]


def test_the_first_slice_is_the_one_with_the_largest_section(
    parse: Callable, volume_case: ReportCase, empty_case: ReportCase
) -> None:
    assert parse(volume_case).content["start"] == 4
    page = parse(empty_case)
    assert page.content["start"] == 2
    assert "Nothing was found: lesion is empty. The middle slice is shown." in page.text()


def test_regions_that_were_not_found_are_named(parse: Callable) -> None:
    case = picture_case(regions=[*picture_case().regions, ReportRegion("cup", np.zeros((12, 8)))])
    assert "Found: disc. Not found: cup." in parse(case).text()
    assert "Nothing was found" not in parse(case).text()


def test_measurements_and_facts_are_in_the_page_without_scripts(parse: Callable, volume_case: ReportCase) -> None:
    page = parse(volume_case)
    assert page.text("th") == "Measurement Value Unit 90 % interval outer volume outer diameter"
    cells = [text for tag, text in page.texts if tag == "td"]
    assert cells == ["12.3", "mL", "11.0 to 13.5", "not available", "mm", "not available"]
    names, values = ([text for tag, text in page.texts if tag == kind][-6:] for kind in ("dt", "dd"))
    assert dict(zip(names, values)) == {
        "Bundle": "brats_mri_medsegdiff 0.3.0",
        "Steps": "4",
        "Members": "5",
        "Seed": "0",
        "Image size": "14 x 10 x 6",
        "Spacing": "1 x 2 x 1.5 mm",
    }


def test_an_uncertainty_above_one_bit_widens_its_scale(parse: Callable, pixels: Callable) -> None:
    doubt = np.linspace(0.0, 1.6, 96).reshape(12, 8)
    case = picture_case(regions=[ReportRegion("disc", np.ones((12, 8), bool), uncertainty=doubt)])
    page = parse(case)
    levels = np.asarray(pixels(page.content["regions"][0]["uncertainty"][0]))
    np.testing.assert_allclose(levels / 255 * 1.6, doubt.T, atol=0.51 / 255 * 1.6)
    assert "Uncertainty from 0 (dark) to 1.6 bits (bright)" in [image["alt"] for image in page.all("img")]


def test_controls_are_there_only_for_what_can_be_chosen(parse: Callable, volume_case: ReportCase) -> None:
    plain, rich = parse(picture_case()), parse(volume_case)
    named = {element.get("id") for _, element in rich.elements}
    assert {"contours", "probability", "uncertainty", "opacity", "map-region", "slice"} <= named
    named = {element.get("id") for _, element in plain.elements}
    assert "contours" in named
    assert not {"probability", "uncertainty", "opacity", "map-region", "slice"} & named
    assert [e["value"] for e in rich.all("input") if e.get("name") == "contrast"] == ["0", "1"]
    assert not [e for e in plain.all("input") if e.get("name") == "contrast"]


@pytest.mark.parametrize("place", ["title", "contrast", "region", "measurement", "unit", "fact", "value"])
def test_text_from_outside_stays_text(parse: Callable, place: str) -> None:
    plain = parse(_case_with_texts())
    page = parse(_case_with_texts(**{place: EVIL}))
    assert [tag for tag, _ in page.elements] == [tag for tag, _ in plain.elements]
    assert EVIL in page.text()
    for part in ("contrast", "region"):
        assert page.content[f"{part}s"][0]["name"] == (EVIL if place == part else "x")


def _case_with_texts(**texts: str) -> ReportCase:
    given = dict.fromkeys(("title", "contrast", "region", "measurement", "unit", "fact", "value"), "x") | texts
    case = picture_case()
    image, mask = case.images["fundus"], case.regions[0].mask
    return ReportCase(
        given["title"],
        {given["contrast"]: image, "second": image},
        [ReportRegion(given["region"], mask), ReportRegion("second", mask)],
        measurements=[Measurement(given["measurement"], "area", given["unit"], 1.0)],
        facts={given["fact"]: given["value"]},
    )


def test_text_that_utf_8_cannot_hold_is_written(tmp_path: Path) -> None:
    write_report(tmp_path / "r.html", picture_case(title="Jos\udce9"))
    assert "Jos&#56553;" in (tmp_path / "r.html").read_bytes().decode("utf-8")


def test_the_page_needs_nothing_from_elsewhere(parse: Callable, volume_case: ReportCase) -> None:
    page = parse(volume_case)
    assert not re.search(r"https?:|//[a-z]|@import|url\(|fetch\(|XMLHttpRequest|import\(|\bimport\s", page.html)
    for tag, attributes in page.elements:
        for name in ("src", "href", "srcset", "action", "data", "style"):
            assert attributes.get(name, "data:").startswith("data:"), (tag, name)
    assert {"script", "style", "img"} <= {tag for tag, _ in page.elements}
    assert not {"iframe", "object", "embed", "base"} & {tag for tag, _ in page.elements}


def test_the_policy_allows_the_scripts_and_styles_of_the_page_only(parse: Callable, volume_case: ReportCase) -> None:
    page = parse(volume_case)
    policy = next(e["content"] for e in page.all("meta") if e.get("http-equiv") == "Content-Security-Policy")
    rules = {rule.split()[0]: rule.split()[1:] for rule in policy.split(";")}
    assert rules["default-src"] == ["'none'"]
    assert rules["img-src"] == ["data:"]
    for tag, rule in (("style", "style-src"), ("script", "script-src")):
        text = [t for name, t in page.texts if name == tag][-1]
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert rules[rule] == [f"'sha256-{digest}'"]


def test_the_same_case_gives_the_same_bytes(tmp_path: Path, volume_case: ReportCase) -> None:
    write_report(tmp_path / "new" / "a.html", volume_case)
    write_report(tmp_path / "b.html", volume_case)
    assert (tmp_path / "new" / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()


def test_an_earlier_report_survives_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "r.html"
    write_report(path, picture_case())
    before = path.read_bytes()

    def fill_the_disk(self: Path, data: bytes) -> None:
        with self.open("wb") as file:
            file.write(data[:100])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", fill_the_disk)
    with pytest.raises(InputError, match="No space left on device"):
        write_report(path, picture_case(title="another"))
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["r.html"]


def test_other_suffixes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"must be named \*.html"):
        write_report(tmp_path / "report.txt", picture_case())


def test_a_volume_of_brats_size_stays_small(tmp_path: Path) -> None:
    rng = np.random.default_rng(6)
    inside = np.zeros((240, 240, 155), bool)
    inside[45:195, 30:210, 8:147] = True  # a head fills about two fifths of its volume
    image = np.where(inside, rng.normal(600.0, 60.0, inside.shape), 0.0).astype(np.float32)
    mask = np.zeros_like(inside)
    mask[60:130, 60:130, 40:100] = True
    probability = np.where(mask, rng.uniform(0.5, 1.0, mask.shape), 0.0).astype(np.float32)
    region = ReportRegion("WT", mask, probability, np.where(mask, 1 - probability, 0))
    write_report(tmp_path / "r.html", ReportCase("case", {"FLAIR": image}, [region], (1, 1, 1), "RAS"))
    assert (tmp_path / "r.html").stat().st_size < 25e6
