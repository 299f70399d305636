# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import base64
import io
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from medsegdiff_monai.apps.report import ReportCase, ReportRegion, write_report
from medsegdiff_monai.measurements import Measurement

# Elements of HTML that have no end tag.
_VOID = {"meta", "link", "input", "img", "br", "hr"}


@dataclass
class ParsedPage(HTMLParser):
    """A page as a browser's parser sees it: elements with their attributes, and the text within them."""

    html: str
    elements: list[tuple[str, dict[str, str | None]]] = field(default_factory=list)
    texts: list[tuple[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._open: list[str] = []
        self.feed(self.html)
        self.close()
        assert not self._open, f"left open: {self._open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in _VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open:
            self.texts.append((self._open[-1], data))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        """Attributes of every element of a kind."""
        return [attributes for name, attributes in self.elements if name == tag]

    def text(self, *tags: str) -> str:
        """Text directly within elements of these kinds; within all but scripts and styles where none is given."""
        return " ".join(t for tag, t in self.texts if (tag in tags if tags else tag not in ("script", "style")))

    @property
    def content(self) -> dict[str, Any]:
        """What the scripts draw from."""
        return json.loads(next(t for tag, t in self.texts if tag == "script"))


def _pixels(base64_png: str) -> Image.Image:
    image = Image.open(io.BytesIO(base64.b64decode(base64_png, validate=True)))
    image.load()
    assert image.format == "PNG"
    return image


@pytest.fixture(scope="session")
def pixels() -> Callable[[str], Image.Image]:
    """Decodes a picture of the page."""
    return _pixels


@pytest.fixture
def parse(tmp_path: Path) -> Callable[[ReportCase], ParsedPage]:
    """Writes the report of a case and reads it back."""

    def write_and_read(case: ReportCase) -> ParsedPage:
        write_report(tmp_path / "report.html", case)
        return ParsedPage((tmp_path / "report.html").read_text(encoding="utf-8"))

    return write_and_read


@pytest.fixture(scope="session")
def volume_case() -> ReportCase:
    """A volume of 14 x 10 x 6 voxels in two contrasts with two regions, both largest at Z = 4."""
    rng = np.random.default_rng(3)
    outer, inner = np.zeros((14, 10, 6), bool), np.zeros((14, 10, 6), bool)
    outer[3:6, 2:6, 3], outer[2:9, 1:7, 4] = True, True
    inner[4:7, 3:5, 4] = True
    regions = [
        ReportRegion(
            name,
            mask,
            np.where(mask, rng.uniform(0.5, 1.0, mask.shape), rng.uniform(0.0, 0.02, mask.shape)).astype(np.float32),
            np.where(mask, rng.uniform(0.1, 1.0, mask.shape), 0.0).astype(np.float32),
        )
        for name, mask in (("outer", outer), ("inner", inner))
    ]
    images = {name: rng.normal(500.0, 200.0, outer.shape).astype(np.float32) for name in ("FLAIR", "T1w")}
    measurements = [
        Measurement("outer", "volume", "mL", 12.34, 11.0, 13.5),
        Measurement("outer", "diameter", "mm"),
    ]
    facts = {"Bundle": "brats_mri_medsegdiff 0.3.0", "Steps": 4, "Members": 5, "Seed": 0}
    return ReportCase("case 7", images, regions, (1.0, 2.0, 1.5), "RAS", measurements, facts)


@pytest.fixture(scope="session")
def empty_case() -> ReportCase:
    """A volume in which nothing was found."""
    nothing = np.zeros((8, 8, 5), bool)
    return ReportCase("case 8", {"CT": np.arange(320.0).reshape(8, 8, 5)}, [ReportRegion("lesion", nothing)])


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A headless Chromium; tests that need it are skipped where it is not installed."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    binary, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if binary is None or driver is None:
        pytest.skip("no chromium with chromedriver: install the packages chromium and chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    switches = "headless no-sandbox disable-gpu disable-quic no-first-run disable-background-networking"
    for switch in (*switches.split(), "disable-component-update", "disable-sync", "window-size=1280,900"):
        options.add_argument(f"--{switch}")
    options.add_argument(f"--user-data-dir={tmp_path_factory.mktemp('browser')}")
    service = webdriver.ChromeService(executable_path=driver)
    running = webdriver.Chrome(options=options, service=service)
    yield running
    running.quit()
