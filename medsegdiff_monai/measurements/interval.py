# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from medsegdiff_monai.measurements.measurement import Measurement
from medsegdiff_monai.measurements.quantities import Key, Masks, holding_box, measure_levels, measure_masks

__all__ = ["MemberValues", "measure_ensemble", "measure_members", "measurement_intervals"]

_INTERVAL = (0.05, 0.95)
_LEVELS = 10  # 0.05, 0.15, ... 0.95
_LOWEST = 0.5 / _LEVELS
MemberValues = list[dict[Key, float | None]]


def measure_members(
    members: Sequence[Mapping[str, np.ndarray]], spacing: Sequence[float] | None, ratio: tuple[str, str] | None = None
) -> list[MemberValues]:
    """What the quantities are in the masks that each member allows, which is all that an interval needs of it.

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
    """How many of the levels a probability ``(*spatial)`` reaches: one lies between each tenth and the next.

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
    """The measurements of one image with their intervals, from members that have passed.

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
