# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

import base64
import hashlib
import json
from collections.abc import Sequence
from html import escape
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any

import numpy as np
from monai.config import PathLike

from medsegdiff_monai.utils import InputError, check_writable, replace_atomically
from medsegdiff_monai.visualize import View, display_window, largest_view

from .case import ReportCase, ReportReliability
from .pictures import colour_bar, grey_levels, map_levels, map_picture, outline, picture, reliability_picture

__all__ = ["write_report"]

# Colour maps of even lightness that colour-blind readers can use, the same as in the overview figure.
_PROBABILITY_COLOURS, _UNCERTAINTY_COLOURS = "viridis", "cividis"


def write_report(path: PathLike, case: ReportCase) -> None:
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
    style, script = _asset("report.css"), "".join(_asset(f"{name}.js") for name in ("picture", "viewer", "controls"))
    content = json.dumps(_content(case, view, top), separators=(",", ":"), allow_nan=False)
    return Template(_asset("page.html")).substitute(
        title=escape(case.title),
        finding=_finding(case),
        contrasts=_contrast_controls(case),
        contours=_contour_controls(case),
        maps=_map_controls(case, top),
        slice_control=_slice_control(view),
        caption=escape(view.plane.caption),
        measurements=_measurement_table(case),
        reliability=_reliability_section(case.reliability) if case.reliability else "",
        facts=_fact_list(case),
        style=style,
        style_hash=_hash(style),
        script=script,
        script_hash=_hash(script),
        # No text can end the script element or begin another one.
        content=content.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"),
    )


def _asset(name: str) -> str:
    """A file of the page without the notice above its first empty line, which would name an address in each page."""
    return (resources.files(__package__) / "assets" / name).read_text(encoding="utf-8").partition("\n\n")[2]


