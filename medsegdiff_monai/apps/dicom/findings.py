# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0


from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from highdicom.sr.coding import CodedConcept
from pydicom.sr.codedict import codes as dictionary

from medsegdiff_monai.apps.dicom.codes import BundleCodes, Measure
from medsegdiff_monai.apps.dicom.sr import Finding, Value
from medsegdiff_monai.measurements import (
    diameters,
    largest_diameters,
    mask_area,
    mask_volume,
    vertical_extent,
    vertical_ratio,
)

__all__ = ["picture_findings", "volume_findings"]

_VOLUME = CodedConcept.from_code(dictionary.SCT.Volume)
_AREA = CodedConcept.from_code(dictionary.SCT.Area)
_LONG_AXIS = CodedConcept.from_code(dictionary.SCT.LongAxis)
_PERPENDICULAR = CodedConcept.from_code(dictionary.SCT.PerpendicularAxis)
_HEIGHT = CodedConcept.from_code(dictionary.DCM.Height)
_ML = CodedConcept(value="mL", scheme_designator="UCUM", meaning="mL")
_MM = CodedConcept(value="mm", scheme_designator="UCUM", meaning="mm")
_MM2 = CodedConcept(value="mm2", scheme_designator="UCUM", meaning="mm2")
_PIXELS = CodedConcept(value="{pixels}", scheme_designator="UCUM", meaning="pixels")
_RATIO = CodedConcept(value="{ratio}", scheme_designator="UCUM", meaning="ratio")


def volume_findings(
    masks: np.ndarray, codes: BundleCodes, spacing: Sequence[float], voxel_volume: float
) -> list[Finding]:
    """Volume in mL and in-plane diameters in mm of each segment; an empty one has a volume of 0 and no diameters.

    Args:
        masks: of shape ``(slices, rows, columns, segments)``.
        codes: the segments.
        spacing: between rows and between columns, mm.
        voxel_volume: in mm3.
    """
    findings = []
    for i, segment in enumerate(codes.segments):
        values = []
        if Measure.VOLUME in codes.measures:
            values.append(Value(_VOLUME, mask_volume(masks[..., i], voxel_volume), _ML))
        if Measure.DIAMETERS in codes.measures and (found := largest_diameters(masks[..., i], spacing)) is not None:
            values += [Value(_LONG_AXIS, found.longest, _MM), Value(_PERPENDICULAR, found.perpendicular, _MM)]
        findings.append(Finding(segment, tuple(values), None))
    return findings


def picture_findings(masks: np.ndarray, codes: BundleCodes, spacing: tuple[float, float] | None) -> list[Finding]:
    """Area, diameters and vertical extent of each segment in each frame; in pixels where no spacing is known.

    Args:
        masks: of shape ``(frames, rows, columns, segments)``.
        codes: the segments.
        spacing: between rows and between columns, mm, or None.
    """
    return [
        Finding(segment, tuple(_values(mask, i, codes, spacing)), frame)
        for frame, mask in enumerate(masks)
        for i, segment in enumerate(codes.segments)
    ]


def _values(mask: np.ndarray, index: int, codes: BundleCodes, spacing: tuple[float, float] | None) -> Iterator[Value]:
    """Measurements of one segment in a frame ``(rows, columns, segments)``."""
    length, area = (_MM, _MM2) if spacing is not None else (_PIXELS, _PIXELS)
    scale = spacing or (1.0, 1.0)
    own = mask[..., index]
    if Measure.AREA in codes.measures:
        yield Value(_AREA, mask_area(own, scale), area)
    if Measure.DIAMETERS in codes.measures and (found := diameters(own, scale)) is not None:
        yield Value(_LONG_AXIS, found.longest, length)
        yield Value(_PERPENDICULAR, found.perpendicular, length)
    if Measure.VERTICAL_EXTENT in codes.measures:
        yield Value(_HEIGHT, vertical_extent(own, scale[0]), length)
    if codes.ratio is not None and codes.segments[index].name == codes.ratio.to:
        names = [s.name for s in codes.segments]
        ratio = vertical_ratio(mask[..., names.index(codes.ratio.of)], own)
        if ratio is not None:
            yield Value(codes.ratio.code, ratio, _RATIO, codes.ratio.label)
