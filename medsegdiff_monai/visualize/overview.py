# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from monai.config import PathLike

from medsegdiff_monai.utils import InputError

from .case import PicturedCase
from .drawing import draw_contour, draw_image, new_figure, plain, region_colour, rgb, save_figure

__all__ = ["save_overview"]

PREDICTION_COLOUR = region_colour(0)
REFERENCE_COLOUR = region_colour(1)
PANEL_INCHES = 2.2


def save_overview(path: PathLike, cases: Sequence[PicturedCase], title: str | None = None) -> Path:
    """Save a picture that compares segmentations with their references, a row for each case.

    The cases are 2D images of one region with its uncertainty, and a reference or none. The columns are the image, the
    reference, the predicted and the reference outline together, the probability and the uncertainty. Colour bars are
    common to all rows, so that rows can be compared. The suffix of the path gives the format.

    Raises:
        InputError: when there are no cases, one is not such a case, or the folder cannot be written to.
    """
    if not cases:
        raise InputError("An overview needs at least one case, got none.")
    for case in cases:
        if len(case.masks) != 1 or case.masks.ndim != 3 or case.uncertainty is None:
            raise InputError(f"An overview shows 2D images of one region with its uncertainty, not {case.name!r}.")
    maps = [case.uncertainty[0].T for case in cases if case.uncertainty is not None]
    most = max([1.0, *(float(np.nanmax(bits)) for bits in maps if np.isfinite(bits).any())])
    heights = [float(np.clip(case.image.shape[1] / case.image.shape[0], 0.4, 2.0)) for case in cases]
    figure = new_figure(5 * PANEL_INCHES + 0.6, sum(heights) * PANEL_INCHES + 1.2)
    grid = figure.add_gridspec(len(cases) + 1, 5, height_ratios=[*heights, 0.06])
    for i, (case, bits) in enumerate(zip(cases, maps)):
        panels = [figure.add_subplot(grid[i, j]) for j in range(5)]
        _draw_masks(panels, case)
        probability = panels[3].imshow(case.probability[0].T, cmap="viridis", vmin=0.0, vmax=1.0)
        uncertainty = panels[4].imshow(bits, cmap="cividis", vmin=0.0, vmax=most)
        panels[0].set_ylabel(_row_label(case), fontsize=9)
        for panel, heading in zip(panels, ("Image", "Reference", "Prediction", "Probability", "Uncertainty")):
            panel.set(xticks=[], yticks=[])
            if i == 0:
                panel.set_title(heading, fontsize=11)
    for j, drawn, unit, top in ((3, probability, "probability", 1.0), (4, uncertainty, "bits", most)):
        bar, ticks = figure.add_subplot(grid[-1, j]), np.linspace(0.0, top, 3)
        figure.colorbar(drawn, cax=bar, orientation="horizontal", label=unit, ticks=ticks, format="%.2g")
    legend = figure.add_subplot(grid[-1, :3])
    legend.set_axis_off()
    reference = Line2D([], [], color=REFERENCE_COLOUR, linewidth=2.0, label="reference")
    prediction = Line2D([], [], color=PREDICTION_COLOUR, linewidth=2.0, linestyle="dashed", label="prediction")
    legend.legend(handles=[reference, prediction], loc="upper center", ncols=2, frameon=False, fontsize=10)
    if title is not None:
        figure.suptitle(title, fontsize=13)
    return save_figure(figure, path)


def _draw_masks(panels: Sequence[Axes], case: PicturedCase) -> None:
    """Draw the image in three panels, with the reference in the second and both outlines in the third."""
    for panel in panels[:3]:
        draw_image(panel, np.swapaxes(case.displayed, 0, 1))
    mask = case.masks[0].T
    if case.reference is None:
        stroke = [withStroke(linewidth=2.0, foreground="black")]
        place, font = panels[1].transAxes, {"ha": "center", "color": "white"}
        panels[1].text(0.5, 0.5, "no reference", font, transform=place, path_effects=stroke)
        draw_contour(panels[2], mask, PREDICTION_COLOUR)
        return
    reference = case.reference[0].T
    tint = np.zeros((*reference.shape, 4))
    tint[reference != 0] = [*(v / 255.0 for v in rgb(REFERENCE_COLOUR)), 0.35]
    panels[1].imshow(tint)
    for panel in panels[1:3]:
        draw_contour(panel, reference, REFERENCE_COLOUR)
    draw_contour(panels[2], mask, PREDICTION_COLOUR, "dashed")


def _row_label(case: PicturedCase) -> str:
    """Name of a case, and the Dice of its prediction where there is a reference: 1 where both are empty."""
    name = textwrap.shorten(case.name, 60, placeholder="...") if " " in case.name else case.name
    lines = [plain(line) for line in textwrap.wrap(name, 24)[:3]]
    if case.reference is not None:
        prediction, reference = case.masks != 0, case.reference != 0
        total = int(reference.sum()) + int(prediction.sum())
        lines.append(f"Dice {1.0 if total == 0 else 2.0 * int((reference & prediction).sum()) / total:.3f}")
    return "\n".join(lines)