def _hash(text: str) -> str:
    """Hash by which the page's content security policy knows an element of its own."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")


def _content(case: ReportCase, view: View, top: float) -> dict[str, Any]:
    """Data that the scripts draw from: pictures as PNG in base64 and contours as SVG paths, slice by slice."""
    plane, spacing = view.plane, case.spacing

    def contrast(name: str, image: np.ndarray) -> dict[str, Any]:
        window = display_window(image)
        shown = f"Shown from {window[0]:.4g} (black) to {window[1]:.4g} (white)."
        return {
            "name": name,
            "display": "Shown as stored." if image.dtype == np.uint8 else shown,
            "slices": [picture(levels) for levels in plane.slices(grey_levels(image, window))],
        }

    def maps(values: np.ndarray | None, most: float, colours: str) -> list[str] | None:
        if values is None:
            return None
        return [map_picture(levels, colours) for levels in plane.slices(map_levels(values, most))]

    return {
        "slices": view.count,
        "rows": case.shape[plane.down],
        "columns": case.shape[plane.across],
        "pixelWidth": 1.0 if spacing is None else float(spacing[plane.across]),
        "pixelHeight": 1.0 if spacing is None else float(spacing[plane.down]),
        "inMillimetres": spacing is not None,
        "letters": plane.letters,
        "start": view.number,
        "contrasts": [contrast(name, image) for name, image in case.images.items()],
        "regions": [
            {
                "name": region.name,
                "contours": [outline(section) for section in plane.slices(region.mask != 0)],
                "probability": maps(region.probability, 1.0, _PROBABILITY_COLOURS),
                "uncertainty": maps(region.uncertainty, top, _UNCERTAINTY_COLOURS),
                "colour": colour,
                "dashes": dashes,
            }
            for region, colour, dashes in zip(case.regions, case.colours, case.dashes)
        ],
    }


def _finding(case: ReportCase) -> str:
    """One sentence: which regions were found."""
    found = [escape(region.name) for region in case.regions if region.mask.any()]
    missing = [escape(region.name) for region in case.regions if not region.mask.any()]
    shown = "The slice with the largest section is shown first." if found else "The middle slice is shown."
    if not found:
        sentences = [f"Nothing was found: {', '.join(missing)} {'is' if len(missing) == 1 else 'are'} empty."]
    else:
        sentences = [f"Found: {', '.join(found)}."] + ([f"Not found: {', '.join(missing)}."] if missing else [])
    return " ".join([*sentences, *([shown] if len(case.shape) == 3 else [])])


def _contrast_controls(case: ReportCase) -> str:
    """A choice of the contrast, where there are several."""
    if len(case.images) == 1:
        return ""
    choices = []
    for i, name in enumerate(case.images):
        key = f" <kbd>{i + 1}</kbd>" if i < 9 else ""
        checked = " checked" if i == 0 else ""
        choices.append(f'<label><input type="radio" name="contrast" value="{i}"{checked}> {escape(name)}{key}</label>')
    return _fieldset("Contrast", *choices)


def _contour_controls(case: ReportCase) -> str:
    """The legend of the contours, whose entries turn them on and off."""
    entries = ['<label><input type="checkbox" id="contours" checked> All contours <kbd>C</kbd></label>']
    for i, (region, colour, lengths) in enumerate(zip(case.regions, case.colours, case.dashes)):
        dashes = " ".join(str(n) for n in lengths) or "none"
        note = "" if region.mask.any() else ' <span class="note">not found</span>'
        entries.append(
            f'<label class="inner"><input type="checkbox" class="region" value="{i}" checked> '
            '<svg class="swatch" viewBox="0 0 40 14" aria-hidden="true"><rect width="40" height="14" rx="2" '
            f'fill="#222"/><path d="M4 7h32" stroke="{colour}" stroke-width="3" stroke-dasharray="{dashes}"/></svg> '
            f"{escape(region.name)}{note}</label>"
        )
    return _fieldset("Contours", *entries)


def _map_controls(case: ReportCase, top: float) -> str:
    """Maps over the image: which one, of which region, how opaque, and their colour bars; ``top`` is in bits."""
    parts = []
    if any(region.probability is not None for region in case.regions):
        parts.append(_map_entry("probability", _PROBABILITY_COLOURS, 1.0, ""))
    if any(region.uncertainty is not None for region in case.regions):
        parts.append(_map_entry("uncertainty", _UNCERTAINTY_COLOURS, top, "bits"))
    if not parts:
        return ""
    if len(case.regions) > 1:
        options = "".join(f'<option value="{i}">{escape(r.name)}</option>' for i, r in enumerate(case.regions))
        parts.append(f'<label>of the region <kbd>R</kbd> <select id="map-region">{options}</select></label>')
    parts.append(
        '<label>Opacity <input type="range" id="opacity" min="0" max="100" value="60" '
        'aria-describedby="opacity-value"> <output id="opacity-value" for="opacity">60 %</output></label>'
    )
    parts.append('<p class="note" id="map-note" aria-live="polite"></p>')
    return _fieldset("Map over the image (one at a time)", *parts)


def _map_entry(name: str, colours: str, top: float, unit: str) -> str:
    label = name.capitalize()
    ticks = "".join(f"<span>{v:.3g}</span>" for v in (0.0, top / 2, top))
    last = f"<span>{unit}</span>" if unit else ""
    described = f"{label} from 0 (dark) to {top:.3g} {unit}".strip()
    return (
        f'<div class="map"><label><input type="checkbox" id="{name}"> {label} <kbd>{label[0]}</kbd></label>'
        f'<div class="bar"><img src="data:image/png;base64,{colour_bar(colours)}" alt="{described} (bright)">'
        f'<div class="ticks" aria-hidden="true">{ticks}</div></div>{last}</div>'
    )


def _slice_control(view: View) -> str:
    """The slider through the slices of a volume."""
    if view.plane.through is None:
        return ""
    return (
        '<label for="slice">Slice <kbd>&uarr;</kbd> <kbd>&darr;</kbd></label>'
        f'<input type="range" id="slice" min="1" max="{view.count}">'
        '<output id="slice-value" for="slice"></output>'
    )


def _measurement_table(case: ReportCase) -> str:
    """The measurements, a row for each."""
    if not case.measurements:
        return "<p>No measurements were made.</p>"
    rows = [(m.name, m.shown_value, m.unit, m.shown_interval) for m in case.measurements]
    return _table(("Measurement", "Value", "Unit", "90 % interval"), rows, ("number", "unit", "number"))


def _reliability_section(reliability: ReportReliability) -> str:
    """The reliability diagram with its sentence and its table."""
    bins = reliability.bins
    points = list(zip(bins.count, bins.confidence, bins.frequency, strict=True))
    total = sum(bins.count)
    gap = sum(n * abs(c - f) for n, c, f in points if c is not None and f is not None) / total if total else 0.0
    described = (
        "Reliability diagram. Mean probability of voxels from left to right, share of them in the reference from "
        "bottom to top; on the dotted line probabilities come true as often as they say. On average they miss it by "
        f"{100 * gap:.1f} percentage points. Below are the numbers of voxels, and a table of all numbers."
    )
    rows = []
    for i, (n, *shares) in enumerate(points):
        shown = ["none" if share is None else f"{share:.3f}" for share in shares]
        rows.append((f"{i / len(points):.2f} to {(i + 1) / len(points):.2f}", *shown, f"{n:.0f}"))
    table = _table(("Probability", "Mean probability", "Came true", "Voxels"), rows, ("number",) * 3)
    cases = f"{reliability.cases} {reliability.section} case{'' if reliability.cases == 1 else 's'}"
    source = f"data:image/png;base64,{reliability_picture(reliability)}"
    return (
        f"<h3>Reliability</h3><p>How often probabilities came true on {cases} ({reliability.settings}).</p>"
        f'<img class="reliability" src="{source}" alt="{described}">'
        f"<details><summary>The diagram as a table</summary>{table}</details>"
    )


def _fact_list(case: ReportCase) -> str:
    """Facts of the segmentation and its grid."""
    facts = {**case.facts, "Image size": " x ".join(str(n) for n in case.shape)}
    if case.spacing is not None:
        facts["Spacing"] = " x ".join(f"{s:.4g}" for s in case.spacing) + " mm"
    entries = (f"<dt>{escape(name)}</dt><dd>{escape(str(value))}</dd>" for name, value in facts.items())
    return f"<dl>{''.join(entries)}</dl>"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]], classes: Sequence[str]) -> str:
    """A table whose first column names the rows; the classes are those of the other ones."""
    head = "".join(f'<th scope="col">{name}</th>' for name in heads)
    body = ""
    for name, *cells in rows:
        shown = "".join(f'<td class="{kind}">{escape(cell)}</td>' for kind, cell in zip(classes, cells))
        body += f'<tr><th scope="row">{escape(name)}</th>{shown}</tr>'
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _fieldset(legend: str, *parts: str) -> str:
    return f"<fieldset><legend>{legend}</legend>{''.join(parts)}</fieldset>"
