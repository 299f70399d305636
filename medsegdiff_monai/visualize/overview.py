# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import os
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke

from medsegdiff_monai.utils import InputError
from medsegdiff_monai.visualize.drawing import (
    displayable,
    draw_contour,
    draw_image,
    new_figure,
    plain,
    region_colour,
    rgb,
    save_figure,
)

__all__ = ["OverviewRow", "save_overview"]

PREDICTION_COLOUR = region_colour(0)
REFERENCE_COLOUR = region_colour(1)
PANEL_INCHES = 2.2


@dataclass(frozen=True)
class OverviewRow:
    """One row of the overview: a 2D image, or one slice of a volume, and its segmentation.

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


def _show_reference(axes: Axes, row: OverviewRow) -> None:
    draw_image(axes, displayable(row.image))
    if row.label is None:
        stroke = [withStroke(linewidth=2.0, foreground="black")]
        axes.text(0.5, 0.5, "no reference", transform=axes.transAxes, ha="center", color="white", path_effects=stroke)
        return
    tint = np.zeros((*row.label.shape, 4))
    tint[row.label != 0] = [*(v / 255.0 for v in rgb(REFERENCE_COLOUR)), 0.35]
    axes.imshow(tint)
    draw_contour(axes, row.label, REFERENCE_COLOUR)


def _show_prediction(axes: Axes, row: OverviewRow) -> None:
    draw_image(axes, displayable(row.image))
    if row.label is not None:
        draw_contour(axes, row.label, REFERENCE_COLOUR)
    draw_contour(axes, row.mask, PREDICTION_COLOUR, "solid" if row.label is None else "dashed")


def _row_label(row: OverviewRow) -> str:
    name = textwrap.shorten(row.name, 60, placeholder="...") if " " in row.name else row.name
    lines = [plain(line) for line in textwrap.wrap(name, 24)[:3]]
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
    figure = new_figure(5 * PANEL_INCHES + 0.6, sum(heights) * PANEL_INCHES + 1.2)
    grid = figure.add_gridspec(len(rows) + 1, 5, height_ratios=[*heights, 0.06])
    most = max([1.0, *(float(np.nanmax(row.uncertainty)) for row in rows if np.isfinite(row.uncertainty).any())])
    for i, row in enumerate(rows):
        panels = [figure.add_subplot(grid[i, j]) for j in range(5)]
        draw_image(panels[0], displayable(row.image))
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
    return save_figure(figure, path)
