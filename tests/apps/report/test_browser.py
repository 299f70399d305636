# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from medsegdiff_monai.apps.report import ReportCase, ReportRegion, write_report

pytest.importorskip("selenium", reason="selenium is not installed")

from selenium.webdriver import ActionChains, Keys
from selenium.webdriver.common.actions.wheel_input import ScrollOrigin
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait


class Report:
    """A report in the browser."""

    def __init__(self, browser: Any, path: Path) -> None:
        self.browser = browser
        browser.get_log("browser")  # of earlier pages
        browser.get(path.as_uri())
        self.wait(lambda: "drawn" not in self.description)

    def wait(self, condition: Callable[[], bool]) -> None:
        WebDriverWait(self.browser, 60).until(lambda _: condition())

    def find(self, id_: str) -> Any:
        return self.browser.find_element(By.ID, id_)

    @property
    def description(self) -> str:
        return self.find("picture").get_attribute("aria-label")

    @property
    def focused(self) -> str:
        return self.browser.switch_to.active_element.get_attribute("id")

    @property
    def canvas(self) -> np.ndarray:
        """Pixels of the canvas, ``(rows, columns, 3)``."""
        data = self.browser.execute_script("return document.getElementById('picture').toDataURL('image/png')")
        return np.asarray(Image.open(io.BytesIO(base64.b64decode(data.partition(",")[2]))).convert("RGB")).astype(int)

    def press(self, *keys: str) -> None:
        ActionChains(self.browser).send_keys(*keys).perform()

    def wait_for_slice(self, number: int) -> None:
        self.wait(lambda: f"slice {number} of" in self.description)

    def wait_for_change(self, before: np.ndarray) -> np.ndarray:
        self.wait(lambda: not np.array_equal(self.canvas, before))
        return self.canvas


@pytest.fixture
def report(browser: Any, tmp_path: Path, volume_case: ReportCase) -> Report:
    write_report(tmp_path / "report.html", volume_case)
    return Report(browser, tmp_path / "report.html")


def close_to(pixels: np.ndarray, colour: str, tolerance: int = 12) -> np.ndarray:
    rgb = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    return np.abs(pixels - rgb).max(axis=-1) <= tolerance


def test_the_page_loads_from_a_file_without_a_complaint(report: Report) -> None:
    assert report.browser.current_url.startswith("file:")
    assert report.browser.get_log("browser") == []
    assert report.browser.execute_script("return performance.getEntriesByType('resource').map(e => e.name)") in (
        [],
        ["data:,"],
    )
    screenshot = np.asarray(Image.open(io.BytesIO(report.browser.get_screenshot_as_png())).convert("RGB"))
    assert screenshot.std() > 20
    assert report.description.startswith("FLAIR, slice 5 of 6.")
    assert report.description.endswith("Contours: outer, inner.")
    assert report.find("slice-value").text == "5 of 6"


def test_arrow_keys_walk_through_the_slices_and_stop_at_the_ends(report: Report) -> None:
    before = report.canvas
    report.press(Keys.ARROW_UP)
    report.wait_for_slice(6)
    assert not np.array_equal(report.canvas, before)
    report.press(Keys.ARROW_RIGHT)
    report.press(Keys.ARROW_DOWN, Keys.ARROW_LEFT)
    report.wait_for_slice(4)
    assert report.find("slice").get_attribute("value") == "4"
    report.press(Keys.HOME)
    report.wait_for_slice(1)
    report.press(Keys.PAGE_UP)
    report.wait_for_slice(6)
    assert "No contour here" in report.description


def test_the_wheel_and_the_slider_move_the_slice(report: Report) -> None:
    canvas = report.find("picture")
    ActionChains(report.browser).scroll_from_origin(ScrollOrigin.from_element(canvas), 0, 120).perform()
    report.wait_for_slice(4)
    ActionChains(report.browser).scroll_from_origin(ScrollOrigin.from_element(canvas), 0, -120).perform()
    report.wait_for_slice(5)
    report.find("slice").send_keys(Keys.ARROW_LEFT)
    report.wait_for_slice(4)


def test_contours_have_their_colours_and_can_be_turned_off(report: Report, volume_case: ReportCase) -> None:
    shown = report.canvas
    outer, inner = volume_case.colours
    assert close_to(shown, outer).sum() > 1000
    assert close_to(shown, inner).sum() > 150
    report.press("c")
    hidden = report.wait_for_change(shown)
    assert not report.find("contours").is_selected()
    for colour in (outer, inner):
        assert close_to(hidden, colour).sum() == 0
    report.find("contours").click()
    report.wait(lambda: np.array_equal(report.canvas, shown))
    report.browser.find_element(By.CSS_SELECTOR, '.region[value="1"]').click()
    without_inner = report.wait_for_change(shown)
    assert close_to(without_inner, inner).sum() == 0
    assert close_to(without_inner, outer).sum() > 1000


def test_the_contour_lies_where_the_mask_is(browser: Any, tmp_path: Path) -> None:
    mask = np.zeros((20, 10), bool)
    mask[4:9, 2:7] = True
    image = np.zeros((20, 10), np.uint8)
    write_report(tmp_path / "r.html", ReportCase("case", {"image": image}, [ReportRegion("r", mask)]))
    canvas = Report(browser, tmp_path / "r.html").canvas
    rows, columns = np.nonzero(close_to(canvas, "#E69F00"))
    height, width = canvas.shape[:2]
    scale = min(width / 20, height / 10)
    left, top = (width - 20 * scale) / 2, (height - 10 * scale) / 2
    assert [columns.min(), columns.max()] == pytest.approx([left + 4 * scale, left + 9 * scale], abs=2.5)
    assert [rows.min(), rows.max()] == pytest.approx([top + 2 * scale, top + 7 * scale], abs=2.5)


