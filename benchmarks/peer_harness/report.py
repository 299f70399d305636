# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0


"""Tables, files and the plot of the benchmark, from what the rows have measured."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from medsegdiff_monai.utils import replace_atomically

from .rows import CASES
from .scaling import SWEEPS, growth_exponent

__all__ = ["duration", "markdown", "scaling_table", "table", "write_report"]

HEADER = ["method", "evaluations", "M parameters", "seconds: median (min to max)", "times MedSegDiff", "GFLOP"]
HEADER += ["GFLOP/s", "of the ceiling", "outside the network", "peak memory GB (before the run)"]


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows]) + "\n"


def _number(value: float) -> str:
    """A number with three digits, or all of those before the point."""
    return f"{value:.3g}" if value < 999.5 else f"{value:,.0f}"


def duration(seconds: float) -> str:
    """Seconds, in hours as well where they are many."""
    return _number(seconds) if seconds < 3600 else f"{_number(seconds)} = {seconds / 3600:.1f} h"


def _seconds(result: dict[str, Any]) -> str:
    least, most = _number(result["seconds_min"]), _number(result["seconds_max"])
    return f"{duration(result['seconds'])} ({least} to {most})"


def _evaluations(result: dict[str, Any]) -> str:
    whole = f"{result['evaluations']:,}"
    return whole if result["complete"] else f"{whole}, calculated from {result['measured_evaluations']:,}"


def _ceilings(records: Iterable[dict[str, Any]]) -> list[str]:
    """Lines on the matrix products beside the rows, by precision and number of threads."""
    found: dict[str, list[float]] = {}
    for record in records:
        if "failed" not in record["result"]:
            row = record["row"]
            place = "GPU" if row["device"] == "cuda" else f"{row['threads']} threads"
            found.setdefault(f"{record['result']['dtype']}, {place}", []).extend(record["result"]["ceilings"])
    each = [f"{statistics.median(v):.0f} ({min(v):.0f} to {max(v):.0f}) GFLOP/s of {k}" for k, v in found.items()]
    return ["", f"Matrix products, median and range: {'; '.join(each)}."] if each else []


def _line(record: dict[str, Any], default: float | None) -> list[str]:
    row, result = record["row"], record["result"]
    if "failed" in result:
        return [row["title"], f"failed: {result['failed']}".replace("|", "/"), *[""] * (len(HEADER) - 2)]
    return [
        row["title"],
        _evaluations(result),
        f"{result['parameters_m']:.2f}",
        _seconds(result),
        "" if default is None else _number(result["seconds"] / default),
        _number(result["gflop"]),
        f"{result['gflop_per_second']:.0f}",
        f"{100 * result['of_ceiling']:.0f} %",
        "" if result["outside"] is None else f"{100 * result['outside']:.1f} %",
        f"{result['memory_gb']:.2f} ({result['memory_before_gb']:.2f})",
    ]


def table(records: Sequence[dict[str, Any]]) -> str:
    """The table of one case.

    Args:
        records: ``row`` and ``result`` of each measurement.
    """
    seconds = [r["result"]["seconds"] for r in records if r["row"]["key"] == "default" and "failed" not in r["result"]]
    return markdown(HEADER, [_line(r, seconds[0] if seconds else None) for r in records])


def _position(record: dict[str, Any]) -> float:
    row, result = record["row"], record["result"]
    return float(result["windows"]) if row["sweep"] == "windows" else float(row["position"])


def _lines(records: Sequence[dict[str, Any]], sweep: str) -> dict[str, list[dict[str, Any]]]:
    """The measurements of a sweep that did not fail, by method and from small to large."""
    lines: dict[str, list[dict[str, Any]]] = {}
    for record in records:
        if record["row"]["sweep"] == sweep and "failed" not in record["result"]:
            lines.setdefault(record["row"]["title"], []).append(record)
    return {title: sorted(group, key=_position) for title, group in lines.items()}


def scaling_table(records: Sequence[dict[str, Any]]) -> str:
    """Growth of the cost in each sweep: ends of the curve and exponents (1 is linear, 2 is the square).

    Args:
        records: ``row`` and ``result`` of each measurement.
    """
    header = ("cost against", "method", "from, to", "seconds", "exponent of seconds", "exponent of GFLOP")
    rows = []
    for name, sweep in SWEEPS.items():
        for title, group in _lines(records, name).items():
            x = [_position(r) for r in group]
            own = {key: [r["result"][key] for r in group] for key in ("seconds", "gflop")}
            exponents = [growth_exponent(x, own[key]) for key in ("seconds", "gflop")]
            shown = ["" if math.isnan(e) else f"{e:.2f}" for e in exponents]
            ends = f"{duration(own['seconds'][0])}, {duration(own['seconds'][-1])}"
            rows.append([sweep.axis, title, f"{x[0]:,.0f}, {x[-1]:,.0f}", ends, *shown])
    return markdown(header, rows)


def _plot(path: Path, records: Sequence[dict[str, Any]]) -> None:
    panels = {name: lines for name in SWEEPS if (lines := _lines(records, name))}
    figure = Figure(figsize=(4.4 * min(3, len(panels)), 3.8 * -(-len(panels) // 3)), layout="constrained")
    FigureCanvasAgg(figure)
    for i, (name, lines) in enumerate(panels.items()):
        axes = figure.add_subplot(-(-len(panels) // 3), min(3, len(panels)), i + 1)
        for title, group in lines.items():
            x, y = [_position(r) for r in group], [r["result"]["seconds"] for r in group]
            exponent = growth_exponent(x, y)
            shown = title if math.isnan(exponent) else f"{title}: exponent {exponent:.2f}"
            axes.loglog(x, y, "o-", markersize=3.5, linewidth=1.3, label=shown)
        axes.set(xlabel=SWEEPS[name].axis, ylabel="seconds")
        axes.grid(color="0.85", linewidth=0.8, which="both")
        axes.legend(frameon=False, fontsize=7)
    figure.savefig(path, dpi=120)


def _left_out(records: Sequence[dict[str, Any]]) -> list[str]:
    """A line for each measurement of a sweep that failed."""
    failed = [r for r in records if r["row"]["sweep"] and "failed" in r["result"]]
    return [
        f"- {r['row']['title']}, {SWEEPS[r['row']['sweep']].axis}, size {' x '.join(map(str, r['row']['size']))}: "
        f"{r['result']['failed']}"
        for r in failed
    ]


def write_report(root: Path, machine: str, records: Sequence[dict[str, Any]]) -> str:
    """Write ``peers.md``, ``peers.csv``, ``peers.json`` and, where there are sweeps, ``scaling.png``.

    Args:
        root: folder of the files.
        machine: what it was measured on.
        records: ``row`` and ``result`` of each measurement.

    Returns:
        The text of ``peers.md``.
    """
    lines = [machine, *_ceilings(records)]
    for name, case in CASES.items():
        own = [r for r in records if r["row"]["case"] == name and not r["row"]["sweep"]]
        if own:
            size = " x ".join(map(str, own[0]["row"]["size"]))
            lines += ["", f"## {case.title}, {size}", "", table(own)]
    swept = [r for r in records if r["row"]["sweep"]]
    if swept:
        lines += ["", "## Growth", "", scaling_table(swept), *_left_out(swept)]
    text = "\n".join(lines).rstrip() + "\n"
    content = {"machine": machine, "records": list(records)}
    replace_atomically(root / "peers.md", lambda p: p.write_text(text, encoding="utf-8"))
    replace_atomically(root / "peers.json", lambda p: p.write_text(json.dumps(content, indent=1), encoding="utf-8"))
    flat = pd.DataFrame([{**r["row"], **r["result"]} for r in records])
    replace_atomically(root / "peers.csv", lambda p: flat.to_csv(p, index=False))
    if any("failed" not in r["result"] for r in swept):
        replace_atomically(root / "scaling.png", lambda p: _plot(p, swept))
    return text
