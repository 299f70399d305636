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

from collections.abc import Callable, Mapping, Sequence
from math import prod

import numpy as np
from scipy import ndimage

from medsegdiff_monai.measurements.shape import (
    Diameters,
    diameters,
    largest_diameters,
    mask_area,
    mask_volume,
    vertical_ratio,
)

__all__ = ["Key", "Masks", "holding_box", "measure_masks"]

Masks = Mapping[str, np.ndarray]
Key = tuple[str, str]
Quantities = dict[str, tuple[float | None, str]]

_RATIO = "vertical ratio"


def holding_box(masks: Sequence[np.ndarray]) -> tuple[slice, ...]:
    """The part of the image that holds all masks ``(*spatial)``: nothing else needs to be looked at."""
    anywhere = np.logical_or.reduce(masks)
    sides = [np.flatnonzero(anywhere.any(axis=tuple(set(range(anywhere.ndim)) - {i}))) for i in range(anywhere.ndim)]
    return tuple(slice(s[0], s[-1] + 1) if len(s) else slice(0, 1) for s in sides)


def measure_masks(
    masks: Masks, spacing: Sequence[float] | None, ratio: tuple[str, str] | None
) -> dict[Key, tuple[float | None, str]]:
    """Values and units of all quantities of some regions, by region and quantity.

    Args:
        masks: mask of each region, of shape ``(X, Y)`` or ``(X, Y, Z)``.
        spacing: see :func:`~medsegdiff_monai.measurements.measure_ensemble`.
        ratio: see there.
    """
    found: dict[Key, tuple[float | None, str]] = {}
    for region, mask in masks.items():
        measure: Callable[[np.ndarray, Sequence[float] | None], Quantities] = _picture if mask.ndim == 2 else _volume
        found |= {(region, quantity): value for quantity, value in measure(mask, spacing).items()}
    if ratio is not None:
        inner, outer = (masks[name].T for name in ratio)
        found[" / ".join(ratio), _RATIO] = (vertical_ratio(inner, outer), "")
    return found


def _lesions(mask: np.ndarray) -> tuple[float, str]:
    return float(ndimage.label(mask, np.ones([3] * mask.ndim))[1]), ""


def _lengths(found: Diameters | None, unit: str) -> Quantities:
    longest, perpendicular = (0.0, 0.0) if found is None else (found.longest, found.perpendicular)
    return {"longest diameter": (longest, unit), "perpendicular diameter": (perpendicular, unit)}


def _picture(mask: np.ndarray, spacing: Sequence[float] | None) -> Quantities:
    scale = (1.0, 1.0) if spacing is None else spacing
    length, area = ("pixels", "pixels") if spacing is None else ("mm", "mm2")
    lengths = _lengths(diameters(mask, scale), length)
    return {"area": (mask_area(mask, scale), area), **lengths, "lesions": _lesions(mask)}


def _volume(mask: np.ndarray, spacing: Sequence[float] | None) -> Quantities:
    scale = np.ones(3) if spacing is None else np.asarray(spacing, dtype=float)
    across = 2 - int(np.argmax(scale[::-1]))
    planes = np.moveaxis(mask, across, 0)
    length = "pixels" if spacing is None else "mm"
    size = (
        (float(np.count_nonzero(mask)), "voxels")
        if spacing is None
        else (mask_volume(mask, prod(scale.tolist())), "mL")
    )
    lengths = _lengths(largest_diameters(planes, np.delete(scale, across).tolist()), length)
    return {"volume": size, **lengths, "lesions": _lesions(mask)}
