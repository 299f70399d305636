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
from dataclasses import dataclass
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

__all__ = ["Measurement", "measure_ensemble"]

_INTERVAL = (0.05, 0.95)
_LEVELS = [(2 * i + 1) / 20 for i in range(10)]  # 0.05, 0.15, ... 0.95
_RATIO = "vertical ratio"
Masks = Mapping[str, np.ndarray]
Quantities = dict[str, tuple[float | None, str]]


@dataclass(frozen=True)
class Measurement:
    """A quantity of a region, from the fused mask, with its 90 % interval from the members.

    Attributes:
        region: name of the region; two of them, as ``"cup / disc"``, for a ratio.
        quantity: what was measured: ``"volume"``, ``"area"``, ``"longest diameter"``, ``"perpendicular diameter"``,
            ``"lesions"`` (connected parts, corners connect) or ``"vertical ratio"``.
        unit: unit of the values; empty for numbers and ratios.
        value: of the fused mask; None for a ratio to an empty mask.
        low: lower end of the interval; None where there are fewer than two members.
        high: upper end of the interval; None where there are fewer than two members.
    """

    region: str
    quantity: str
    unit: str
    value: float | None
    low: float | None
    high: float | None


def measure_ensemble(
    fused: Masks,
    members: Sequence[Mapping[str, np.ndarray]],
    spacing: Sequence[float] | None,
    ratio: tuple[str, str] | None = None,
) -> list[Measurement]:
    """Measure the regions of one image.

    The interval holds 90 % of what the quantity is in the masks that the members allow: those at ten levels, 0.05 to
    0.95, of each member's probability. A mask that is drawn at one random level everywhere has at each pixel the
    probability that the member states, so the interval covers what the members differ in and how blurred each is.

    Of a volume: volume, diameters within the slices, and lesions. Of a picture: area, diameters and lesions. Slices
    are the planes across the axis of the largest spacing, across the last axis where all are alike. An empty mask
    measures 0.

    Args:
        fused: fused mask of each region, of shape ``(X, Y)`` or ``(X, Y, Z)``.
        members: probability of each region in each member, of the masks' shapes.
        spacing: distances between pixels or voxels along each axis in mm; None where they are unknown, and lengths
            and areas are in pixels.
        ratio: names of two regions, such as cup and disc, whose ratio of vertical extents is measured; vertical is Y.

    Returns:
        The measurements, those of one region behind those of another.
    """
    box = _box([*fused.values(), *(p >= _LEVELS[0] for m in members for p in m.values())])
    values = _measure({name: mask[box] for name, mask in fused.items()}, spacing, ratio)
    allowed = [{name: p[box] >= level for name, p in m.items()} for m in members for level in _LEVELS]
    each = [_measure(masks, spacing, ratio) for masks in allowed] if len(members) > 1 else []
    found = []
    for (region, quantity), (value, unit) in values.items():
        seen = [v for m in each if (v := m[region, quantity][0]) is not None]
        low, high = np.quantile(seen, _INTERVAL).tolist() if seen else (None, None)
        found.append(Measurement(region, quantity, unit, value, low, high))
    return found


def _box(masks: Sequence[np.ndarray]) -> tuple[slice, ...]:
    """The part of the image that holds all masks: nothing else needs to be looked at."""
    anywhere = np.logical_or.reduce(masks)
    sides = [np.flatnonzero(anywhere.any(axis=tuple(set(range(anywhere.ndim)) - {i}))) for i in range(anywhere.ndim)]
    return tuple(slice(s[0], s[-1] + 1) if len(s) else slice(0, 1) for s in sides)


def _measure(
    masks: Masks, spacing: Sequence[float] | None, ratio: tuple[str, str] | None
) -> dict[tuple[str, str], tuple[float | None, str]]:
    found: dict[tuple[str, str], tuple[float | None, str]] = {}
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
