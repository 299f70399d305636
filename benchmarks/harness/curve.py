# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import itertools
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from medsegdiff_monai.utils import InputError
from medsegdiff_monai.visualize.drawing import CURVE_COLOURS, new_figure, save_figure

__all__ = ["save_curve"]

_STYLES = ("-", "--", "-.", ":")


def save_curve(
    path: str | os.PathLike[str],
    steps: Sequence[float],
    series: Mapping[str, Sequence[float]],
    xlabel: str,
    ylabel: str,
) -> Path:
    """Save a line plot, a line for each series, with a legend where there is more than one.

    Args:
        path: file to write; its suffix gives the format, such as ``.png``.
        steps: abscissae, common to all series.
        series: ordinates by name, as many as ``steps``; a NaN leaves a gap.
        xlabel: name of the abscissa, with its unit.
        ylabel: name of the ordinate, with its unit.

    Returns:
        The path.

    Raises:
        InputError: when there is nothing to plot, a series is not as long as ``steps`` or the folder cannot be
            written to.
    """
    if not series or len(steps) == 0:
        raise InputError("A plot needs at least one series of at least one value, got none.")
    for name, values in series.items():
        if len(values) != len(steps):
            raise InputError(
                f"The series {name!r} must have as many values as there are steps, got {len(values)} for {len(steps)}."
            )
    figure = new_figure(6.0, 4.0)
    axes = figure.add_subplot()
    marker = "o" if len(steps) <= 30 else None
    for (name, values), colour, style in zip(series.items(), itertools.cycle(CURVE_COLOURS), itertools.cycle(_STYLES)):
        axes.plot(steps, values, color=colour, linestyle=style, marker=marker, markersize=4.0, label=name)
    axes.set(xlabel=xlabel, ylabel=ylabel)
    axes.grid(color="0.85", linewidth=0.8)
    axes.spines[["top", "right"]].set_visible(False)
    if len(series) > 1:
        axes.legend(frameon=False)
    return save_figure(figure, path)
