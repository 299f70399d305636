# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import html
from collections.abc import Sequence

from medsegdiff_monai.apps.report.case import ReportCase, ReportReliability
from medsegdiff_monai.apps.report.pictures import colour_bar, reliability_picture
from medsegdiff_monai.visualize import View

__all__ = [
    "PROBABILITY_COLOURS",
    "UNCERTAINTY_COLOURS",
    "contour_controls",
    "contrast_controls",
    "fact_list",
    "finding",
    "map_controls",
    "measurement_table",
    "reliability_section",
    "slice_control",
]

# Colour maps of even lightness that colour-blind readers can use, the same as in the overview figure.
PROBABILITY_COLOURS = "viridis"
UNCERTAINTY_COLOURS = "cividis"


def finding(case: ReportCase) -> str:
    """One sentence: which regions were found."""
    found = [region.name for region in case.regions if region.mask.any()]
    missing = [region.name for region in case.regions if not region.mask.any()]
    if not found:
        shown = " The middle slice is shown." if len(case.shape) == 3 else ""
        return f"Nothing was found: {_listed(missing)} {'is' if len(missing) == 1 else 'are'} empty.{shown}"
    start = " The slice with the largest section is shown first." if len(case.shape) == 3 else ""
    return f"Found: {_listed(found)}.{f' Not found: {_listed(missing)}.' if missing else ''}{start}"


def contrast_controls(case: ReportCase) -> str:
    """A choice of the contrast, where there are several."""
    if len(case.images) == 1:
        return ""
    choices = []
    for i, name in enumerate(case.images):
        key = f" <kbd>{i + 1}</kbd>" if i < 9 else ""
        checked = " checked" if i == 0 else ""
        choices.append(
            f'<label><input type="radio" name="contrast" value="{i}"{checked}> {html.escape(name)}{key}</label>'
        )
    return _fieldset("Contrast", *choices)


def contour_controls(case: ReportCase) -> str:
    """The legend of the contours, whose entries turn them on and off."""
    whole = '<label><input type="checkbox" id="contours" checked> All contours <kbd>C</kbd></label>'
    return _fieldset("Contours", whole, *(_region_entry(i, case) for i in range(len(case.regions))))


def _region_entry(index: int, case: ReportCase) -> str:
    region, colour = case.regions[index], case.colours[index]
    dashes = " ".join(str(n) for n in case.dashes[index])
    swatch = (
        '<svg class="swatch" viewBox="0 0 40 14" aria-hidden="true"><rect width="40" height="14" rx="2" fill="#222"/>'
        f'<path d="M4 7h32" stroke="{colour}" stroke-width="3" stroke-dasharray="{dashes or "none"}"/></svg>'
    )
    note = "" if region.mask.any() else ' <span class="note">not found</span>'
    return (
        f'<label class="inner"><input type="checkbox" class="region" value="{index}" checked> {swatch} '
        f"{html.escape(region.name)}{note}</label>"
    )


def map_controls(case: ReportCase, top: float) -> str:
    """Maps over the image: which one, of which region, how opaque, and their colour bars; ``top`` is in bits."""
    parts = []
    if any(region.probability is not None for region in case.regions):
        parts.append(_map_entry("probability", "Probability", "P", PROBABILITY_COLOURS, 1.0, ""))
    if any(region.uncertainty is not None for region in case.regions):
        parts.append(_map_entry("uncertainty", "Uncertainty", "U", UNCERTAINTY_COLOURS, top, "bits"))
    if not parts:
        return ""
    if len(case.regions) > 1:
        options = "".join(f'<option value="{i}">{html.escape(r.name)}</option>' for i, r in enumerate(case.regions))
        parts.append(f'<label>of the region <kbd>R</kbd> <select id="map-region">{options}</select></label>')
    parts.append(
        '<label>Opacity <input type="range" id="opacity" min="0" max="100" value="60" '
        'aria-describedby="opacity-value"> <output id="opacity-value" for="opacity">60 %</output></label>'
    )
    parts.append('<p class="note" id="map-note" aria-live="polite"></p>')
    return _fieldset("Map over the image (one at a time)", *parts)


