# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import os
from pathlib import Path

from medsegdiff_monai.visualize.case import PicturedCase
from medsegdiff_monai.visualize.drawing import save_figure
from medsegdiff_monai.visualize.panels import (
    draw_panels,
    image_panel,
    largest_panel,
    legend_lines,
    outlines_panel,
    probability_panels,
    uncertainty_panel,
)
from medsegdiff_monai.visualize.views import views_of

__all__ = ["save_overlay"]


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
