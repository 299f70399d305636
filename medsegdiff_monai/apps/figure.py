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

import itertools
import os
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke

from medsegdiff_monai.utils import InputError, check_writable

__all__ = ["OverviewRow", "save_curve", "save_overview"]

# Colours that stay apart for the colour-blind (Okabe and Ito, https://jfly.uni-koeln.de/color/).
REFERENCE_COLOUR = "#56B4E9"
PREDICTION_COLOUR = "#E69F00"
CURVE_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
CURVE_STYLES = ("-", "--", "-.", ":")
PANEL_INCHES = 2.2
DPI = 150


@dataclass(frozen=True)
class OverviewRow:
    """What a row of the overview shows: one image, or one slice of a volume, and its segmentation.

    Args:
        name: name of the case.
        image: grey image of shape ``(H, W)`` or RGB image of shape ``(H, W, 3)``, of any range.
        label: reference mask of shape ``(H, W)``, foreground where not 0, or None where there is none.
        mask: predicted mask of shape ``(H, W)``, foreground where not 0.
        probability: fused probability in [0, 1], of shape ``(H, W)``.
        uncertainty: uncertainty in bits, of shape ``(H, W)``.

    Raises:
        InputError: when the shapes do not fit one another.
    """

    name: str
    image: np.ndarray
    label: np.ndarray | None
    mask: np.ndarray
    probability: np.ndarray
    uncertainty: np.ndarray

    def __post_init__(self) -> None:
        shape = self.image.shape
        if len(shape) not in (2, 3) or (len(shape) == 3 and shape[2] != 3):
            raise InputError(f"The image of {self.name!r} must have the shape (H, W) or (H, W, 3), got {shape}.")
        for part in ("label", "mask", "probability", "uncertainty"):
            array = getattr(self, part)
            if array is not None and array.shape != shape[:2]:
                raise InputError(
                    f"The {part} of {self.name!r} must have the shape of its image, {shape[:2]}, got {array.shape}."
                )

    @property
    def dice(self) -> float | None:
        """Dice of prediction and reference, 1 where both are empty and None without a reference."""
        if self.label is None:
            return None
        reference, prediction = self.label != 0, self.mask != 0
        total = int(reference.sum()) + int(prediction.sum())
        return 1.0 if total == 0 else 2.0 * int((reference & prediction).sum()) / total


def _displayable(image: np.ndarray) -> np.ndarray:
    """The image as float in [0, 1]: bytes as they are, anything else stretched over its finite range."""
    if image.dtype == np.uint8:
        return image / 255.0
    finite = image[np.isfinite(image)].astype(float)
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    stretched = (image.astype(float) - low) / (high - low if high > low else 1.0)
    return np.clip(np.nan_to_num(stretched), 0.0, 1.0)


def _contour(axes: Axes, mask: np.ndarray, colour: str, style: str) -> None:
    """Outline a mask, closed along the border of the image, with a dark edge that shows on any background."""
    foreground = np.pad(mask != 0, 1)
    if not foreground.any():
        return
    height, width = foreground.shape
    contours = axes.contour(
        np.arange(width) - 1, np.arange(height) - 1, foreground.astype(float), [0.5], colors=colour, linestyles=style
    )
    stroke = withStroke(linewidth=2.7, foreground="black", alpha=0.6)
    contours.set(linewidth=1.5, path_effects=[stroke], clip_on=False, zorder=3)  # above the frame, where they meet it
    axes.set(xlim=(-0.5, width - 2.5), ylim=(height - 2.5, -0.5))  # the rim of padding stays out of sight


def _show_image(axes: Axes, row: OverviewRow) -> None:
    axes.imshow(_displayable(row.image), cmap="gray", vmin=0.0, vmax=1.0)


def _show_reference(axes: Axes, row: OverviewRow) -> None:
    _show_image(axes, row)
    if row.label is None:
        stroke = [withStroke(linewidth=2.0, foreground="black")]
        axes.text(0.5, 0.5, "no reference", transform=axes.transAxes, ha="center", color="white", path_effects=stroke)
        return
    tint = np.zeros((*row.label.shape, 4))
    tint[row.label != 0] = [*(int(REFERENCE_COLOUR[i : i + 2], 16) / 255.0 for i in (1, 3, 5)), 0.35]
    axes.imshow(tint)
    _contour(axes, row.label, REFERENCE_COLOUR, "solid")


