# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from monai.config import PathLike

from . import drawing
from .case import PicturedCase
from .drawing import REFERENCE_COLOUR, draw_contour, draw_image, pixels_of, region_colour, save_figure
from .views import View, largest_view, views_of

__all__ = [
    "Panel",
    "draw_panels",
    "height_of",
    "image_panel",
    "legend_lines",
    "outlines_panel",
    "probability_panels",
    "save_overlay",
    "validation_picture",
]

PANEL_INCHES = 3.0
_VALIDATION_MEMBERS = 3


def save_overlay(path: PathLike, case: PicturedCase) -> Path:
    """Save the picture of a segmented case: contours on the image, probability, and how uncertain it is.

    A volume is shown by three slices, see :func:`~medsegdiff_monai.visualize.views_of`; where the directions are known
    the patient's right is on the left of axial and coronal slices. The suffix of the path gives the format.

    Raises:
        InputError: when the folder cannot be written to.
    """
    panels = [
        image_panel(case),
        outlines_panel(case, "Segmentation", case.masks, case.reference, case.members),
        *probability_panels(case, case.probability),
        _uncertainty_panel(case),
    ]
    if case.mutual_information is not None:
        panels.append(_largest_panel(case, "Mutual information", case.mutual_information))
    legend = legend_lines(case, case.reference is not None, case.members is not None)
    views = views_of(case.object, case.spacing, case.frame)
    return save_figure(draw_panels(case, views, panels, legend, case.title), path)


def validation_picture(case: PicturedCase) -> np.ndarray:
    """Picture of a case in training: RGB pixels ``(rows, columns, 3)``, uint8.

    It shows image, reference, the first members, fused probability and uncertainty; of a volume the slice with the
    largest section of the reference.

    Raises:
        ValueError: when the case has no reference.
    """
    if case.reference is None:
        raise ValueError(f"A picture of validation needs a reference, {case.name!r} has none.")
    members: Sequence[np.ndarray] = [] if case.members is None else list(case.members[:_VALIDATION_MEMBERS])
    panels = [
        image_panel(case),
        outlines_panel(case, "Reference", case.reference),
        *(outlines_panel(case, f"Member {i + 1}", member) for i, member in enumerate(members)),
        *probability_panels(case, case.probability),
        _uncertainty_panel(case),
    ]
    view = largest_view((case.reference != 0).any(0), case.spacing, case.frame)
    return pixels_of(draw_panels(case, [view], panels, legend_lines(case), case.title))


@dataclass(frozen=True)
class Panel:
    """A column of a picture: its heading, and a function that draws a view and returns a map that has a colour bar."""

    heading: str
    draw: Callable[[Axes, View], ScalarMappable | None]
    unit: str = ""  # of the colour bar


def image_panel(case: PicturedCase) -> Panel:
    """The image, with a scale bar and the patient's sides where they are known."""

    def draw(axes: Axes, view: View) -> None:
        picture = view.of(case.displayed)
        aspect = view.aspect(case.spacing)
        draw_image(axes, picture, aspect)
        drawing.draw_letters(axes, view.plane.letters or ())
        if case.spacing is not None:
            rows, columns = picture.shape[:2]
            drawing.draw_scale_bar(axes, columns, rows, case.spacing[view.plane.across], aspect)

    return Panel("Image" if case.contrast is None else f"Image ({case.contrast})", draw)


def outlines_panel(
    case: PicturedCase,
    heading: str,
    masks: np.ndarray,
    reference: np.ndarray | None = None,
    members: np.ndarray | None = None,
) -> Panel:
    """Contours on the image: of masks ``(R, *spatial)`` in the regions' colours, of the reference, alike, dashed.

    Those of members ``(N, R, *spatial)`` are thin.
    """

    def draw(axes: Axes, view: View) -> None:
        draw_image(axes, view.of(case.displayed), view.aspect(case.spacing))
        for member in [] if members is None else members:
            for i, mask in enumerate(member):
                draw_contour(axes, view.of(mask), region_colour(i), width=0.4, edged=False)
        for i, mask in enumerate(masks):
            draw_contour(axes, view.of(mask), region_colour(i))
        for mask in [] if reference is None else reference:
            draw_contour(axes, view.of(mask), REFERENCE_COLOUR, style="dashed", width=1.0)

    return Panel(heading, draw)


