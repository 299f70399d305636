# Copyright (c) MedSegDiff-MONAI contributors
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#     http://www.apache.org/licenses/LICENSE-2.0
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from medsegdiff_monai.metrics import ReliabilityBins
from medsegdiff_monai.utils import InputError, check_writable, replace_atomically

__all__ = ["save_reliability_diagram"]

# Colours that stay apart for the colour-blind (Okabe and Ito, https://jfly.uni-koeln.de/color/), and markers.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_MARKERS = ("o", "s", "^", "D", "v", "P")
_DPI = 150


def save_reliability_diagram(
    path: str | os.PathLike[str], diagrams: Mapping[str, ReliabilityBins], title: str | None = None
) -> Path:
    """Save a reliability diagram: how often probabilities came true, and below it how many voxels had them.

    Args:
        path: file to write; its suffix gives the format, such as ``.png``.
        diagrams: what is shown, by name: at most six.
        title: title of the picture.

    Returns:
        The path.

    Raises:
        InputError: when there is nothing to show, or too much, or the folder cannot be written to.
    """
    if not 1 <= len(diagrams) <= len(_COLOURS):
        raise InputError(f"A reliability diagram shows 1 to {len(_COLOURS)} series, got {len(diagrams)}.")
    target = Path(path)
    check_writable(target.parent)
    figure = Figure(figsize=(5.0, 6.2), layout="constrained")
    FigureCanvasAgg(figure)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    upper.plot([0, 1], [0, 1], color="0.4", linestyle=":", label="as often as stated")
    for (name, bins), colour, marker in zip(diagrams.items(), _COLOURS, _MARKERS):
        points = [(c, f) for c, f in zip(bins.confidence, bins.frequency) if c is not None and f is not None]
        upper.plot(*zip(*points), color=colour, marker=marker, markersize=4.0, label=name)
        edges = np.linspace(0.0, 1.0, len(bins.count) + 1)
        lower.stairs(bins.count, edges, color=colour, linewidth=1.5)
    upper.set(ylabel="share in the reference", ylim=(-0.02, 1.02), aspect="equal")
    lower.set(xlabel="probability", ylabel="voxels", xlim=(-0.02, 1.02), yscale="log")
    for axes in (upper, lower):
        axes.grid(color="0.85", linewidth=0.8)
        axes.spines[["top", "right"]].set_visible(False)
    upper.legend(frameon=False, loc="upper left")
    if title is not None:
        figure.suptitle(title, fontsize=11)
    replace_atomically(target, lambda partial: figure.savefig(partial, dpi=_DPI))
    return target
