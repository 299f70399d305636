# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0


from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from highdicom.content import VOILUTTransformation
from highdicom.pm import DerivedPixelContrastValues, ParametricMap, RealWorldValueMapping
from highdicom.seg import Segmentation, SegmentationTypeValues
from highdicom.sr.coding import CodedConcept
from highdicom.uid import UID

from medsegdiff_monai.apps.dicom.codes import BundleCodes, SegmentCodes
from medsegdiff_monai.apps.dicom.equipment import Equipment, SeriesPlace, segment_descriptions
from medsegdiff_monai.apps.dicom.grid import SourceGrid

__all__ = [
    "UNCERTAINTY_STEPS",
    "make_binary",
    "make_probability",
    "make_uncertainty_map",
    "make_uncertainty_segmentation",
]

UNCERTAINTY_STEPS = 1000  # stored values of an uncertainty of 1 bit: finer than anything that can be seen
_BIT = CodedConcept(value="bit", scheme_designator="UCUM", meaning="bit")
_DESCRIPTION = "Automatic segmentation for research"


def make_binary(
    masks: np.ndarray,
    grid: SourceGrid,
    codes: BundleCodes,
    tracking: dict[str, UID],
    equipment: Equipment,
    place: SeriesPlace,
) -> Segmentation:
    """A binary segmentation (PS3.3 A.51) with a segment for each part and region; they may overlap.

    Args:
        masks: of shape ``(frames, rows, columns, segments)``, in the order of the source grid.
        grid: the source images.
        codes: what the segments are.
        tracking: a tracking UID for each segment.
        equipment: what makes the object.
        place: its series.
    """
    described = segment_descriptions(codes.segments, codes.algorithm, tracking)
    return _segmentation(masks.astype(np.uint8), SegmentationTypeValues.BINARY, described, grid, equipment, place)


def make_probability(
    probability: np.ndarray,
    grid: SourceGrid,
    codes: BundleCodes,
    tracking: dict[str, UID],
    equipment: Equipment,
    place: SeriesPlace,
) -> Segmentation:
    """A fractional segmentation with the probability of each region, in steps of 1/255.

    Args:
        probability: of shape ``(frames, rows, columns, regions)`` in [0, 1], in the order of the source grid.
        grid: the source images.
        codes: what the regions are.
        tracking: a tracking UID for each of them.
        equipment: what makes the object.
        place: its series.
    """
    described = segment_descriptions(codes.regions, codes.algorithm, tracking)
    values = probability.clip(0.0, 1.0)
    return _segmentation(values, SegmentationTypeValues.FRACTIONAL, described, grid, equipment, place)


def _segmentation(
    pixels: np.ndarray,
    kind: SegmentationTypeValues,
    described: Sequence[Any],
    grid: SourceGrid,
    equipment: Equipment,
    place: SeriesPlace,
) -> Segmentation:
    channels = {"SegmentNumber": [int(d.SegmentNumber) for d in described]}
    made = Segmentation(
        source_images=grid.sources,
        pixel_array=grid.pixels(pixels, channels),
        segmentation_type=kind,
        segment_descriptions=described,
        content_label=kind.value,
        content_description=_DESCRIPTION,
        omit_empty_frames=grid.omits_empty_frames,
        **equipment.attributes,
        **place.next_instance(),
    )
    grid.finish(made)
    return made


def make_uncertainty_segmentation(
    uncertainty: np.ndarray,
    grid: SourceGrid,
    codes: BundleCodes,
    tracking: dict[str, UID],
    equipment: Equipment,
    place: SeriesPlace,
) -> Segmentation:
    """The uncertainty of each region, in steps of 1/255 bit, as a fractional segmentation.

    For images without a frame of reference, of which there may be no parametric map (PS3.3 A.75 requires the module).
    Labels and descriptions say that it is an uncertainty, for the standard has no fractional type for it.

    Args:
        uncertainty: of shape ``(frames, rows, columns, regions)`` in [0, 1], in the order of the source grid.
        grid: the source images.
        codes: what the regions are.
        tracking: a tracking UID for each of them.
        equipment: what makes the object.
        place: its series.
    """
    described = segment_descriptions(codes.regions, codes.algorithm, tracking)
    for item in described:
        item.SegmentLabel = f"Uncertainty: {item.SegmentLabel}"[:64]
        item.SegmentDescription = "Entropy of the probability in bits: 0 is certain, 1 is not"
    values = uncertainty.clip(0.0, 1.0)
    made = _segmentation(values, SegmentationTypeValues.FRACTIONAL, described, grid, equipment, place)
    made.ContentLabel, made.ContentDescription = "UNCERTAINTY", "Uncertainty of an automatic segmentation, in bits"
    return made


def make_uncertainty_map(
    uncertainty: np.ndarray, region: SegmentCodes, grid: SourceGrid, equipment: Equipment, place: SeriesPlace
) -> ParametricMap:
    """A parametric map (PS3.3 A.75) of the entropy of one region's probability, in bits: 0 is certain, 1 is not.

    It is no fractional segmentation, for an entropy is neither a probability nor an occupancy and must not be taken
    for one. Whole numbers with a real-world value mapping are shown by more viewers than floating-point pixels.

    Args:
        uncertainty: of shape ``(frames, rows, columns)`` in [0, 1], in the order of the source grid.
        region: the region.
        grid: the source images.
        equipment: what makes the object.
        place: its series.
    """
    mapping = RealWorldValueMapping(
        lut_label=region.name[:16],
        lut_explanation=f"Uncertainty of {region.label}"[:64],
        unit=_BIT,
        value_range=(0, UNCERTAINTY_STEPS),
        intercept=0.0,
        slope=1.0 / UNCERTAINTY_STEPS,
    )
    window = VOILUTTransformation(window_center=UNCERTAINTY_STEPS / 2, window_width=UNCERTAINTY_STEPS)
    stored = np.rint(uncertainty.clip(0.0, 1.0) * UNCERTAINTY_STEPS).astype(np.uint16)
    made = ParametricMap(
        source_images=grid.sources,
        pixel_array=grid.pixels(stored, None),
        contains_recognizable_visual_features=False,
        real_world_value_mappings=[mapping],
        voi_lut_transformations=[window],
        derived_pixel_contrast=DerivedPixelContrastValues.NONE,
        content_label="UNCERTAINTY",
        content_description=f"Entropy of {region.label}"[:64],
        **equipment.attributes,
        **place.next_instance(),
    )
    grid.finish(made)
    return made
