# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import reduce
from math import prod

import numpy as np
from scipy import ndimage

from medsegdiff_monai.measurements.measurement import Measurement
from medsegdiff_monai.measurements.shape import Diameters, MaskRuns, largest_diameters, outline_diameters

__all__ = [
    "Key",
    "Masks",
    "MemberValues",
    "holding_box",
    "measure_ensemble",
    "measure_levels",
    "measure_masks",
    "measure_members",
    "measurement_intervals",
]

Masks = Mapping[str, np.ndarray]
Key = tuple[str, str]
Values = dict[Key, tuple[float | None, str]]
Quantities = dict[str, tuple[float | None, str]]
MemberValues = list[dict[Key, float | None]]

_INTERVAL = (0.05, 0.95)
_LEVELS = 10  # 0.05, 0.15, ... 0.95
_LOWEST = 0.5 / _LEVELS
_RATIO = "vertical ratio"
_MM3_PER_ML = 1000.0
# Where levels change so often, what is measured at once would take much memory, and noise much time.
_MOST_STEPS = 2**17
_PIXELS_A_STEP = 8


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
    return measure_levels({name: mask[None].astype(np.uint8) for name, mask in masks.items()}, 1, spacing, ratio)[0]


def measure_levels(
    levels: Mapping[str, np.ndarray], count: int, spacing: Sequence[float] | None, ratio: tuple[str, str] | None
) -> list[Values]:
    """Values of :func:`measure_masks` for masks of which ``count`` at a time lie in one another, the largest first.

    Args:
        levels: of each region in how many of those masks a pixel or voxel lies, at most ``count``, uint8 of shape
            ``(N, *spatial)`` with an entry for each such set of masks.
        count: number of masks of a set.
        spacing: see :func:`~medsegdiff_monai.measurements.measure_ensemble`.
        ratio: see there.

    Returns:
        The values of ``N * count`` masks, those of one set behind those of another.
    """
    found: list[Values] = [{} for _ in range(count * len(next(iter(levels.values()))))]
    extents = {}
    for region, of_region in levels.items():
        if of_region.ndim == 3:
            quantities, extents[region] = _pictures(of_region, count, spacing)
        else:
            quantities = [_volume(mask, spacing) for mask in _masks(of_region, count)]
        for values, of_mask in zip(found, quantities, strict=True):
            values.update({(region, quantity): value for quantity, value in of_mask.items()})
    if ratio is not None:
        for values, inner, outer in zip(found, *(extents[name].tolist() for name in ratio), strict=True):
            values[" / ".join(ratio), _RATIO] = (inner / outer if outer else None, "")
    return found


def _masks(levels: np.ndarray, count: int) -> Iterator[np.ndarray]:
    return (of_set >= level for of_set in levels for level in range(1, count + 1))


def _lengths(found: Diameters | None, unit: str) -> Quantities:
    longest, perpendicular = (0.0, 0.0) if found is None else (found.longest, found.perpendicular)
    return {"longest diameter": (longest, unit), "perpendicular diameter": (perpendicular, unit)}


def _count_parts(mask: np.ndarray) -> int:
    """Number of connected parts of a mask; corners connect."""
    return int(ndimage.label(mask, np.ones([3] * mask.ndim))[1])


def _pictures(levels: np.ndarray, count: int, spacing: Sequence[float] | None) -> tuple[list[Quantities], np.ndarray]:
    """Quantities of the masks of a region, and how many columns each extends over."""
    steps = np.count_nonzero(levels[..., 1:] != levels[..., :-1])
    many = steps > _MOST_STEPS
    if many and len(levels) > 1:
        return _joined(_pictures(of_picture[None], count, spacing) for of_picture in levels)
    if many and count > 1 and steps * _PIXELS_A_STEP > levels.size:  # noise, as of a network without training
        return _joined(_pictures(mask[None].astype(np.uint8), 1, spacing) for mask in _masks(levels, count))
    runs = MaskRuns.of_levels(levels, count)
    parts = [_count_parts(levels[0])] if many and count == 1 else runs.parts().tolist()
    scale = (1.0, 1.0) if spacing is None else spacing
    length, area = ("pixels", "pixels") if spacing is None else ("mm", "mm2")
    outlines = runs.outlines()
    areas = (runs.areas() * float(scale[0]) * float(scale[1])).tolist()
    lengths = outline_diameters(outlines, runs.number, scale)
    quantities: list[Quantities] = [
        {"area": (size, area), **_lengths(diameters, length), "lesions": (float(number), "")}
        for size, diameters, number in zip(areas, lengths, parts, strict=True)
    ]
    return quantities, outlines.extents(runs.number)


