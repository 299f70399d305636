# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

"""Plots of the accuracy benchmark, from the results of its cells."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd

from .grid import DATASETS, Cell
from .methods import METHODS
from .tables import OURS, mean_curve

mpl.use("Agg")
import matplotlib.pyplot as plt

__all__ = ["colours", "plot_calibration", "plot_evaluations", "plot_time"]

_LEGEND_INCHES = 2.3  # what the longest name of a method takes
_LINE_INCHES = 0.22
_MOST_POINTS = 20.0  # of Dice in %, between the ends of the curves that an axis shows whole


def _panels(count: int) -> tuple[Any, list[Any]]:
    figure, axes = plt.subplots(1, count, figsize=(4.6 * count, 3.8), squeeze=False, layout="constrained")
    return figure, list(axes[0])


def colours() -> dict[str, Any]:
    """A colour for each method, the same in every plot: ten dark ones first, then their light shades."""
    palette = mpl.colormaps["tab20"]
    order = [*range(0, 20, 2), *range(1, 20, 2)]
    return {method: palette(i) for method, i in zip(METHODS, order[: len(METHODS)], strict=True)}


def _plot(path: Path, figure: Any, axes: Any) -> None:
    drawn = {label: line for ax in axes for line, label in zip(*ax.get_legend_handles_labels())}
    columns = int(figure.get_figwidth() / _LEGEND_INCHES)
    figure.set_figheight(figure.get_figheight() + _LINE_INCHES * math.ceil(len(drawn) / columns))
    figure.legend(drawn.values(), drawn.keys(), loc="outside lower center", ncols=columns, frameon=False)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _later_range(curves: Sequence[tuple[Sequence[float], Sequence[float]]]) -> tuple[float, float]:
    """Limits of an axis that shows the curves from half of their time on, by which they differ little, in detail.

    Those that end far below the best are left to fall out of it.
    """
    least = max(values[-1] for _, values in curves) - _MOST_POINTS
    near = [curve for curve in curves if curve[1][-1] >= least]
    later = [v for times, values in near for t, v in zip(times, values) if t >= times[-1] / 2]
    low, high = min(later), max(later)
    margin = max(0.5, 0.1 * (high - low))
    return max(0.0, low - margin), high + margin


def plot_time(path: Path, results: dict[Cell, Any], datasets: Sequence[str]) -> None:
    """Validation Dice against training time, mean over the seeds."""
    figure, axes = _panels(len(datasets))
    for ax, dataset in zip(axes, datasets):
        curves = []
        for method, colour in colours().items():
            group = [r for c, r in results.items() if (c.dataset, c.method) == (dataset, method)]
            if group:
                curves.append(mean_curve(group))
                ax.plot(*curves[-1], color=colour, label=method, linewidth=2.5 if method == OURS else 1.2)
        ax.set(title=dataset, xlabel="training time in seconds", ylabel="validation Dice %", ylim=_later_range(curves))
        ax.grid(alpha=0.3)
    _plot(path, figure, axes)


def plot_evaluations(path: Path, table: pd.DataFrame, datasets: Sequence[str], section: str) -> None:
    """Dice on the tested section against the number of network evaluations."""
    figure, axes = _panels(len(datasets))
    for ax, dataset in zip(axes, datasets):
        own = table[(table["dataset"] == dataset) & (table["tested"] == DATASETS[dataset].folder)]
        scores = own.groupby(["method", "steps", "members"])["dice"].mean()
        for method, colour in colours().items():
            if method not in scores.index.get_level_values(0):
                continue
            points = sorted((s * m, 100 * v, s, m) for (s, m), v in scores[method].items())
            ax.plot(*zip(*(p[:2] for p in points)), "o-", color=colour, label=method, linewidth=1)
            if method == OURS:
                for x, alike in itertools.groupby(points, key=lambda p: p[0]):
                    settings = [(y, f"{s}x{m}") for _, y, s, m in alike]
                    at = (x, max(y for y, _ in settings))
                    text = "\n".join(name for _, name in settings)
                    ax.annotate(text, at, textcoords="offset points", xytext=(3, 4), fontsize=7)
        ax.set(title=dataset, xlabel="network evaluations (steps x members)", ylabel=f"{section} Dice %", xscale="log")
        ax.xaxis.set_major_formatter("{x:g}")
        ax.margins(0.12)  # room for the settings that stand beside the points
        ax.grid(alpha=0.3)
    _plot(path, figure, axes)


def _calibration(results: dict[Cell, Any], dataset: str, method: str) -> tuple[np.ndarray, ...]:
    """Voxels, sum of their probabilities and number of true ones in each bin, over all seeds."""
    tests = [r["tests"][0]["calibration"] for c, r in results.items() if (c.dataset, c.method) == (dataset, method)]
    return tuple(np.sum([t[key] for t in tests], axis=0) for key in ("count", "confidence", "positive"))


def plot_calibration(path: Path, results: dict[Cell, Any], datasets: Sequence[str]) -> None:
    """Share of true voxels against their probability."""
    figure, axes = _panels(len(datasets))
    for ax, dataset in zip(axes, datasets):
        ax.plot([0, 1], [0, 1], ":", color="grey")
        present = {c.method for c in results if c.dataset == dataset}
        for row, method in enumerate(m for m in METHODS if m in present):
            count, confidence, positive = _calibration(results, dataset, method)
            seen = count > 0
            x, y = (v[seen] / count[seen] for v in (confidence, positive))
            error = np.abs(confidence - positive)[seen].sum() / count.sum()
            width = 2.5 if method == OURS else 1.2
            ax.plot(x, y, "o-", color=colours()[method], markersize=3, linewidth=width, label=method)
            # At the upper left, which curves reach only where a method is far too unsure of itself.
            ax.text(0.0, 1.0 - 0.045 * row, f"{method}: {100 * error:.2f} %", fontsize=7, va="top")
        ax.set(title=f"{dataset} (with expected calibration error)", xlabel="probability", ylabel="share in the mask")
        ax.grid(alpha=0.3)
    _plot(path, figure, axes)
