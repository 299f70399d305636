# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0


"""Is a model as sure as it says, and does its uncertainty rank its errors?

    python benchmarks/calibration.py --data <folder of the data sets> --out <folder>

For each data set, the bundle's committed weights with and without their temperature are set beside networks that are
trained here, all for the same time on the same data: MedSegDiff, MONAI's BasicUNet by its own probability, and
BasicUNet by Monte-Carlo dropout. The trainings are cells of benchmarks/accuracy.py, so an interrupted run goes on where
it was. There are then, in the folder:

    calibration.md     calibration of the test cases' voxels; how well scores rank all held-out cases by their Dice
    <data set>.png     reliability, predicted against true Dice, risk against coverage
    cases.csv          Dice and scores of every held-out case
    training/          the cells and their own report
    scores/            what each set of weights has got; delete one to score it anew

Held-out cases are those of validation and test together: no trained model was chosen by them. The bundles' own
temperature was fitted on validation.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import fire
import torch
from harness.grid import Cell
from harness.kept import write_json
from harness.options import check_data, check_machine, make_grid
from harness.uncertainty import ROWS, score_row
from harness.uncertainty_report import write_uncertainty_report
from tqdm import tqdm

from medsegdiff_monai.utils import InputError, check_writable

METHODS = tuple(dict.fromkeys(row.method for row in ROWS if not row.committed))


def _train(cells: list[Cell], minutes: float, data: Path, out: Path, workers: int) -> None:
    """Run the trainings that are not finished.

    Raises:
        InputError: when one has failed.
    """
    script = Path(__file__).with_name("accuracy.py")
    datasets = tuple(dict.fromkeys(c.dataset for c in cells))
    options = {"data": data, "out": out, "datasets": datasets, "methods": METHODS, "seeds": (0,), "minutes": minutes}
    command = [sys.executable, str(script), "--default_only", "--workers", str(workers)]
    command += [word for name, value in options.items() for word in (f"--{name}", str(value))]
    if subprocess.run(command, check=False).returncode != 0:
        raise InputError(f"The trainings have not ended: see {out / 'accuracy.md'}, and run the same command again.")


def _scored(cells: list[Cell], data: Path, root: Path) -> list[dict[str, Any]]:
    """The scores of all rows, those of an earlier call from their files."""
    work = [(row, cell) for cell in cells for row in ROWS if row.method == cell.method]
    datasets = list(dict.fromkeys(c.dataset for c in cells))
    work.sort(key=lambda pair: (datasets.index(pair[1].dataset), ROWS.index(pair[0])))
    results = []
    with tqdm(work, desc="Scoring", unit="weights") as bar:
        for row, cell in bar:
            bar.set_postfix_str(f"{cell.dataset}: {row.title}")
            path = root / "scores" / f"{cell.dataset}_{row.key}.json"
            if not path.is_file():
                weights = root / "training" / "cells" / cell.name / "model.pt"
                evaluation = root / "scores" / f"{cell.dataset}_{row.key}"
                write_json(path, score_row(row, cell, weights, data, evaluation))
            results.append(json.loads(path.read_text(encoding="utf-8")))
    return results


def main(
    data: str | None = None,
    out: str = "calibration",
    datasets: Any = ("ultrasound_ddti", "fundus_palm", "brain_lgg"),
    minutes: float = 3.0,
    workers: int = 2,
) -> None:
    """Train what is compared with, score all weights and write the tables.

    Args:
        data: folder of the data sets; $MEDSEGDIFF_DATA by default.
        out: folder of everything that is made.
        datasets: names of the data sets.
        minutes: training time of each network, on one thread.
        workers: number of trainings that run at a time.
    """
    given = {"datasets": datasets, "seeds": 0, "minutes": minutes, "size": None}
    cells = make_grid(given, METHODS, "test", 1, "cpu", default_only=True)
    check_machine("cpu", workers, 1)
    folder = Path(data or os.environ.get("MEDSEGDIFF_DATA", "data")).resolve()
    check_data(cells, folder)
    root = check_writable(out)
    check_writable(root / "scores")
    _train(cells, minutes, folder, root / "training", workers)
    results = _scored(cells, folder, root)
    about = (
        f"{platform.machine()}, torch {torch.__version__}; networks trained here have had {minutes:g} minutes with one "
        "thread each, the bundles' weights what their README says."
    )
    print(write_uncertainty_report(results, root, about))


if __name__ == "__main__":
    try:
        fire.Fire(main)
    except InputError as e:
        print(f"Error: {e}", file=sys.stderr)
        sys.exit(2)
