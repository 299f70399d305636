# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from medsegdiff_monai.metrics import ReliabilityBins

__all__ = ["ReportReliability", "reliability_diagram", "reliability_section"]

_LEFT, _TOP, _SIDE = 44, 8, 200  # of the plot, in units of the drawing


@dataclass(frozen=True)
class ReportReliability:
    """How often the probabilities of what made the report came true on other cases.

    Attributes:
        bins: what the diagram shows.
        cases: number of these cases.
        section: what they are called, as ``"validation"``.
        settings: with which settings they were segmented, as ``"4 steps, 5 members"``.
    """

    bins: ReliabilityBins
    cases: int
    section: str
    settings: str


def reliability_section(reliability: ReportReliability | None) -> str:
    """The diagram with its sentence and its table, or nothing where nothing is known."""
    if reliability is None:
        return ""
    cases = f"{reliability.cases} {reliability.section} case{'' if reliability.cases == 1 else 's'}"
    rows = "".join(
        f'<tr><th scope="row">{_span(i, len(reliability.bins.count))}</th><td class="number">{_share(confidence)}</td>'
        f'<td class="number">{_share(frequency)}</td><td class="number">{count:.0f}</td></tr>'
        for i, (count, confidence, frequency) in enumerate(_rows(reliability.bins))
    )
    heads = "".join(
        f'<th scope="col">{head}</th>' for head in ("Probability", "Mean probability", "Came true", "Voxels")
    )
    return (
        f'<h3 id="reliability-title">Reliability</h3><p>How often probabilities came true on {cases} '
        f"({reliability.settings}).</p>{reliability_diagram(reliability.bins)}"
        f'<details><summary>The diagram as a table</summary><div class="scroll"><table><thead><tr>{heads}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div></details>"
    )


def reliability_diagram(bins: ReliabilityBins) -> str:
    """An SVG of how often probabilities came true; the area of a point grows with its number of voxels.

    Args:
        bins: what it shows.
    """
    known = [(n, c, f) for n, c, f in _rows(bins) if c is not None and f is not None]
    points = [(_x(c), _y(f)) for _, c, f in known]
    most = max((n for n, _, _ in known), default=1.0)
    dots = "".join(
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{2.0 + 4.0 * (n / most) ** 0.5:.1f}" fill="currentColor"/>'
        for (n, _, _), (x, y) in zip(known, points)
    )
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    total = sum(n for n, _, _ in known)
    gap = sum(n * abs(c - f) for n, c, f in known) / total if total else 0.0
    described = (
        "Mean probability of voxels from left to right, share of them in the reference from bottom to top; on the "
        "dashed line probabilities come true as often as they say. On average they miss it by "
        f"{100 * gap:.1f} percentage points. The table below has the numbers."
    )
    return (
        '<svg class="reliability" viewBox="0 0 256 252" role="img" aria-labelledby="reliability-name reliability-text">'
        f'<title id="reliability-name">Reliability diagram</title><desc id="reliability-text">{described}</desc>'
        f'<g fill="none" stroke="currentColor">{_frame()}<polyline points="{path}" stroke-width="1.5"/></g>{dots}'
        f'<g fill="currentColor" font-size="11">{_ticks()}</g></svg>'
    )


def _frame() -> str:
    corners = f"{_x(0)},{_y(0)} {_x(1)},{_y(1)}"
    return (
        f'<rect x="{_LEFT}" y="{_TOP}" width="{_SIDE}" height="{_SIDE}" stroke-opacity="0.5"/>'
        f'<polyline points="{corners}" stroke-dasharray="4 4" stroke-opacity="0.7"/>'
    )


def _ticks() -> str:
    marks = [0.0, 0.5, 1.0]
    below = "".join(f'<text x="{_x(v)}" y="{_TOP + _SIDE + 14}" text-anchor="middle">{v:g}</text>' for v in marks)
    beside = "".join(f'<text x="{_LEFT - 6}" y="{_y(v) + 4}" text-anchor="end">{v:g}</text>' for v in marks)
    middle = _TOP + _SIDE / 2
    return (
        f'{below}{beside}<text x="{_LEFT + _SIDE / 2}" y="{_TOP + _SIDE + 32}" text-anchor="middle">probability</text>'
        f'<text x="12" y="{middle}" text-anchor="middle" transform="rotate(-90 12 {middle})">came true</text>'
    )


def _rows(bins: ReliabilityBins) -> Sequence[tuple[float, float | None, float | None]]:
    return list(zip(bins.count, bins.confidence, bins.frequency, strict=True))


def _x(value: float) -> float:
    return _LEFT + _SIDE * value


def _y(value: float) -> float:
    return _TOP + _SIDE * (1.0 - value)


def _span(index: int, bins: int) -> str:
    return f"{index / bins:.2f} to {(index + 1) / bins:.2f}"


def _share(value: float | None) -> str:
    return "none" if value is None else f"{value:.3f}"
