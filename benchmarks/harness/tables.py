# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0


"""Tables of the accuracy benchmark, from the results of its cells."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from .grid import DATASETS, MAIN_DATASETS, Cell
from .methods import METHODS
from .statistics import bootstrap_interval, least_p_value, paired_p_value, time_to_reach

__all__ = ["OURS", "case_table", "cost", "details", "footnote", "markdown", "mean_curve", "overview", "tenth"]

OURS, REFERENCE = "medsegdiff", "basic_unet"
METRICS = {"dice": "Dice %", "iou": "IoU %", "hd95": "HD95", "nsd": "NSD %"}


def case_table(results: dict[Cell, Any]) -> pd.DataFrame:
    """One row for each test case of each cell: the regions' mean of each metric."""
    tables = []
    for cell, result in results.items():
        for test in result["tests"]:
            cases = pd.DataFrame(test["cases"])
            columns = {
                name: cases[[c for c in cases.columns if c == name or c.startswith(f"{name}_")]].mean(axis=1)
                for name in METRICS
            }
            about = {
                "dataset": cell.dataset,
                "tested": test["data"],
                "method": cell.method,
                "seed": cell.seed,
                "steps": test["steps"],
                "members": test["members"],
                "case": cases["case"],
            }
            tables.append(pd.DataFrame({**about, **columns}))
    return pd.concat(tables, ignore_index=True)