def _map_panel(case: PicturedCase, heading: str, array: np.ndarray, colours: str, unit: str) -> Panel:
    """A map ``(*spatial)`` in [0, 1] with its colour bar."""

    def draw(axes: Axes, view: View) -> ScalarMappable:
        return axes.imshow(view.of(array), cmap=colours, vmin=0.0, vmax=1.0, aspect=view.aspect(case.spacing))

    return Panel(heading, draw, unit)


def probability_panels(case: PicturedCase, probability: np.ndarray) -> list[Panel]:
    """The probability ``(R, *spatial)`` of each region."""
    several = len(case.regions) > 1
    headings = [f"Probability of {region}" if several else "Probability" for region in case.regions]
    return [_map_panel(case, title, p, "viridis", "probability") for title, p in zip(headings, probability)]


def _uncertainty_panel(case: PicturedCase) -> Panel:
    """The uncertainty, or the sentence that a single member has none."""
    if case.uncertainty is not None:
        return _largest_panel(case, "Uncertainty", case.uncertainty)

    def say(axes: Axes, view: View) -> None:
        axes.set_facecolor("0.9")
        draw_image(axes, np.full((*view.of(case.masks[0]).shape, 3), 0.9), view.aspect(case.spacing))
        reason = "Uncertainty between members\nis unavailable (one member)."
        axes.text(0.5, 0.5, reason, transform=axes.transAxes, ha="center", va="center", fontsize=7)

    return Panel("Uncertainty", say)


def _largest_panel(case: PicturedCase, heading: str, maps: np.ndarray) -> Panel:
    """Largest of maps ``(R, *spatial)`` in bits at each pixel, on a scale from 0 to 1; the unit tells the maximum."""
    largest = maps.max(0)
    most = float(largest.max())
    unit = "bits, largest of regions" if len(maps) > 1 else "bits"
    said = f"at most {most:.2g}" if most >= 0.001 else "below 0.001"
    return _map_panel(case, heading, largest, "cividis", f"{unit} ({said})")


def draw_panels(
    case: PicturedCase, views: Sequence[View], panels: Sequence[Panel], legend: Sequence[Line2D], title: str
) -> Figure:
    """A picture with a row for each view and a column for each panel, a legend below and a title above."""
    heights = [height_of(view, case) for view in views]
    lines = title.count("\n") + 1
    width, height = max(len(panels) * PANEL_INCHES, 6.0), sum(heights) * PANEL_INCHES
    figure = drawing.new_figure(width + 0.5, height + 0.9 + 0.25 * lines)
    grid = figure.add_gridspec(len(views) + 1, len(panels), height_ratios=[*heights, 0.06])
    for i, view in enumerate(views):
        for j, panel in enumerate(panels):
            axes = figure.add_subplot(grid[i, j])
            drawn = panel.draw(axes, view)
            axes.set(xticks=[], yticks=[])
            if i == 0:
                axes.set_title(panel.heading, fontsize=10)
            if j == 0:
                axes.set_ylabel(view.caption, fontsize=9)
            if drawn is not None and i == 0:
                bar, ticks = figure.add_subplot(grid[-1, j]), [0.0, 0.5, 1.0]
                figure.colorbar(drawn, cax=bar, orientation="horizontal", label=panel.unit, ticks=ticks, format="%.2g")
    below = figure.add_subplot(grid[-1, :2])
    below.set_axis_off()
    below.legend(handles=list(legend), loc="upper center", ncols=3, frameon=False, fontsize=9, handlelength=4)
    figure.suptitle(title, fontsize=11)
    return figure


def legend_lines(case: PicturedCase, reference: bool = False, members: bool = False) -> list[Line2D]:
    """Entries of the legend of a picture."""
    lines = [Line2D([], [], color=region_colour(i), linewidth=2.0, label=name) for i, name in enumerate(case.regions)]
    if reference:
        line = Line2D([], [], color=REFERENCE_COLOUR, linestyle="dashed", linewidth=1.0, label="reference")
        line.set_path_effects([withStroke(linewidth=2.2, foreground="black", alpha=0.6)])
        lines.append(line)
    if members:
        lines.append(Line2D([], [], color=region_colour(0), linewidth=0.5, label="members"))
    return lines


def height_of(view: View, case: PicturedCase) -> float:
    """Height of a panel over its width, within bounds that leave it to be seen."""
    rows, columns = view.of(case.masks[0]).shape
    return float(np.clip(rows * view.aspect(case.spacing) / columns, 0.3, 2.0))