def _show_prediction(axes: Axes, row: OverviewRow) -> None:
    _show_image(axes, row)
    if row.label is not None:
        _contour(axes, row.label, REFERENCE_COLOUR, "solid")
    _contour(axes, row.mask, PREDICTION_COLOUR, "solid" if row.label is None else "dashed")


def _row_label(row: OverviewRow) -> str:
    name = textwrap.shorten(row.name, 60, placeholder="...") if " " in row.name else row.name
    lines = textwrap.wrap(name, 24)[:3]
    return "\n".join(lines + ([] if row.dice is None else [f"Dice {row.dice:.3f}"]))


def save_overview(path: str | os.PathLike[str], rows: Sequence[OverviewRow], title: str | None = None) -> Path:
    """Save a picture that compares segmentations with their references, a row for each case.

    The columns are the image, the reference, the predicted and the reference outline together, the probability and
    the uncertainty. The colour bars are common to all rows, so that rows can be compared.

    Args:
        path: file to write; its suffix gives the format, such as ``.png``.
        rows: the cases, from top to bottom.
        title: title of the picture.

    Returns:
        The path.

    Raises:
        InputError: when there are no rows or the folder cannot be written to.
    """
    if not rows:
        raise InputError("An overview needs at least one case, got none.")
    heights = [float(np.clip(row.image.shape[0] / row.image.shape[1], 0.4, 2.0)) for row in rows]
    figure = Figure(figsize=(5 * PANEL_INCHES + 0.6, sum(heights) * PANEL_INCHES + 1.2), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(len(rows) + 1, 5, height_ratios=[*heights, 0.06])
    most = max([1.0, *(float(np.nanmax(row.uncertainty)) for row in rows if np.isfinite(row.uncertainty).any())])
    for i, row in enumerate(rows):
        panels = [figure.add_subplot(grid[i, j]) for j in range(5)]
        _show_image(panels[0], row)
        _show_reference(panels[1], row)
        _show_prediction(panels[2], row)
        probability = panels[3].imshow(row.probability, cmap="viridis", vmin=0.0, vmax=1.0)
        uncertainty = panels[4].imshow(row.uncertainty, cmap="cividis", vmin=0.0, vmax=most)
        panels[0].set_ylabel(_row_label(row), fontsize=9)
        for panel, heading in zip(panels, ("Image", "Reference", "Prediction", "Probability", "Uncertainty")):
            panel.set(xticks=[], yticks=[])
            if i == 0:
                panel.set_title(heading, fontsize=11)
    for j, drawn, unit in ((3, probability, "probability"), (4, uncertainty, "bits")):
        ticks = np.linspace(0.0, 1.0 if unit == "probability" else most, 3)
        bar = figure.add_subplot(grid[-1, j])
        figure.colorbar(drawn, cax=bar, orientation="horizontal", label=unit, ticks=ticks, format="%.2g")
    legend = figure.add_subplot(grid[-1, :3])
    legend.set_axis_off()
    handles = [
        Line2D([], [], color=REFERENCE_COLOUR, linewidth=2.0, label="reference"),
        Line2D([], [], color=PREDICTION_COLOUR, linewidth=2.0, linestyle="dashed", label="prediction"),
    ]
    legend.legend(handles=handles, loc="upper center", ncols=2, frameon=False, fontsize=10)
    if title is not None:
        figure.suptitle(title, fontsize=13)
    return _save(figure, path)


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
        xlabel: what the abscissa is, with its unit.
        ylabel: what the ordinate is, with its unit.

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
    figure = Figure(figsize=(6.0, 4.0), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    marker = "o" if len(steps) <= 30 else None
    for (name, values), colour, style in zip(
        series.items(), itertools.cycle(CURVE_COLOURS), itertools.cycle(CURVE_STYLES)
    ):
        axes.plot(steps, values, color=colour, linestyle=style, marker=marker, markersize=4.0, label=name)
    axes.set(xlabel=xlabel, ylabel=ylabel)
    axes.grid(color="0.85", linewidth=0.8)
    axes.spines[["top", "right"]].set_visible(False)
    if len(series) > 1:
        axes.legend(frameon=False)
    return _save(figure, path)


def _save(figure: Figure, path: str | os.PathLike[str]) -> Path:
    target = Path(path)
    check_writable(target.parent)
    figure.savefig(target, dpi=DPI)
    return target