def _default(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of each method's own default number of steps and members."""
    keep = [
        METHODS[m].tests(len(DATASETS[d].size))[0] == (s, n)
        for d, m, s, n in zip(table["dataset"], table["method"], table["steps"], table["members"])
    ]
    return table[keep]


def markdown(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A table in Markdown."""
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    lines += ["| " + " | ".join(str(v) for v in row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def _scaled(name: str, value: float) -> float:
    return value if name == "hd95" else 100 * value


def _over_seeds(values: pd.Series) -> str:
    """Mean of one value a seed, with its standard deviation and the number of seeds where there are several."""
    several = f" ± {values.std(ddof=1):.2f} ({len(values)})" if len(values) > 1 else ""
    return f"{values.mean():.2f}{several}"


def _mean_of_all(scores: pd.Series, method: str) -> str:
    """Mean over the data sets of the main table of the seeds that all of them have, empty where there is none."""
    own = [scores.get((d, DATASETS[d].folder, method)) for d in MAIN_DATASETS]
    if any(seeds is None for seeds in own):
        return ""
    means = pd.concat(own, axis=1, join="inner").mean(axis=1)
    return _over_seeds(100 * means) if len(means) else ""


def overview(table: pd.DataFrame) -> str:
    """Dice of each method on each data set: mean and standard deviation over the seeds."""
    scores = _default(table).groupby(["dataset", "tested", "method", "seed"])["dice"].mean()
    sets = list(dict.fromkeys(zip(table["dataset"], table["tested"])))
    header = ["method", "evaluations"] + [a if b == DATASETS[a].folder else f"{a} → {b}" for a, b in sets] + ["mean"]
    rows = []
    for method in [m for m in METHODS if m in set(table["method"])]:
        counts = dict.fromkeys(math.prod(METHODS[method].tests(d)[0]) for d in (2, 3))
        row = [method, " or ".join(map(str, counts))]
        for key in sets:
            seeds = scores.get((*key, method))
            row.append("" if seeds is None else _over_seeds(100 * seeds))
        rows.append([*row, _mean_of_all(scores, method)])
    return markdown(header, rows)


def tenth(table: pd.DataFrame) -> str:
    """Ours with at most a tenth of the evaluations of each other diffusion method, against that one's default.

    Ours has its largest tested number of evaluations that is no more than that, or a single one.

    Returns:
        The table, empty where there is nothing to compare.
    """
    own = table[table["tested"] == table["dataset"].map(lambda d: DATASETS[d].folder)]
    others = [m for m in METHODS if m != OURS and not METHODS[m].plain and not m.startswith("recipe_")]
    rows = []
    for dataset, group in own.groupby("dataset", sort=False):
        per_case = group.groupby(["method", "steps", "members", "case"])["dice"].mean()
        tested = {key[1:3] for key in per_case.index if key[0] == OURS}
        for method in others:
            theirs = METHODS[method].tests(len(DATASETS[str(dataset)].size))[0]
            few = [t for t in sorted(tested) if 10 * math.prod(t) <= math.prod(theirs)]
            ours = max(few, key=math.prod, default=(1, 1))
            a, b = (per_case.get(key) for key in ((OURS, *ours), (method, *theirs)))
            if a is None or b is None or set(a.index) != set(b.index):
                continue
            numbers = [f"{100 * v:.2f}" for v in (a.mean(), b.mean(), a.mean() - b.mean())]
            p = f"{paired_p_value(a, b[a.index]):.3g}"
            rows.append([dataset, method, "{} x {}".format(*theirs), numbers[1], "{} x {}".format(*ours), numbers[0]])
            rows[-1] += [numbers[2], p]
    header = ["data set", "method", "its steps x members", "its Dice %", f"{OURS}: steps x members", f"{OURS}: Dice %"]
    return markdown([*header, "difference", "p (Dice, paired)"], rows) if rows else ""


def footnote(table: pd.DataFrame) -> str:
    """What the p-values of one data set's table can say."""
    cases = table["case"].nunique()
    return (
        f"{cases} cases: the least p that Wilcoxon's signed-rank test can reach with {cases} pairs is "
        f"{least_p_value(cases):.3g}. The p values are not corrected for the number of comparisons.\n"
    )


def details(table: pd.DataFrame) -> str:
    """All tests of one data set with intervals over its cases, and the paired test against the default."""
    per_case = table.groupby(["method", "steps", "members", "case"])[list(METRICS)].mean()
    dims = len(DATASETS[table["dataset"].iloc[0]].size)
    default = (OURS, *METHODS[OURS].tests(dims)[0])
    best = per_case["dice"].get(default)
    header = ["method", "steps x members", *METRICS.values(), "p (Dice, paired with the default)"]
    rows = []
    order = {m: i for i, m in enumerate(METHODS)}
    settings = sorted({k[:3] for k in per_case.index}, key=lambda k: (order[k[0]], -k[1] * k[2]))
    for key in settings:
        values = per_case.loc[key]
        row = [key[0], f"{key[1]} x {key[2]}"]
        for name in METRICS:
            low, high = bootstrap_interval(values[name])
            numbers = [_scaled(name, v) for v in (values[name].mean(), low, high)]
            row.append("{:.2f} [{:.2f}, {:.2f}]".format(*numbers))
        same = best is not None and set(best.index) == set(values.index)
        paired = same and key != default
        row.append(f"{paired_p_value(values['dice'], best[values.index]):.3g}" if paired else "")
        rows.append(row)
    return markdown(header, rows)


def mean_curve(results: Sequence[Any]) -> tuple[list[float], list[float]]:
    """Mean over seeds of the time and the Dice of each validation."""
    length = min(len(r["training"]["curve"]) for r in results)
    curves = np.array([r["training"]["curve"][:length] for r in results])
    return curves[..., 0].mean(0).tolist(), (100 * curves[..., 2]).mean(0).tolist()


def cost(results: dict[Cell, Any], dataset: str) -> str:
    """What each method costs on one data set, and how long it takes to the U-Net's final Dice."""
    header = ["method", "M parameters", "GFLOP once an image", "GFLOP each evaluation", "GFLOP of the default answer"]
    header += ["updates", "images/s in training", "peak memory of the process GB", "final validation Dice %"]
    header += ["time to the U-Net's final Dice, of the U-Net's time"]
    header += ["s a case (default answer, network at its input size)"]
    grouped = {
        m: [r for c, r in results.items() if (c.dataset, c.method) == (dataset, m)]
        for m in METHODS
        if any((c.dataset, c.method) == (dataset, m) for c in results)
    }
    target = own = math.nan
    if REFERENCE in grouped:
        times, values = mean_curve(grouped[REFERENCE])
        target, own = values[-1], time_to_reach(times, values, values[-1])
    rows = []
    for method, group in grouped.items():
        training = [r["training"] for r in group]
        size = group[0]["size"]
        evaluations = math.prod(METHODS[method].tests(len(DATASETS[dataset].size))[0])
        ratio = time_to_reach(*mean_curve(group), target) / own
        rows.append(
            [
                method,
                f"{size['parameters_m']:.2f}",
                f"{size['gflop_once']:.2f}",
                f"{size['gflop_each']:.2f}",
                f"{size['gflop_once'] + evaluations * size['gflop_each']:.2f}",
                f"{np.mean([t['iterations'] for t in training]):.0f}",
                f"{np.mean([t['images_per_second'] for t in training]):.1f}",
                f"{np.max([t['peak_memory_gb'] for t in training]):.2f}",
                f"{100 * np.mean([t['curve'][-1][2] for t in training]):.2f}",
                "" if math.isnan(ratio) else f"{ratio:.2f}" if math.isfinite(ratio) else "not reached",
                f"{np.mean([r['tests'][0]['seconds_per_case'] for r in group]):.2f}",
            ]
        )
    return markdown(header, rows)
