# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from medsegdiff_monai.visualize.case import PicturedCase
from medsegdiff_monai.visualize.drawing import pixels_of, save_figure
from medsegdiff_monai.visualize.panels import (
    draw_panels,
    image_panel,
    largest_panel,
    legend_lines,
    outlines_panel,
    probability_panels,
    uncertainty_panel,
)
from medsegdiff_monai.visualize.views import largest_view, views_of

__all__ = ["save_overlay", "validation_picture"]

_MEMBERS = 3  # that validation shows


def save_overlay(path: str | os.PathLike[str], case: PicturedCase) -> Path:
    """Save the picture of a segmented case: contours on the image, probability, and how uncertain it is.

    A volume is shown by three slices, see :func:`~medsegdiff_monai.visualize.views_of`; where the directions are known
    the patient's right is on the left of axial and coronal slices.

    Args:
        path: file to write; its suffix gives the format, such as ``.png``.
        case: the case.

    Returns:
        The path.

    Raises:
        InputError: when the folder cannot be written to.
    """
    panels = [
        image_panel(case),
        outlines_panel(case, "Segmentation", case.masks, case.reference, case.members),
        *probability_panels(case),
        uncertainty_panel(case),
    ]
    if case.mutual_information is not None:
        panels.append(largest_panel(case, "Mutual information", case.mutual_information))
    legend = legend_lines(case, case.reference is not None, case.members is not None)
    views = views_of(case.object, case.spacing, case.frame)
    return save_figure(draw_panels(case, views, panels, legend, case.title), path)


def validation_picture(case: PicturedCase) -> np.ndarray:
    """A case in training: image, reference, the first members, fused probability and uncertainty.

    Of a volume it is the slice with the largest section of the reference.

    Returns:
        RGB pixels ``(rows, columns, 3)``, uint8.

    Raises:
        ValueError: when the case has no reference.
    """
    if case.reference is None:
        raise ValueError(f"A picture of validation needs a reference, {case.name!r} has none.")
    members: Sequence[np.ndarray] = [] if case.members is None else list(case.members[:_MEMBERS])
    panels = [
        image_panel(case),
        outlines_panel(case, "Reference", case.reference),
        *(outlines_panel(case, f"Member {i + 1}", member) for i, member in enumerate(members)),
        *probability_panels(case),
        uncertainty_panel(case),
    ]
    view = largest_view((case.reference != 0).any(0), case.spacing, case.frame)
    return pixels_of(draw_panels(case, [view], panels, legend_lines(case), case.title))
