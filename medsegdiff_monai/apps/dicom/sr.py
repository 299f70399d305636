# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0


from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from highdicom.sr import (
    AlgorithmIdentification,
    Comprehensive3DSR,
    DeviceObserverIdentifyingAttributes,
    FindingSite,
    Measurement,
    MeasurementReport,
    ObservationContext,
    ObserverContext,
    PlanarROIMeasurementsAndQualitativeEvaluations,
    ReferencedSegment,
    ReferencedSegmentationFrame,
    SourceImageForSegmentation,
    SourceSeriesForSegmentation,
    TrackingIdentifier,
    VolumetricROIMeasurementsAndQualitativeEvaluations,
)
from highdicom.sr.coding import CodedConcept
from highdicom.uid import UID
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes as dictionary

from medsegdiff_monai.apps.dicom.codes import BundleCodes, SegmentCodes
from medsegdiff_monai.apps.dicom.equipment import Equipment, SeriesPlace
from medsegdiff_monai.apps.dicom.pixels import is_multiframe

__all__ = ["Finding", "Value", "make_report"]

_DIGITS = 6  # significant: more than a measurement on pixels can have


@dataclass(frozen=True)
class Value:
    """A number with what it is and its unit; the label says what the code alone does not."""

    name: CodedConcept
    value: float
    unit: CodedConcept
    label: str | None = None


@dataclass(frozen=True)
class Finding:
    """What was measured of one segment, in a volume or in one frame.

    Attributes:
        segment: the segment.
        values: its measurements.
        frame: index of the frame of the source; None for a volume.
    """

    segment: SegmentCodes
    values: tuple[Value, ...]
    frame: int | None


def make_report(
    findings: Sequence[Finding],
    segmentation: Dataset,
    evidence: Sequence[Dataset],
    codes: BundleCodes,
    tracking: dict[str, UID],
    equipment: Equipment,
    place: SeriesPlace,
) -> Comprehensive3DSR:
    """A measurement report (PS3.16 TID 1500), with a group for each segment that refers to it.

    It is complete, but neither final nor verified: no person has looked at it.

    Args:
        findings: what was measured.
        segmentation: the binary segmentation that was measured.
        evidence: headers of the source images.
        codes: what the segments are.
        tracking: the tracking UID of each segment.
        equipment: what makes the object.
        place: its series.
    """
    attributes = equipment.attributes
    device = DeviceObserverIdentifyingAttributes(
        uid=UID(),
        name=attributes["manufacturer_model_name"],
        manufacturer_name=attributes["manufacturer"],
        model_name=attributes["manufacturer_model_name"],
        serial_number=attributes["device_serial_number"],
    )
    observer = ObserverContext(observer_type=dictionary.DCM.Device, observer_identifying_attributes=device)
    report = MeasurementReport(
        observation_context=ObservationContext(observer_device_context=observer),
        procedure_reported=dictionary.SCT.ImagingProcedure,
        imaging_measurements=[_group(f, segmentation, evidence, codes, tracking) for f in findings],
        title=dictionary.DCM.ImagingMeasurementReport,
    )
    made = Comprehensive3DSR(
        evidence=[*evidence, segmentation],
        content=report,
        is_complete=True,
        **attributes,
        **place.next_instance(),
    )
    return made


def _group(
    finding: Finding, segmentation: Dataset, evidence: Sequence[Dataset], codes: BundleCodes, tracking: dict[str, UID]
) -> PlanarROIMeasurementsAndQualitativeEvaluations | VolumetricROIMeasurementsAndQualitativeEvaluations:
    segment = finding.segment
    common: dict[str, Any] = {
        "tracking_identifier": TrackingIdentifier(uid=tracking[segment.name], identifier=segment.name),
        "algorithm_id": AlgorithmIdentification(name=codes.algorithm.name, version=codes.algorithm.version),
        "finding_category": segment.category,
        "finding_type": segment.property_type,
        "finding_sites": [FindingSite(anatomic_location=segment.anatomy)],
        "measurements": [_measurement(v) for v in finding.values],
    }
    number = codes.segments.index(segment) + 1
    if finding.frame is None:
        whole = ReferencedSegment(
            segmentation.SOPClassUID,
            segmentation.SOPInstanceUID,
            segment_number=number,
            source_series=SourceSeriesForSegmentation(evidence[0].SeriesInstanceUID),
        )
        return VolumetricROIMeasurementsAndQualitativeEvaluations(referenced_segment=whole, **common)
    source = SourceImageForSegmentation(
        evidence[0].SOPClassUID,
        evidence[0].SOPInstanceUID,
        referenced_frame_numbers=[finding.frame + 1] if is_multiframe(evidence[0]) else None,
    )
    frame = ReferencedSegmentationFrame(
        segmentation.SOPClassUID,
        segmentation.SOPInstanceUID,
        frame_number=_frame_number(segmentation, number, finding.frame),
        segment_number=number,
        source_image=source,
    )
    # A frame of a segmentation is of one segment, whose number shall then not be stated (PS3.3 table 10-3).
    del frame[0].ReferencedSOPSequence[0].ReferencedSegmentNumber
    return PlanarROIMeasurementsAndQualitativeEvaluations(referenced_segment=frame, **common)


def _measurement(value: Value) -> Measurement:
    label = None if value.label is None else TrackingIdentifier(identifier=value.label)
    rounded = float(f"{value.value:.{_DIGITS}g}")
    return Measurement(name=value.name, value=rounded, unit=value.unit, tracking_identifier=label)


def _frame_number(segmentation: Dataset, segment: int, frame: int) -> int:
    """Number of the frame of a segmentation that holds a segment in a frame of the source."""
    shared = segmentation.SharedFunctionalGroupsSequence[0]
    for number, group in enumerate(segmentation.PerFrameFunctionalGroupsSequence, start=1):
        identified = group if "SegmentIdentificationSequence" in group else shared
        same_segment = identified.SegmentIdentificationSequence[0].ReferencedSegmentNumber == segment
        if same_segment and group.FrameContentSequence[0].TemporalPositionIndex == frame + 1:
            return number
    raise ValueError(f"The segmentation has no frame of segment {segment} for frame {frame + 1} of its source.")
