# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from monai.config import PathLike
from PIL import Image

from medsegdiff_monai.utils import InputError, check_writable, replace_atomically

from . import overlay
from .case import PicturedCase
from .drawing import new_figure, pixels_of, plain, save_figure
from .views import View, largest_view

__all__ = ["ANIMATION_SUFFIXES", "save_animation"]

ANIMATION_SUFFIXES = (".gif", ".png")
_WHOLE_MS = 4000  # of the animation, as far as its frames are neither too short to be seen nor tediously long
_SHORTEST_MS, _LONGEST_MS, _LAST_MS = 80, 700, 2500
_STRIP_COLUMNS = 8


def save_animation(path: PathLike, case: PicturedCase, steps: np.ndarray, captions: Sequence[str]) -> Path:
    """Save an animation of how a mask comes about: the contour at 0.5 on the image, and the probability, at each step.

    A ``.gif`` is an animation of all steps, a ``.png`` a strip of at most eight of them, the first and the last
    included. Of a volume it is the slice with the largest final section. The steps are probabilities in [0, 1] of shape
    ``(K, R, *spatial)``, and have K captions; the case has the final masks.

    Raises:
        InputError: when the file has another suffix or the folder cannot be written to.
    """
    target = Path(path)
    if target.suffix.lower() not in ANIMATION_SUFFIXES:
        raise InputError(f"The animation must be a file {' or '.join(ANIMATION_SUFFIXES)}, got {target}.")
    check_writable(target.parent)
    view = largest_view(case.object, case.spacing, case.frame)
    if target.suffix.lower() == ".png":
        return save_figure(_strip(case, view, steps, captions), target)
    frames = []
    for step, caption in zip(steps, captions, strict=True):
        panels = [overlay.image_panel(case), *_panels(case, step)]
        title = f"{plain(case.name)}\n{caption}"
        figure = overlay.draw_panels(case, [view], panels, overlay.legend_lines(case), title)
        frames.append(Image.fromarray(pixels_of(figure)))
    first, *others = frames
    each = min(max(_WHOLE_MS // len(frames), _SHORTEST_MS), _LONGEST_MS)
    durations = [each] * len(others) + [_LAST_MS]
    replace_atomically(
        target, lambda partial: first.save(partial, save_all=True, append_images=others, duration=durations, loop=0)
    )
    return target


def _panels(case: PicturedCase, step: np.ndarray) -> list[overlay.Panel]:
    """The contour at 0.5 and the probability of each region, at one step ``(R, *spatial)``."""
    return [overlay.outlines_panel(case, "Estimate at 0.5", step >= 0.5), *overlay.probability_panels(case, step)]


def _strip(case: PicturedCase, view: View, steps: np.ndarray, captions: Sequence[str]) -> Figure:
    """A column for each step, with its caption below."""
    chosen = np.unique(np.linspace(0, len(steps) - 1, min(len(steps), _STRIP_COLUMNS)).round().astype(int))
    rows = 1 + len(case.regions)
    height = overlay.height_of(view, case)
    width = len(chosen) * overlay.PANEL_INCHES * 0.8 + 0.7
    figure = new_figure(width, rows * height * overlay.PANEL_INCHES * 0.8 + 1.6)
    grid = figure.add_gridspec(rows + 1, len(chosen), height_ratios=[*([height] * rows), 0.06])
    for column, k in enumerate(chosen):
        for row, panel in enumerate(_panels(case, steps[k])):
            axes = figure.add_subplot(grid[row, column])
            drawn = panel.draw(axes, view)
            axes.set(xticks=[], yticks=[])
            if column == 0:
                axes.set_ylabel(panel.heading, fontsize=9)
            if row == rows - 1:
                axes.set_xlabel(captions[k].replace(": ", "\n"), fontsize=9)
                mappable = drawn
    bar = figure.add_subplot(grid[-1, -1])
    assert mappable is not None  # of the last row's panel, a map
    figure.colorbar(mappable, cax=bar, orientation="horizontal", label="probability", ticks=[0, 1], format="%.2g")
    below = figure.add_subplot(grid[-1, 0])
    below.set_axis_off()
    handles = overlay.legend_lines(case)
    below.legend(handles=handles, loc="upper left", ncols=len(handles), frameon=False, fontsize=9)
    figure.suptitle(" ".join([plain(case.name), view.caption]).strip(), fontsize=11)
    return figure