def _map_entry(name: str, label: str, key: str, colours: str, top: float, unit: str) -> str:
    ticks = "".join(f"<span>{v:.3g}</span>" for v in (0.0, top / 2, top))
    last = f"<span>{unit}</span>" if unit else ""
    described = f"{label} from 0 (dark) to {top:.3g} {unit}".strip()
    return (
        f'<div class="map"><label><input type="checkbox" id="{name}"> {label} <kbd>{key}</kbd></label>'
        f'<div class="bar"><img src="data:image/png;base64,{colour_bar(colours)}" alt="{described} (bright)">'
        f'<div class="ticks" aria-hidden="true">{ticks}</div></div>{last}</div>'
    )


def slice_control(view: View) -> str:
    """The slider through the slices of a volume."""
    if view.plane.through is None:
        return ""
    return (
        '<label for="slice">Slice <kbd>&uarr;</kbd> <kbd>&darr;</kbd></label>'
        f'<input type="range" id="slice" min="1" max="{view.count}">'
        '<output id="slice-value" for="slice"></output>'
    )


def measurement_table(case: ReportCase) -> str:
    """The measurements, a row for each."""
    if not case.measurements:
        return "<p>No measurements were made.</p>"
    rows = [(m.name, m.shown_value, m.unit, m.shown_interval) for m in case.measurements]
    return _table(("Measurement", "Value", "Unit", "90 % interval"), rows, ("number", "unit", "number"))


def reliability_section(reliability: ReportReliability | None) -> str:
    """The reliability diagram with its sentence and its table, or nothing where nothing is known."""
    if reliability is None:
        return ""
    bins = reliability.bins
    points = list(zip(bins.count, bins.confidence, bins.frequency, strict=True))
    total = sum(bins.count)
    gap = sum(n * abs(c - f) for n, c, f in points if c is not None and f is not None) / total if total else 0.0
    described = (
        "Reliability diagram. Mean probability of voxels from left to right, share of them in the reference from "
        "bottom to top; on the dotted line probabilities come true as often as they say. On average they miss it by "
        f"{100 * gap:.1f} percentage points. Below are the numbers of voxels, and a table of all numbers."
    )
    rows = [
        (f"{i / len(points):.2f} to {(i + 1) / len(points):.2f}", _share(c), _share(f), f"{n:.0f}")
        for i, (n, c, f) in enumerate(points)
    ]
    table = _table(("Probability", "Mean probability", "Came true", "Voxels"), rows, ("number",) * 3)
    cases = f"{reliability.cases} {reliability.section} case{'' if reliability.cases == 1 else 's'}"
    source = f"data:image/png;base64,{reliability_picture(reliability)}"
    return (
        f"<h3>Reliability</h3><p>How often probabilities came true on {cases} ({reliability.settings}).</p>"
        f'<img class="reliability" src="{source}" alt="{described}">'
        f"<details><summary>The diagram as a table</summary>{table}</details>"
    )


def _share(value: float | None) -> str:
    return "none" if value is None else f"{value:.3f}"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]], classes: Sequence[str]) -> str:
    """A table whose first column names the rows; the classes are those of the other ones."""
    head = "".join(f'<th scope="col">{name}</th>' for name in heads)
    body = ""
    for name, *cells in rows:
        shown = "".join(f'<td class="{kind}">{html.escape(cell)}</td>' for kind, cell in zip(classes, cells))
        body += f'<tr><th scope="row">{html.escape(name)}</th>{shown}</tr>'
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def fact_list(case: ReportCase) -> str:
    """Facts of the segmentation and its grid."""
    grid = {"Image size": " x ".join(str(n) for n in case.shape)}
    if case.spacing is not None:
        grid["Spacing"] = " x ".join(f"{s:.4g}" for s in case.spacing) + " mm"
    facts = {**{name: str(value) for name, value in case.facts.items()}, **grid}
    return f"<dl>{''.join(f'<dt>{html.escape(k)}</dt><dd>{html.escape(v)}</dd>' for k, v in facts.items())}</dl>"


def _listed(names: list[str]) -> str:
    return html.escape(", ".join(names))


def _fieldset(legend: str, *parts: str) -> str:
    return f"<fieldset><legend>{legend}</legend>{''.join(parts)}</fieldset>"
