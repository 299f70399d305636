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

from collections.abc import Mapping, Sequence
from functools import reduce
from math import prod

import numpy as np
from scipy import ndimage

from medsegdiff_monai.measurements.runs import LevelRuns
from medsegdiff_monai.measurements.shape import Diameters, largest_diameters, mask_volume, outline_diameters

__all__ = ["Key", "Masks", "holding_box", "measure_levels", "measure_masks"]

Masks = Mapping[str, np.ndarray]
Key = tuple[str, str]
Values = dict[Key, tuple[float | None, str]]
Quantities = dict[str, tuple[float | None, str]]

_RATIO = "vertical ratio"
_PIXELS_A_RUN = 64  # what parts cost by runs, in pixels of masks that are searched one by one


def holding_box(masks: Sequence[np.ndarray]) -> tuple[slice, ...]:
    """The part of the image that holds all masks ``(*spatial)``: nothing else needs to be looked at."""
    anywhere = reduce(np.logical_or, masks)
    box: list[slice] = []
    for axis in range(anywhere.ndim):
        others = tuple(i for i in range(anywhere.ndim) if i != axis)
        filled = np.flatnonzero(anywhere.any(axis=others))
        box.append(slice(filled[0], filled[-1] + 1) if len(filled) else slice(0, 1))
        anywhere = anywhere[(*[slice(None)] * axis, box[-1])]
    return tuple(box)


def measure_masks(masks: Masks, spacing: Sequence[float] | None, ratio: tuple[str, str] | None) -> Values:
    """Values and units of all quantities of some regions, by region and quantity.

    Args:
        masks: mask of each region, of shape ``(X, Y)`` or ``(X, Y, Z)``.
        spacing: see :func:`~medsegdiff_monai.measurements.measure_ensemble`.
        ratio: see there.
    """
    return measure_levels({name: mask.astype(np.uint8) for name, mask in masks.items()}, 1, spacing, ratio)[0]


def measure_levels(
    levels: Mapping[str, np.ndarray], count: int, spacing: Sequence[float] | None, ratio: tuple[str, str] | None
) -> list[Values]:
    """What :func:`measure_masks` finds in each of ``count`` masks that lie in one another, the largest first.

    Args:
        levels: of each region in how many of its masks a pixel or voxel lies, uint8 of the masks' shape.
        count: number of masks of each region.
        spacing: see :func:`~medsegdiff_monai.measurements.measure_ensemble`.
        ratio: see there.
    """
    found: list[Values] = [{} for _ in range(count)]
    extents = {}
    for region, of_region in levels.items():
        if of_region.ndim == 2:
            runs = LevelRuns.of(of_region, count)
            if ratio is not None and region in ratio:
                extents[region] = runs.extents()
            quantities = _picture(runs, _parts(of_region, runs), spacing)
        else:
            quantities = [_volume(of_region >= level, spacing) for level in range(1, count + 1)]
        for values, of_mask in zip(found, quantities, strict=True):
            values.update({(region, quantity): value for quantity, value in of_mask.items()})
    if ratio is not None:
        for values, inner, outer in zip(found, *(extents[name].tolist() for name in ratio), strict=True):
            values[" / ".join(ratio), _RATIO] = (inner / outer if outer else None, "")
    return found


def _lengths(found: Diameters | None, unit: str) -> Quantities:
    longest, perpendicular = (0.0, 0.0) if found is None else (found.longest, found.perpendicular)
    return {"longest diameter": (longest, unit), "perpendicular diameter": (perpendicular, unit)}


def _count_parts(mask: np.ndarray) -> int:
    """Number of connected parts of a mask; corners connect."""
    return int(ndimage.label(mask, np.ones([3] * mask.ndim))[1])


def _parts(levels: np.ndarray, runs: LevelRuns) -> list[int]:
    """Number of connected parts of each mask; those of noise, whose runs are short, are found pixel by pixel."""
    if len(runs.level) * _PIXELS_A_RUN < levels.size * runs.count:
        return list(runs.parts().tolist())
    return [_count_parts(levels >= k) for k in range(1, runs.count + 1)]


def _picture(runs: LevelRuns, parts: Sequence[int], spacing: Sequence[float] | None) -> list[Quantities]:
    scale = (1.0, 1.0) if spacing is None else spacing
    length, area = ("pixels", "pixels") if spacing is None else ("mm", "mm2")
    areas = (runs.areas() * float(scale[0]) * float(scale[1])).tolist()
    lengths: list[Diameters | None] = [*outline_diameters(runs.outlines(), scale)]
    lengths += [None] * (runs.count - len(lengths))
    return [
        {"area": (size, area), **_lengths(diameters, length), "lesions": (float(number), "")}
        for size, diameters, number in zip(areas, lengths, parts, strict=True)
    ]


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
    return {"volume": size, **lengths, "lesions": (float(_count_parts(mask)), "")}
