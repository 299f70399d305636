# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0


"""Accuracy of MedSegDiff, its ablations and plain networks on real images, at the same training time.

Each cell of the grid (method x data set x seed) is one training from the bundle's own configuration, in a process of
its own, and its tests at the images' own resolution. Finished cells are kept: run the same command again to go on after
an interruption (Ctrl-C, SIGTERM or SIGHUP), or with more data sets, methods or seeds to add to them. The report is
written anew after each cell, and the exit code is 1 where cells have failed:

    <out>/accuracy.md    tables of all cells in <out>
    <out>/cases.csv      every metric of every test case
    <out>/*.png          Dice against training time and against network evaluations, calibration
    <out>/cells/...      what each cell left: its result, weights and log

Folders of data sets are those of ``harness/grid.py``, each with a ``datalist.json``.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import time
import traceback
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import fire
import torch
from harness.cell import run_cell
from harness.grid import Cell
from harness.kept import all_cells, busy, cell_of, check_kept
from harness.methods import MAIN_METHODS
from harness.options import check_data, check_machine, make_grid
from harness.processes import CellProcesses, interrupted_by_signals
from harness.report import write_report
from tqdm import tqdm

from medsegdiff_monai.utils import InputError, check_writable, reason_of


def _machine(device: str) -> str:
    if device == "cuda":
        return f"{torch.cuda.get_device_name()}, torch {torch.__version__}"
    names = [
        line.split(":")[1].strip()
        for line in (Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").is_file() else [])
        if line.startswith("model name")
    ]
    return f"{names[0] if names else platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}"


def _left(grid: Sequence[Cell], root: Path, retry: bool) -> list[Cell]:
    """The cells that are to be run; says how many are finished and how many have failed."""
    folders = {c: root / "cells" / c.name for c in grid}
    finished = [c for c in grid if (folders[c] / "result.json").is_file()]
    failed = [c for c in grid if c not in finished and (folders[c] / "failed.txt").is_file()]
    again = "are run again" if retry else "--retry runs them again"
    print(f"{len(finished)} of {len(grid)} cells are finished, {len(failed)} failed ({again})", flush=True)
    return [c for c in grid if c not in finished and (retry or c not in failed)]


def _check_free(grid: Sequence[Cell], root: Path) -> None:
    for c in grid:
        if sentence := busy(root / "cells" / c.name):
            raise InputError(sentence)


def _run_cells(left: Sequence[Cell], root: Path, data: Path, workers: int, machine: str) -> None:
    """Run cells and write the report after each; an interruption ends those that run and begins no others."""
    processes = CellProcesses(Path(__file__))
    bar = tqdm(total=len(left), desc="Cells", unit="cell")
    pool = ThreadPoolExecutor(workers)
    with bar, interrupted_by_signals():
        try:
            running = {pool.submit(processes.run, c, root / "cells" / c.name, data): c for c in left}
            for future in as_completed(running):
                outcome = future.result()
                if outcome.reason:
                    tqdm.write(f"{running[future].name} {outcome.state}: {outcome.reason}")
                bar.update()
                write_report(all_cells(root), root, machine)
        finally:
            processes.stop()
            pool.shutdown(cancel_futures=True)


def cell(specification: str, folder: str, data: str) -> None:
    """Run one cell in this process (what the grid starts).

    Args:
        specification: the cell as JSON.
        folder: its folder.
        data: folder of the data sets.
    """
    try:
        run_cell(cell_of(json.loads(specification)), Path(folder), Path(data))
    except Exception as e:  # the boundary of the process: whatever ends a cell becomes one line for the table
        traceback.print_exc()
        print(f"Error: {reason_of(e)}", file=sys.stderr)
        sys.exit(2 if isinstance(e, InputError) else 3)


def main(
    data: str | None = None,
    out: str = "accuracy",
    datasets: Any = None,
    methods: Any = MAIN_METHODS,
    seeds: Any = None,
    minutes: float | None = None,
    size: int | None = None,
    section: str = "test",
    workers: int = 2,
    threads: int = 1,
    device: str = "cpu",
    retry: bool = False,
    quick: bool = False,
    default_only: bool = False,
) -> None:
    """Run the grid, or what is left of it, and write the report.

    Args:
        data: folder of the data sets; $MEDSEGDIFF_DATA by default.
        out: folder of the cells and the report.
        datasets: names of the data sets; ultrasound_ddti, ultrasound_busi, fundus_palm and brain_lgg by default.
        methods: names of the methods.
        seeds: seeds; 0, 1 and 2 by default.
        minutes: training time of each cell; 3 by default.
        size: input size in place of the data sets' own; of volumes, that of the first two axes.
        section: what is tested on, test or validation; with validation, no test image is looked at.
        workers: number of cells that run at a time; 1 on a GPU or with several threads.
        threads: number of threads of each cell; with 1, time is that which the process has had the processor.
        device: cpu or cuda.
        retry: whether cells that failed are run again.
        quick: a reduced grid: thyroid ultrasound, one seed, 64 pixels, one minute.
        default_only: whether each method is tested with its default number of steps and members alone.
    """
    given = {"datasets": datasets, "seeds": seeds, "minutes": minutes, "size": size}
    grid = make_grid(given, methods, section, threads, device, quick, default_only)
    check_machine(device, workers, threads)
    folder = Path(data or os.environ.get("MEDSEGDIFF_DATA", "data")).resolve()
    check_data(grid, folder)
    root = check_writable(out)
    _check_free(grid, root)
    check_kept(grid, root, folder)
    machine = _machine(device)
    print(machine)
    left = _left(grid, root, retry)
    report = write_report(all_cells(root), root, machine)
    started = time.monotonic()
    try:
        _run_cells(left, root, folder, workers, machine)
    except KeyboardInterrupt:
        print("Interrupted: the same command goes on with what is left.", file=sys.stderr)
        sys.exit(130)
    print(f"{len(left)} cells in {(time.monotonic() - started) / 60:.1f} minutes; report: {report}")
    if any(not (root / "cells" / c.name / "result.json").is_file() for c in grid):
        sys.exit(1)


if __name__ == "__main__":
    if sys.argv[1:2] == ["cell"]:
        cell(*sys.argv[2:])  # as they are: fire would read JSON's null as a word
    else:
        try:
            fire.Fire(main)
        except InputError as e:
            print(f"Error: {e}", file=sys.stderr)
            sys.exit(2)
