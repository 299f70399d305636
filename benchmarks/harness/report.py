# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0


"""The report of the accuracy benchmark: its tables and plots, from the results of its cells."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from .grid import DATASETS, Cell
from .plots import plot_calibration, plot_evaluations, plot_time
from .tables import case_table, cost, details, footnote, markdown, overview, tenth

__all__ = ["load_results", "write_report"]


def load_results(cells: Iterable[Cell], out: Path) -> tuple[dict[Cell, Any], dict[Cell, str]]:
    """Results of the finished cells, and the reasons of the failed ones.

    Args:
        cells: the cells of a grid.
        out: folder of the cells.
    """
    results, failures = {}, {}
    for cell in cells:
        folder = out / "cells" / cell.name
        if (folder / "result.json").is_file():
            results[cell] = json.loads((folder / "result.json").read_text(encoding="utf-8"))
        elif (folder / "failed.txt").is_file():
            failures[cell] = (folder / "failed.txt").read_text(encoding="utf-8").strip()
    return results, failures


def _listed(values: Iterable[Any]) -> str:
    return " and ".join(map(str, sorted(set(values))))


def _head(cells: Sequence[Cell], machine: str, finished: int, failed: int) -> str:
    minutes, threads = _listed(round(c.seconds / 60, 2) for c in cells), _listed(c.threads for c in cells)
    devices, sections = _listed(c.device for c in cells), _listed(c.section for c in cells)
    return (
        f"{machine}; {minutes} minutes of training a cell with {threads} thread(s) on {devices}, tested on the "
        f"{sections} images; {finished} of {len(cells)} cells finished, {failed} failed.\n"
    )


def _sections(results: dict[Cell, Any], out: Path, section: str) -> list[str]:
    """The tables of all results, whose cases and plots are written beside."""
    table = case_table(results)
    table.to_csv(out / "cases.csv", index=False, float_format="%.6g")
    datasets = list(dict.fromkeys(c.dataset for c in results))
    text = [
        f"## {section.capitalize()} Dice in %: mean ± standard deviation over (number of seeds)\n\n" + overview(table)
    ]
    if few := tenth(table):
        text.append(f"## At a tenth of the evaluations, on the {section} images\n\n" + few)
    for (dataset, tested), group in table.groupby(["dataset", "tested"], sort=False):
        own = tested == DATASETS[dataset].folder
        title = dataset if own else f"{dataset}, tested on {tested}"
        count = f"{group['case'].nunique()} {section + ' ' if own else ''}cases"
        text.append(f"## {title}: mean over {count} [95 % interval]\n\n" + details(group) + "\n" + footnote(group))
    text += [f"## Cost on {d}\n\n" + cost(results, d) for d in datasets]
    plot_time(out / "training_time.png", results, datasets)
    plot_evaluations(out / "evaluations.png", table, datasets, section)
    plot_calibration(out / "calibration.png", results, datasets)
    return text


def write_report(cells: Sequence[Cell], out: Path, machine: str) -> Path:
    """Write ``cases.csv``, ``accuracy.md`` and the plots of what has been run so far.

    Args:
        cells: all cells of the folder, tested on one section.
        out: folder of the benchmark.
        machine: description of the machine.

    Returns:
        The Markdown file.
    """
    results, failures = load_results(cells, out)
    text = [_head(cells, machine, len(results), len(failures))]
    if failures:
        rows = [(c.dataset, c.method, c.seed, reason) for c, reason in failures.items()]
        text.append("## Failed\n\n" + markdown(["data set", "method", "seed", "reason"], rows))
    if results:
        text += _sections(results, out, cells[0].section)
    path = out / "accuracy.md"
    path.write_text("\n".join(text), encoding="utf-8")
    return path