def test_maps_are_shown_one_at_a_time_with_their_opacity(report: Report) -> None:
    plain = report.canvas
    report.press("p")
    probability = report.wait_for_change(plain)
    report.press("u")
    uncertainty = report.wait_for_change(probability)
    assert not np.array_equal(uncertainty, plain)
    assert (report.find("probability").is_selected(), report.find("uncertainty").is_selected()) == (False, True)
    assert "Shown: uncertainty of outer." in report.find("map-note").text
    report.press("r")
    report.wait(lambda: "uncertainty of inner" in report.find("map-note").text)
    report.find("opacity").send_keys(Keys.HOME)
    assert report.find("opacity-value").text == "0 %"
    report.wait(lambda: np.array_equal(report.canvas, plain))
    report.press("u")
    report.wait(lambda: report.find("map-note").text == "")
    assert np.array_equal(report.canvas, plain)


def test_contrasts_are_chosen_by_number(report: Report) -> None:
    before = report.canvas
    report.press("2")
    report.wait(lambda: report.description.startswith("T1w"))
    assert not np.array_equal(report.canvas, before)
    report.press("9")  # there is none
    report.press("1")
    report.wait(lambda: report.description.startswith("FLAIR"))
    assert np.array_equal(report.canvas, before)


def test_zoom_and_fit(report: Report) -> None:
    before = report.canvas
    report.press("+", "+")
    larger = report.wait_for_change(before)
    report.press(Keys.TAB)  # to the image
    assert report.focused == "picture"
    ActionChains(report.browser).key_down(Keys.SHIFT).send_keys(Keys.ARROW_LEFT).key_up(Keys.SHIFT).perform()
    moved = report.wait_for_change(larger)
    assert "slice 5" in report.description
    ActionChains(report.browser).drag_and_drop_by_offset(report.find("picture"), 60, 40).perform()
    assert not np.array_equal(report.canvas, moved)
    report.press("f")
    report.wait(lambda: np.array_equal(report.canvas, before))


def test_single_keys_can_be_turned_off(report: Report) -> None:
    report.find("shortcuts").click()
    report.press("c", "p")
    assert report.find("contours").is_selected()
    assert not report.find("probability").is_selected()


def test_every_control_is_reached_by_the_tabulator_and_shows_its_focus(report: Report) -> None:
    reached = []
    for _ in range(15):  # as many as there are, a group of radio buttons counting as one
        report.press(Keys.TAB)
        outline = report.browser.execute_script("return getComputedStyle(document.activeElement).outlineStyle")
        assert outline == "solid", report.focused
        reached.append(report.focused)
    expected = ["picture", "slice", "contours", "probability", "uncertainty", "map-region", "opacity"]
    assert [id_ for id_ in reached if id_ in expected] == expected
    assert {"fit", "zoom-in", "zoom-out", "shortcuts"} <= set(reached)
    unnamed = report.browser.execute_script(
        "return [...document.querySelectorAll('input, select, button')]"
        ".filter(e => !(e.labels?.length || e.textContent.trim() || e.ariaLabel)).length"
    )
    assert unnamed == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_is_readable_in_light_and_dark(report: Report, scheme: str) -> None:
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    report.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    colours = report.browser.execute_script(
        "const s = getComputedStyle(document.documentElement);"
        "return ['page', 'panel', 'text', 'quiet', 'accent'].map(n => s.getPropertyValue('--' + n).trim())"
    )
    report.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    page, panel, text, quiet, accent = (_luminance(colour) for colour in colours)
    assert (page > text) == (scheme == "light")
    for ground in (page, panel):
        for ink in (text, quiet, accent):
            lighter, darker = max(ground, ink), min(ground, ink)
            assert (lighter + 0.05) / (darker + 0.05) >= 4.5  # WCAG 2.2, 1.4.3


def _luminance(colour: str) -> float:
    """Relative luminance of a colour ``#rrggbb`` by WCAG 2.2."""
    parts = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def test_a_script_in_a_title_does_not_run(browser: Any, tmp_path: Path, volume_case: ReportCase) -> None:
    evil = "<script>document.title = 'broken'</script><img src=x onerror=\"document.title = 'broken'\">"
    write_report(tmp_path / "r.html", replace(volume_case, title=evil, images={evil: volume_case.images["T1w"]}))
    report = Report(browser, tmp_path / "r.html")
    assert browser.title == evil
    assert browser.find_element(By.TAG_NAME, "h1").text == evil
    assert report.description.startswith(evil)
    assert browser.get_log("browser") == []


def test_nothing_found_is_said(browser: Any, tmp_path: Path, empty_case: ReportCase) -> None:
    write_report(tmp_path / "r.html", empty_case)
    report = Report(browser, tmp_path / "r.html")
    assert report.find("finding").text.startswith("Nothing was found")
    assert "slice 3 of 5" in report.description
    assert browser.get_log("browser") == []


def test_a_printed_page_has_the_image_and_the_tables_without_the_controls(report: Report) -> None:
    report.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    hidden = [report.find(id_).is_displayed() for id_ in ("slice", "fit", "contours", "probability", "opacity")]
    shown = [report.find(id_).is_displayed() for id_ in ("picture", "finding", "measurements-title", "facts-title")]
    report.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
    assert not any(hidden)
    assert all(shown)