def _joined(found: Iterable[tuple[list[Quantities], np.ndarray]]) -> tuple[list[Quantities], np.ndarray]:
    quantities, extents = zip(*found, strict=True)
    return [of_mask for some in quantities for of_mask in some], np.concatenate(extents)


def _volume(mask: np.ndarray, spacing: Sequence[float] | None) -> Quantities:
    scale = np.ones(3) if spacing is None else np.asarray(spacing, dtype=float)
    across = 2 - int(np.argmax(scale[::-1]))
    planes = np.moveaxis(mask, across, 0)
    length = "pixels" if spacing is None else "mm"
    voxels = float(np.count_nonzero(mask))
    size = (voxels, "voxels") if spacing is None else (voxels * prod(scale.tolist()) / _MM3_PER_ML, "mL")
    lengths = _lengths(largest_diameters(planes, np.delete(scale, across).tolist()), length)
    return {"volume": size, **lengths, "lesions": (float(_count_parts(mask)), "")}


def measure_members(
    members: Sequence[Mapping[str, np.ndarray]], spacing: Sequence[float] | None, ratio: tuple[str, str] | None = None
) -> list[MemberValues]:
    """Values of all quantities in the masks that each member allows, from which intervals are made.

    Args:
        members: probability of each region in each member, of shape ``(X, Y)`` or ``(X, Y, Z)``.
        spacing: see :func:`measure_ensemble`.
        ratio: see :func:`measure_ensemble`.

    Returns:
        For each member and each of the ten levels 0.05, 0.15, ... 0.95 the values by region and quantity.
    """
    if not members:
        return []
    box = holding_box([p >= _LOWEST for member in members for p in member.values()])
    reached = {name: np.stack([_levels_reached(member[name][box]) for member in members]) for name in members[0]}
    found = [
        {key: value for key, (value, _) in values.items()}
        for values in measure_levels(reached, _LEVELS, spacing, ratio)
    ]
    return [found[first : first + _LEVELS] for first in range(0, len(found), _LEVELS)]


def _levels_reached(probability: np.ndarray) -> np.ndarray:
    """Number of levels that a probability ``(*spatial)`` reaches: one lies between each tenth and the next.

    What resampling has made of it may lie a little outside 0 to 1.
    """
    tenths = np.multiply(probability, float(_LEVELS), dtype=np.result_type(probability, np.float32))
    tenths += 0.5
    return tenths.clip(0.0, float(_LEVELS), out=tenths).astype(np.uint8)


def measurement_intervals(
    fused: Masks,
    members: Sequence[MemberValues],
    spacing: Sequence[float] | None,
    ratio: tuple[str, str] | None = None,
) -> list[Measurement]:
    """The measurements of one image with their intervals, from the values of its members.

    Args:
        fused: fused mask of each region, see :func:`measure_ensemble`.
        members: what :func:`measure_members` found in each, with the same spacing and ratio.
        spacing: see :func:`measure_ensemble`.
        ratio: see :func:`measure_ensemble`.

    Returns:
        See :func:`measure_ensemble`.
    """
    box = holding_box(list(fused.values()))
    values = measure_masks({name: mask[box] for name, mask in fused.items()}, spacing, ratio)
    levels = [level for member in members for level in member] if len(members) > 1 else []
    seen = np.array([[level[key] for key in values] for level in levels], dtype=float).reshape(-1, len(values))
    return [
        Measurement(region, quantity, unit, value, *ends)
        for ((region, quantity), (value, unit)), ends in zip(values.items(), _intervals(seen), strict=True)
    ]


def _intervals(seen: np.ndarray) -> list[tuple[float | None, float | None]]:
    """Both ends of the interval of each column of values, of which NaN is none; None where there is no other."""
    known = ~np.isnan(seen)
    some = known.any(axis=0)
    ends = np.full((2, seen.shape[1]), np.nan)
    whole = some & known.all(axis=0)
    if whole.any():  # at once, as that takes no longer than one of them
        ends[:, whole] = np.quantile(seen[:, whole], _INTERVAL, axis=0)
    for column in np.flatnonzero(some & ~whole):
        ends[:, column] = np.quantile(seen[known[:, column], column], _INTERVAL)
    return [(low, high) if found else (None, None) for found, (low, high) in zip(some, ends.T.tolist(), strict=True)]


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
    values = measure_members(members, spacing, ratio) if len(members) > 1 else []
    return measurement_intervals(fused, values, spacing, ratio)
