# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import base64
import hashlib
import html
import json
import os
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any

import numpy as np

from medsegdiff_monai.apps.report import fragments
from medsegdiff_monai.apps.report.case import ReportCase, ReportRegion
from medsegdiff_monai.apps.report.pictures import grey_levels, map_levels, map_picture, outline, picture
from medsegdiff_monai.utils import InputError, check_writable, replace_atomically
from medsegdiff_monai.visualize import Plane, View, display_window, largest_view

__all__ = ["write_report"]

_SCRIPTS = ("picture.js", "viewer.js", "controls.js")


def write_report(path: str | os.PathLike[str], case: ReportCase) -> None:
    """Write the report of a case as one HTML file that needs nothing else and fetches nothing.

    Grey levels are shown between two values that the page states, see
    :func:`medsegdiff_monai.visualize.display_window`. The same case gives the same bytes.

    Args:
        path: file to write, named ``*.html``; its folder is made where it is missing.
        case: content of the report.

    Raises:
        InputError: when the file has another suffix or cannot be written.
    """
    target = Path(path)
    if target.suffix.lower() != ".html":
        raise InputError(f"The report {target} must be named *.html: choose such a name.")
    check_writable(target.parent)
    # Text that UTF-8 cannot hold (a lone surrogate of a badly decoded attribute) becomes a character reference.
    page = _page(case).encode("utf-8", errors="xmlcharrefreplace")
    replace_atomically(target, lambda partial: partial.write_bytes(page))


def _page(case: ReportCase) -> str:
    view = largest_view(np.any([region.mask != 0 for region in case.regions], axis=0), case.spacing, case.frame)
    top = max([1.0, *(float(r.uncertainty.max()) for r in case.regions if r.uncertainty is not None)])
    style, script = _asset("report.css"), "".join(_asset(name) for name in _SCRIPTS)
    return Template(_asset("page.html")).substitute(
        title=html.escape(case.title),
        finding=fragments.finding(case),
        contrasts=fragments.contrast_controls(case),
        contours=fragments.contour_controls(case),
        maps=fragments.map_controls(case, top),
        slice_control=fragments.slice_control(view),
        caption=html.escape(view.plane.caption),
        measurements=fragments.measurement_table(case),
        reliability=fragments.reliability_section(case.reliability),
        facts=fragments.fact_list(case),
        style=style,
        style_hash=_hash(style),
        script=script,
        script_hash=_hash(script),
        content=_embedded(_content(case, view, top)),
    )


def _content(case: ReportCase, view: View, top: float) -> dict[str, Any]:
    """Data that the scripts draw from: pictures as PNG in base64 and contours as SVG paths, slice by slice."""
    plane, spacing = view.plane, case.spacing
    return {
        "slices": view.count,
        "rows": case.shape[plane.down],
        "columns": case.shape[plane.across],
        "pixelWidth": 1.0 if spacing is None else float(spacing[plane.across]),
        "pixelHeight": 1.0 if spacing is None else float(spacing[plane.down]),
        "inMillimetres": spacing is not None,
        "letters": plane.letters,
        "start": view.number,
        "contrasts": [_contrast(name, image, plane) for name, image in case.images.items()],
        "regions": [
            {**_region(region, plane, top), "colour": colour, "dashes": dashes}
            for region, colour, dashes in zip(case.regions, case.colours, case.dashes)
        ],
    }


def _contrast(name: str, image: np.ndarray, plane: Plane) -> dict[str, Any]:
    window = display_window(image)
    shown = f"Shown from {window[0]:.4g} (black) to {window[1]:.4g} (white)."
    return {
        "name": name,
        "display": "Shown as stored." if image.dtype == np.uint8 else shown,
        "slices": [picture(levels) for levels in plane.slices(grey_levels(image, window))],
    }


def _region(region: ReportRegion, plane: Plane, top: float) -> dict[str, Any]:
    scales = {
        "probability": (region.probability, 1.0, fragments.PROBABILITY_COLOURS),
        "uncertainty": (region.uncertainty, top, fragments.UNCERTAINTY_COLOURS),
    }
    return {
        "name": region.name,
        "contours": [outline(section) for section in plane.slices(region.mask != 0)],
        **{
            name: None if values is None else [map_picture(m, colours) for m in plane.slices(map_levels(values, most))]
            for name, (values, most, colours) in scales.items()
        },
    }


def _embedded(content: dict[str, Any]) -> str:
    """JSON for a script element, in which no text can end the element or begin another one."""
    text = json.dumps(content, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _asset(name: str) -> str:
    """A file of the page without the notice above its first empty line, which would name an address in each page."""
    return (resources.files(__package__) / "assets" / name).read_text(encoding="utf-8").partition("\n\n")[2]


def _hash(text: str) -> str:
    """Hash by which the page's content security policy knows an element of its own."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")
