# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from monai.config import PathLike

from medsegdiff_monai.metrics import ReliabilityBins
from medsegdiff_monai.utils import InputError

from .drawing import CURVE_COLOURS, new_figure, save_figure

__all__ = ["reliability_figure", "save_reliability_diagram"]

_MARKERS = ("o", "s", "^", "D", "v", "P", "X")


def reliability_figure(diagrams: Mapping[str, ReliabilityBins], title: str | None = None) -> Figure:
    """A reliability diagram: the frequency with which probabilities came true, and below it the number of voxels.

    Raises:
        InputError: when there is no series, or there are more than seven.
    """
    if not 1 <= len(diagrams) <= len(_MARKERS):
        raise InputError(f"A reliability diagram shows 1 to {len(_MARKERS)} series, got {len(diagrams)}.")
    figure = new_figure(5.0, 6.4)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    upper.plot([0, 1], [0, 1], color="0.4", linestyle=":", label="as often as stated")
    for (name, bins), colour, marker in zip(diagrams.items(), CURVE_COLOURS, _MARKERS):
        points = [(c, f) for c, f in zip(bins.confidence, bins.frequency) if c is not None and f is not None]
        upper.plot(*zip(*points), color=colour, marker=marker, markersize=4.0, label=name)
        lower.stairs(bins.count, np.linspace(0.0, 1.0, len(bins.count) + 1), color=colour, linewidth=1.5)
    upper.set(ylabel="share in the reference", ylim=(-0.02, 1.02))
    lower.set(xlabel="probability", ylabel="voxels", xlim=(-0.02, 1.02), yscale="log")
    for axes in (upper, lower):
        axes.grid(color="0.85", linewidth=0.8)
        axes.spines[["top", "right"]].set_visible(False)
    upper.legend(frameon=False, loc="upper left")
    if title is not None:
        figure.suptitle(title, fontsize=11)
    return figure


def save_reliability_diagram(path: PathLike, diagrams: Mapping[str, ReliabilityBins], title: str | None = None) -> Path:
    """Save the figure of :func:`reliability_figure`; the suffix of the path gives the format."""
    return save_figure(reliability_figure(diagrams, title), path)
