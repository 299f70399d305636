# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from medsegdiff_monai.visualize.case import PicturedCase
from medsegdiff_monai.visualize.drawing import pixels_of
from medsegdiff_monai.visualize.panels import (
    draw_panels,
    image_panel,
    legend_lines,
    outlines_panel,
    probability_panels,
    uncertainty_panel,
)
from medsegdiff_monai.visualize.views import largest_view

__all__ = ["validation_picture"]

_MEMBERS = 3


def validation_picture(case: PicturedCase) -> np.ndarray:
    """A case in training: image, reference, the first members, fused probability and uncertainty.

    Of a volume it is the slice with the largest section of the reference.

    Args:
        case: the case, with its reference.

    Returns:
        RGB picture ``(rows, columns, 3)``, uint8.

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
