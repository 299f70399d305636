# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["ORTHOGONAL", "Plane", "coarse_axis", "plane_of"]

# Slices whose distance is that much larger than the pixels within them are the ones that were acquired.
_COARSE = 1.5


@dataclass(frozen=True)
class Plane:
    """How an array lies on the screen: which slices there are, and where their rows and columns come from.

    Args:
        name: name of the plane.
        through: array axis that runs through the slices, None for a picture.
        across: array axis along the rows of the screen, from left to right.
        down: array axis along the columns of the screen, from top to bottom.
        mirrored: whether the screen runs against the axes ``across`` and ``down``.
        letters: the patient's side at the left, right, top and bottom of the screen (R, L, A, P, S, I), or None.
        caption: the same in words.
    """

    name: str
    through: int | None
    across: int
    down: int
    mirrored: bool = False
    letters: tuple[str, str, str, str] | None = None
    caption: str = ""

    def slices(self, array: np.ndarray) -> np.ndarray:
        """Slices as they lie on the screen.

        Args:
            array: ``(X, Y)`` or ``(X, Y, Z)``, and RGB as a further last axis.

        Returns:
            ``(slices, rows, columns)``, and RGB as a further last axis.
        """
        stack = array[None] if self.through is None else np.moveaxis(array, self.through, 0)
        # Behind the axis of the slices the two others stand in the array's order.
        rows_first = stack if self.down < self.across else np.swapaxes(stack, 1, 2)
        return rows_first[:, ::-1, ::-1] if self.mirrored else rows_first


_PICTURE = Plane("picture", None, across=0, down=1)
_STACK = Plane("slices", 2, across=0, down=1, caption="The directions of the patient are not known.")
_RIGHT_ON_LEFT = "The patient's right is on the left of the picture (radiological view)."
_AXIAL = Plane("axial", 2, 0, 1, True, ("R", "L", "A", "P"), f"Axial slices from feet to head. {_RIGHT_ON_LEFT}")
_CORONAL = Plane("coronal", 1, 0, 2, True, ("R", "L", "S", "I"), f"Coronal slices from back to front. {_RIGHT_ON_LEFT}")
_SAGITTAL = Plane(
    "sagittal",
    0,
    across=1,
    down=2,
    mirrored=True,
    letters=("A", "P", "S", "I"),
    caption="Sagittal slices from the patient's left to the right. The patient's front is on the left of the picture.",
)
ORTHOGONAL = (_AXIAL, _CORONAL, _SAGITTAL)


def plane_of(dims: int, spacing: Sequence[float] | None, frame: str | None) -> Plane:
    """The plane in which a case is shown.

    A volume of known directions is shown in the plane in which its slices are far apart, which is the one that it was
    acquired in, or else in axial slices; any other volume in slices along its last axis, as they are stored.

    Args:
        dims: number of spatial axes.
        spacing: spacing along them in mm, or None.
        frame: ``"RAS"`` or None.

    Returns:
        The plane.
    """
    if dims == 2:
        return _PICTURE
    if frame is None:
        return _STACK
    coarse = coarse_axis(spacing)
    return _AXIAL if coarse is None else (_SAGITTAL, _CORONAL, _AXIAL)[coarse]


def coarse_axis(spacing: Sequence[float] | None) -> int | None:
    """The axis along which slices are far apart, or None where none is or the spacing (mm) is not known."""
    if spacing is None:
        return None
    coarsest = int(np.argmax(spacing))
    return coarsest if spacing[coarsest] >= _COARSE * sorted(spacing)[1] else None
