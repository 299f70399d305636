# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

import numpy as np
from highdicom.content import AlgorithmIdentificationSequence, VOILUTTransformation
from highdicom.pm import DerivedPixelContrastValues, ParametricMap, RealWorldValueMapping
from highdicom.seg import SegmentAlgorithmTypeValues, Segmentation, SegmentationTypeValues, SegmentDescription
from highdicom.sr.coding import CodedConcept
from highdicom.uid import UID

from medsegdiff_monai.apps.dicom.codes import BundleCodes, ImageKind, SegmentCodes
from medsegdiff_monai.apps.dicom.reading.attributes import derived_uid
from medsegdiff_monai.apps.dicom.writing.grid import SourceGrid

__all__ = ["UNCERTAINTY_STEPS", "Equipment", "ObjectMaker", "ResultUIDs", "series_sizes"]

UNCERTAINTY_STEPS = 1000  # stored values of an uncertainty of 1 bit: finer than anything that can be seen
_BIT = CodedConcept(value="bit", scheme_designator="UCUM", meaning="bit")
_DESCRIPTION = "Automatic segmentation for research"
_MANUFACTURER, _PACKAGE = "MedSegDiff-MONAI", "medsegdiff_monai"
_SERIES = {"segmentation": 901, "probability": 902, "uncertainty": 903, "measurements": 904, "annotation": 905}


@dataclass(frozen=True)
class Equipment:
    """The software that makes the objects (PS3.3 C.7.5.1)."""

    model: str  # name of the bundle
    bundle_version: str
    serial: str  # tells these weights from others, as a device's serial number does


@dataclass(frozen=True)
class ResultUIDs:
    """UIDs of all that is made for a case, derived from two keys, so that equal keys name equal objects."""

    case: str = field(default_factory=lambda: uuid.uuid4().hex)  # the case and what segmented it; random by default
    settings: str = ""  # what else makes the pixels different; it goes into the objects' UIDs, not into the series'

    def series(self, number: int) -> UID:
        """Series Instance UID of the series of a number."""
        return derived_uid("series", self.case, str(number))

    def instance(self, number: int, index: int) -> UID:
        """SOP Instance UID of an object of that series, counted from 1."""
        return derived_uid("instance", self.case, self.settings, str(number), str(index))

    def tracking(self, name: str) -> UID:
        """Tracking UID of a segment."""
        return derived_uid("tracking", self.case, self.settings, name)


def series_sizes(codes: BundleCodes) -> dict[int, int]:
    """Number of the objects in each series that is made for a case, by the series' number."""
    maps = len(codes.regions) if codes.kind is ImageKind.VOLUME else 1
    return {n: maps if kind == "uncertainty" else 1 for kind, n in _SERIES.items() if kind != "annotation"}


