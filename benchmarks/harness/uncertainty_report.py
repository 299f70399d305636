# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0


"""Tables and plots of the calibration benchmark."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from scipy import stats

from .risk_coverage import risk_coverage
from .tables import markdown
from .uncertainty import ROWS, SCORES

mpl.use("Agg")
import matplotlib.pyplot as plt

__all__ = ["calibration_table", "ranking", "ranking_table", "write_uncertainty_report"]

_ERRORS = {"ece": "ECE %", "ace": "adaptive ECE %", "brier": "Brier %", "nll": "log loss"}
_TITLES = {row.key: row.title for row in ROWS}
# Okabe and Ito's, which colour-blind readers tell apart.
_COLOURS = dict(zip(_TITLES, ("#0072B2", "#56B4E9", "#009E73", "#D55E00", "#CC79A7"), strict=True))


def calibration_table(results: Sequence[dict[str, Any]]) -> str:
    """How well the probabilities of the test cases' voxels are calibrated, a row for each result."""
    rows = []
    for r in results:
        errors = r["calibration"]["errors"]
        values = [f"{errors[k]:.4f}" if k == "nll" else f"{100 * errors[k]:.3f}" for k in _ERRORS]
        test = [d for d, s in zip(r["cases"]["dice"], r["cases"]["section"]) if s == "test"]
        rows.append([_TITLES[r["row"]], r["members"], f"{r['temperature']:g}", f"{100 * np.mean(test):.2f}", *values])
    return markdown(["weights", "members", "temperature", "Dice %", *_ERRORS.values()], rows)


def ranking(result: dict[str, Any]) -> pd.DataFrame:
    """How well each score ranks the cases by their true Dice, a row for each score that the result has.

    Columns are Spearman's and Pearson's correlation, and area and excess area under the curve of risk (1 - Dice)
    against coverage. Cases without a score (an empty mask has no edge) are those it is least sure of.
    """
    cases = pd.DataFrame(result["cases"])
    rows = []
    for name in SCORES:
        score = cases[name].astype(float)
        if score.isna().all():
            continue
        score = score.fillna(score.min() - 1e-6)
        curve = risk_coverage(score, 1.0 - cases["dice"])
        correlation = [float(f(score, cases["dice"]).statistic) for f in (stats.spearmanr, stats.pearsonr)]
        rows.append((name, *correlation, curve.area, curve.excess))
    return pd.DataFrame(rows, columns=["score", "spearman", "pearson", "area", "excess"])


def ranking_table(results: Sequence[dict[str, Any]]) -> str:
    """:func:`ranking` of all results."""
    rows = []
    for r in results:
        for _, line in ranking(r).iterrows():
            numbers = [f"{line['spearman']:.2f}", f"{line['pearson']:.2f}"]
            numbers += [f"{100 * line[k]:.2f}" for k in ("area", "excess")]
            rows.append([_TITLES[r["row"]], r["members"], SCORES[line["score"]], *numbers])
    header = [
        "weights",
        "members",
        "score",
        "Spearman's r",
        "Pearson's r",
        "area under risk-coverage %",
        "its excess %",
    ]
    return markdown(header, rows)


def _plot(path: Path, dataset: str, results: Sequence[dict[str, Any]]) -> None:
    """Reliability, predicted against true Dice, and risk against coverage, side by side."""
    figure, axes = plt.subplots(1, 3, figsize=(13.8, 4.4), layout="constrained")
    for r in results:
        key, cases = r["row"], pd.DataFrame(r["cases"])
        style = {"color": _COLOURS[key], "label": _TITLES[key]}
        bins = pd.DataFrame(r["calibration"]["bins"]).astype(float)
        axes[0].plot(bins["confidence"], bins["frequency"], marker="o", markersize=4, **style)
        axes[1].scatter(cases["predicted_dice"], cases["dice"], s=14, alpha=0.7, **style)
        curve = risk_coverage(cases["predicted_dice"], 1.0 - cases["dice"])
        axes[2].plot(curve.coverage, curve.risk, **style)
    for ax in axes[:2]:
        ax.plot([0, 1], [0, 1], color="0.6", linewidth=1, zorder=0)
    axes[0].set(title=f"{dataset}: voxels of test cases", xlabel="probability", ylabel="share in the reference")
    axes[1].set(title="held-out cases", xlabel="predicted Dice", ylabel="Dice")
    axes[2].set(title="held-out cases, by predicted Dice", xlabel="share of the cases that is kept", ylabel="1 - Dice")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=5, frameon=False)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def write_uncertainty_report(results: Sequence[dict[str, Any]], out: Path, about: str) -> str:
    """Write ``calibration.md``, ``cases.csv`` and a plot for each data set.

    Args:
        results: those of :func:`~harness.uncertainty.score_row`.
        out: folder of the benchmark.
        about: what was run, and where.

    Returns:
        The text.
    """
    text = [about + "\n"]
    for dataset in dict.fromkeys(r["dataset"] for r in results):
        group = [r for r in results if r["dataset"] == dataset]
        sections = group[0]["cases"]["section"]
        text.append(f"## {dataset}: calibration, {sections.count('test')} test cases\n\n" + calibration_table(group))
        text.append(f"## {dataset}: ranking of {len(sections)} held-out cases\n\n" + ranking_table(group))
        _plot(out / f"{dataset}.png", dataset, group)
    tables = [pd.DataFrame({"dataset": r["dataset"], "weights": r["row"], **pd.DataFrame(r["cases"])}) for r in results]
    pd.concat(tables).to_csv(out / "cases.csv", index=False, float_format="%.6g")
    (out / "calibration.md").write_text("\n".join(text), encoding="utf-8")
    return "\n".join(text)
