# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from highdicom.spatial import get_volume_positions
from highdicom.volume import VolumeGeometry
from pydicom.dataset import Dataset

from medsegdiff_monai.apps.dicom.reading.attributes import (
    first_value,
    number,
    numbers,
    text,
    valid_uid,
    value_of,
    words,
)
from medsegdiff_monai.apps.dicom.reading.discovery import Series
from medsegdiff_monai.apps.dicom.reading.header import Instance
from medsegdiff_monai.utils import InputError

__all__ = ["Slice", "Stack", "stack_series"]

_FINEST, _COARSEST = 1e-3, 1e2  # mm between pixels: no scanner goes beyond
_TURN = 1e-3  # of a direction cosine: rounding of exporters stays below
_DRIFT = 0.01  # mm of shear for each mm of stacking that is still rounding, about half a degree
_UNEVEN = 0.01  # share of the spacing by which a distance between slices may be off
_COINCIDE = 0.01  # mm: closer slices lie at one place
_MACROS = (
    *("PlanePositionSequence", "PlaneOrientationSequence", "PixelMeasuresSequence", "MRImageFrameTypeSequence"),
    "PixelValueTransformationSequence",
)


@dataclass(frozen=True)
class Slice:
    """One slice of a volume."""

    instance: Instance
    frame: int  # index among the frames of the object
    kind: tuple[str, ...]  # image type or frame type, in upper case
    position: tuple[float, ...]  # centre of its first pixel, LPS, mm
    orientation: tuple[float, ...]  # directions of its rows and of its columns, LPS
    spacing: tuple[float, ...]  # between rows and between columns, mm
    slope: float = 1.0  # and intercept: of the modality values where functional groups state them
    intercept: float = 0.0


@dataclass(frozen=True)
class Stack:
    """The slices of a series in the order of the volume, with its geometry (slices, rows, columns; LPS, mm)."""

    slices: tuple[Slice, ...]
    geometry: VolumeGeometry


def stack_series(series: Series, which: str) -> Stack:
    """Order the slices of a series, classic or multi-frame, or refuse them where they make no regular volume.

    Where a series holds images of several kinds at each place (magnitude, phase, field map), the magnitude is taken.
    """
    slices = [s for i in series.instances for s in _slices(i, which)]
    magnitude = [s for s in slices if "M" in s.kind[2:]]
    if magnitude and len({s.kind for s in slices}) > 1:
        slices = magnitude
    if len(slices) < 2:
        raise InputError(f"{which} has a single slice, which is no volume: give the whole series.")
    _check_alike(slices, which)
    orientation = slices[0].orientation
    rows, columns = np.reshape(orientation, (2, 3))
    offsets = np.array([s.position for s in slices]) - slices[0].position
    distances, drift = offsets @ np.cross(rows, columns), np.stack([offsets @ rows, offsets @ columns], axis=1)
    order = np.argsort(distances, kind="stable")
    _check_spacing(distances[order], drift[order], which)
    spacing, places = get_volume_positions([s.position for s in slices], orientation, rtol=_UNEVEN)
    frame = text(series.header, "FrameOfReferenceUID")
    if not frame:
        raise InputError(
            f"{which} has no Frame of Reference UID, so how it lies to other series is not known: give one that has it."
        )
    if spacing is None or places is None:
        raise InputError(f"{which} has slices that do not make a regular volume: give the original series.")
    ordered = tuple(slices[i] for i in np.argsort(places))
    header = ordered[0].instance.header
    geometry = VolumeGeometry.from_attributes(
        image_position=ordered[0].position,
        image_orientation=orientation,
        rows=int(first_value(header, "Rows")),
        columns=int(first_value(header, "Columns")),
        pixel_spacing=ordered[0].spacing,
        spacing_between_slices=spacing,
        number_of_frames=len(ordered),
        coordinate_system="PATIENT",
        frame_of_reference_uid=valid_uid(frame),
    )
    return Stack(ordered, geometry)


