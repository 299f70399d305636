# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np

__all__ = ["GRID_TOLERANCE_MM", "grid_shift", "grid_spacing", "spacing_in_metadata"]

# Rounding of affines in file headers stays below this; what is further apart is another grid.
GRID_TOLERANCE_MM = 0.01


def grid_shift(affine: np.ndarray, other: np.ndarray, shape: Sequence[int]) -> float:
    """The largest distance, in mm, of corners of two grids of one shape; affines are voxel to world (mm)."""
    columns = [*range(len(shape)), -1]
    difference = (np.asarray(other, dtype=float) - np.asarray(affine, dtype=float))[:, columns]
    corners = np.array([[*corner, 1] for corner in product(*((0, n - 1) for n in shape))], dtype=float)
    return float(np.linalg.norm(corners @ difference.T, axis=1).max())


def grid_spacing(affine: np.ndarray, dims: int) -> list[float]:
    """Distances in mm of neighbouring voxels along each of ``dims`` spatial axes; the affine is voxel to world (mm)."""
    return np.linalg.norm(np.asarray(affine, dtype=float)[:-1, :dims], axis=0).tolist()


def spacing_in_metadata(meta: Mapping[str, Any]) -> list[float] | None:
    """Distances in mm of neighbouring voxels, as the image's file states them; None where it does not."""
    spacing = np.asarray(meta.get("spacing", np.nan), dtype=float)
    return spacing.tolist() if spacing.ndim == 1 and np.isfinite(spacing).all() and (spacing > 0).all() else None