@dataclass(frozen=True)
class ObjectMaker:
    """Makes the objects of a case, each kind a series, from arrays ``(frames, rows, columns, segments or regions)``."""

    grid: SourceGrid
    codes: BundleCodes
    equipment: Equipment
    uids: ResultUIDs

    def attributes(self, kind: str, index: int = 1) -> dict[str, Any]:
        """Arguments of highdicom's constructors for an object of a series, counted from 1."""
        number, made_by = _SERIES[kind], self.equipment
        return {
            "manufacturer": _MANUFACTURER,
            "manufacturer_model_name": made_by.model,
            "software_versions": [f"bundle {made_by.bundle_version}", f"{_PACKAGE} {version(_PACKAGE)}"],
            "device_serial_number": made_by.serial,
            "series_instance_uid": self.uids.series(number),
            "series_number": number,
            "series_description": f"{self.codes.algorithm.name} {kind}",
            "sop_instance_uid": self.uids.instance(number, index),
            "instance_number": index,
        }

    def binary(self, masks: np.ndarray, kind: str = "segmentation") -> Segmentation:
        """A binary segmentation (PS3.3 A.51) with a segment for each part and region; they may overlap."""
        described = self._described(self.codes.segments)
        return self._segmentation(masks.astype(np.uint8), SegmentationTypeValues.BINARY, described, kind)

    def probability(self, probability: np.ndarray) -> Segmentation:
        """A fractional segmentation with the probability of each region, in steps of 1/255."""
        described, values = self._described(self.codes.regions), probability.clip(0.0, 1.0)
        return self._segmentation(values, SegmentationTypeValues.FRACTIONAL, described, "probability")

    def uncertainty(self, uncertainty: np.ndarray) -> Segmentation:
        """A fractional segmentation with the uncertainty of each region, in steps of 1/255 bit.

        For images without a frame of reference, which a parametric map requires (PS3.3 A.75). The standard has no
        fractional type for an uncertainty, so labels and descriptions say that it is one.
        """
        described = self._described(self.codes.regions)
        for item in described:
            item.SegmentLabel = f"Uncertainty: {item.SegmentLabel}"[:64]
            item.SegmentDescription = "Entropy of the probability in bits: 0 is certain, 1 is not"
        values = uncertainty.clip(0.0, 1.0)
        made = self._segmentation(values, SegmentationTypeValues.FRACTIONAL, described, "uncertainty")
        made.ContentLabel, made.ContentDescription = "UNCERTAINTY", "Uncertainty of an automatic segmentation, in bits"
        return made

    def uncertainty_map(self, uncertainty: np.ndarray, region: SegmentCodes) -> ParametricMap:
        """A parametric map (PS3.3 A.75) of the entropy of one region's probability, in bits: 0 is certain, 1 is not.

        An entropy is neither a probability nor an occupancy, as fractional segmentations are. Whole numbers with a
        real-world value mapping are shown by more viewers than floating-point pixels.
        """
        mapping = RealWorldValueMapping(
            lut_label=region.name[:16],
            lut_explanation=f"Uncertainty of {region.label}"[:64],
            unit=_BIT,
            value_range=(0, UNCERTAINTY_STEPS),
            intercept=0.0,
            slope=1.0 / UNCERTAINTY_STEPS,
        )
        stored = np.rint(uncertainty.clip(0.0, 1.0) * UNCERTAINTY_STEPS).astype(np.uint16)
        made = ParametricMap(
            source_images=self.grid.sources,
            pixel_array=self.grid.pixels(stored, None),
            contains_recognizable_visual_features=False,
            real_world_value_mappings=[mapping],
            voi_lut_transformations=[VOILUTTransformation(UNCERTAINTY_STEPS / 2, UNCERTAINTY_STEPS)],
            derived_pixel_contrast=DerivedPixelContrastValues.NONE,
            content_label="UNCERTAINTY",
            content_description=f"Entropy of {region.label}"[:64],
            **self.attributes("uncertainty", self.codes.regions.index(region) + 1),
        )
        made.BodyPartExamined = self.codes.body_part
        self.grid.finish(made)
        return made

    def _segmentation(
        self, pixels: np.ndarray, type_: SegmentationTypeValues, described: Sequence[Any], kind: str
    ) -> Segmentation:
        channels = {"SegmentNumber": [int(d.SegmentNumber) for d in described]}
        made = Segmentation(
            source_images=self.grid.sources,
            pixel_array=self.grid.pixels(pixels, channels),
            segmentation_type=type_,
            segment_descriptions=described,
            content_label=type_.value,
            content_description=_DESCRIPTION,
            omit_empty_frames=self.grid.omits_empty_frames,
            **self.attributes(kind),
        )
        made.BodyPartExamined = self.codes.body_part
        self.grid.finish(made)
        return made

    def _described(self, segments: Sequence[SegmentCodes]) -> list[SegmentDescription]:
        """Descriptions of segments, numbered from 1."""
        algorithm = self.codes.algorithm
        identification = AlgorithmIdentificationSequence(
            name=algorithm.name, family=algorithm.family, version=algorithm.version, source=_MANUFACTURER
        )
        return [
            SegmentDescription(
                segment_number=number,
                segment_label=s.label,
                segmented_property_category=s.category,
                segmented_property_type=s.property_type,
                algorithm_type=SegmentAlgorithmTypeValues.AUTOMATIC,
                algorithm_identification=identification,
                tracking_uid=self.uids.tracking(s.name),
                tracking_id=s.name,
                anatomic_regions=[s.anatomy],
                display_color=s.colour,
            )
            for number, s in enumerate(segments, start=1)
        ]