def _slices(instance: Instance, which: str) -> list[Slice]:
    """Slices of an object; frames by their own functional groups and the shared ones (PS3.3 C.7.6.16)."""
    header = instance.header
    kind = words(header, "ImageType")
    per_frame = header.get("PerFrameFunctionalGroupsSequence")
    if not per_frame:
        return [_slice(instance, 0, header, kind, which)]
    shared = list(header.get("SharedFunctionalGroupsSequence") or [])[:1]
    slices = []
    for i, group in enumerate(per_frame):
        described = Dataset()
        for name in _MACROS:
            described.update(next((g[name][0] for g in (group, *shared) if name in g and len(g[name].value)), {}))
        made = _slice(instance, i, described, words(described, "FrameType") or kind, which)
        slope, intercept = number(described, "RescaleSlope"), number(described, "RescaleIntercept")
        slices.append(replace(made, slope=1.0 if slope is None else slope, intercept=intercept or 0.0))
    return slices


def _slice(instance: Instance, index: int, described: Dataset, kind: tuple[str, ...], which: str) -> Slice:
    geometry: list[tuple[float, ...]] = []
    for keyword, count in (("ImagePositionPatient", 3), ("ImageOrientationPatient", 6), ("PixelSpacing", 2)):
        if (values := numbers(value_of(described, keyword), count)) is None:
            raise InputError(
                f"{which} has an image without a usable {keyword}, which says where it lies: give the original series."
            )
        geometry.append(tuple(values))
    position, orientation, spacing = geometry
    rows, columns = np.reshape(orientation, (2, 3))
    lengths = np.linalg.norm([rows, columns], axis=1)
    strange = not _FINEST <= min(spacing) <= max(spacing) <= _COARSEST
    if np.abs([*(lengths - 1.0), rows @ columns]).max() > 10 * _TURN or strange:
        raise InputError(
            f"{which} states directions or spacings of its pixels that cannot be: give the original series."
        )
    return Slice(instance, index, kind, position, orientation, spacing)


def _check_alike(slices: Sequence[Slice], which: str) -> None:
    for name, values, tolerance in (
        ("sizes", [[first_value(s.instance.header, k) for k in ("Rows", "Columns")] for s in slices], 0),
        ("orientations", [s.orientation for s in slices], _TURN),
        ("pixel spacings", [s.spacing for s in slices], _TURN),
        ("frames of reference", [[hash(text(s.instance.header, "FrameOfReferenceUID"))] for s in slices], 0),
    ):
        table = np.array(values, dtype=float)
        if np.abs(table - table[0]).max() > tolerance:
            raise InputError(f"{which} holds images of several {name}: give the series whole and alone.")


def _check_spacing(distances: np.ndarray, drift: np.ndarray, which: str) -> None:
    """Refuse distances between slices (mm, in order) that make no regular volume."""
    gaps = np.diff(distances)
    if gaps.min() < _COINCIDE:
        raise InputError(
            f"{which} has {int((gaps < _COINCIDE).sum())} slices at the place of another: give each slice once."
        )
    shear = np.linalg.norm(drift[-1] - drift[0]) / (distances[-1] - distances[0])
    if shear > _DRIFT:
        raise InputError(
            f"{which} has slices that are sheared against their normal by {np.degrees(np.arctan(shear)):.1f} degrees "
            "(gantry tilt): reformat it to a straight volume."
        )
    steps = gaps / np.median(gaps) if len(gaps) > 2 else gaps / gaps.min()
    if np.abs(steps - 1.0).max() <= _UNEVEN:
        return
    if np.abs(steps - np.round(steps)).max() <= _UNEVEN * steps.max() and steps.min() > 0.5:
        raise InputError(f"{which} lacks {int(np.round(steps).sum()) - len(steps)} slices within: give all of them.")
    raise InputError(
        f"{which} has slices at uneven distances ({gaps.min():.2f} to {gaps.max():.2f} mm): give the original series."
    )
