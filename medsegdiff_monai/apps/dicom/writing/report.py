# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from collections.abc import Sequence
from typing import Any

import numpy as np
from highdicom import sr
from highdicom.sr.coding import CodedConcept
from highdicom.uid import UID
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes as dictionary

from medsegdiff_monai.apps.bundle import SegmentationResult
from medsegdiff_monai.apps.dicom.codes import BundleCodes, ImageKind, Measure, SegmentCodes
from medsegdiff_monai.apps.dicom.reading.pixels import number_of_frames
from medsegdiff_monai.apps.dicom.writing.segmentation import ObjectMaker
from medsegdiff_monai.measurements import Measurement, measure_ensemble, vertical_extent

__all__ = ["code_measurements", "make_report", "measure_regions"]

CodedMeasurements = dict[str, list[sr.Measurement]]  # by the name of their segment
_DIGITS = 6  # significant: more than a measurement on pixels can have
_MEASURES = {  # of the report, in its order, by the quantity's name in the table of measurements
    "volume": (Measure.VOLUME, dictionary.SCT.Volume),
    "area": (Measure.AREA, dictionary.SCT.Area),
    "longest diameter": (Measure.DIAMETERS, dictionary.SCT.LongAxis),
    "perpendicular diameter": (Measure.DIAMETERS, dictionary.SCT.PerpendicularAxis),
    "vertical extent": (Measure.VERTICAL_EXTENT, dictionary.DCM.Height),
}
_UNITS = {
    unit: CodedConcept(value=code, scheme_designator="UCUM", meaning=unit or "ratio")
    for unit, code in {"mL": "mL", "mm": "mm", "mm2": "mm2", "pixels": "{pixels}", "": "{ratio}"}.items()
}


def measure_regions(
    result: SegmentationResult, codes: BundleCodes, spacing: Sequence[float] | None
) -> list[Measurement]:
    """Measurements of the regions of an image, as the table of a bundle run has them, with its spacing in mm.

    Without members there are no intervals. Regions without label values are not measured.
    """
    channels = {region.name: c for c, region in enumerate(codes.regions) if region.values}
    fused = {name: np.isin(result.label_map, codes.regions[c].values) for name, c in channels.items()}
    probabilities = () if result.members is None else result.members
    members = [{name: member[c] for name, c in channels.items()} for member in probabilities]
    ratio = None if codes.ratio is None else (codes.ratio.of, codes.ratio.to)
    return measure_ensemble(fused, members, spacing, ratio if ratio and set(ratio) <= set(channels) else None)


def code_measurements(
    result: SegmentationResult, codes: BundleCodes, spacing: Sequence[float] | None, regions: Sequence[Measurement]
) -> CodedMeasurements:
    """Measurements of each segment: those of the regions, and without intervals what no member has a probability of."""
    masks = {s.name: np.isin(result.label_map, s.values) for s in codes.segments}
    others = {name: mask for name, mask in masks.items() if name not in {m.region for m in regions}}
    measured = [*regions, *(measure_ensemble(others, [], spacing) if others else [])]
    if Measure.VERTICAL_EXTENT in codes.measures:  # of pictures, whose second axis runs along their columns
        unit, row = ("pixels", 1.0) if spacing is None else ("mm", spacing[1])
        measured += [Measurement(n, "vertical extent", unit, vertical_extent(m.T, row)) for n, m in masks.items()]
    coded: CodedMeasurements = {name: [] for name in masks}
    for quantity, (measure, concept) in _MEASURES.items():
        for m in measured:
            empty = measure is Measure.DIAMETERS and not m.value
            if m.quantity == quantity and measure in codes.measures and not empty:
                coded[m.region].append(_coded(m, concept))
    ratio = codes.ratio
    for m in regions:
        if ratio is not None and m.quantity == "vertical ratio" and m.value is not None:
            coded[ratio.to].append(_coded(m, ratio.code, sr.TrackingIdentifier(identifier=ratio.label)))
    return coded


def _coded(measurement: Measurement, name: Any, label: sr.TrackingIdentifier | None = None) -> sr.Measurement:
    """A measurement with its 90 % interval as ranges of uncertainty above and below the value (PS3.16 TID 310).

    Where the value lies outside the interval, the range on that side is 0, as a range has no sign.
    """
    unit, value = _UNITS[measurement.unit], float(measurement.value or 0.0)
    properties = None
    if measurement.low is not None and measurement.high is not None:
        above, below = (_rounded(max(0.0, d)) for d in (measurement.high - value, value - measurement.low))
        properties = sr.MeasurementProperties(upper_measurement_uncertainty=above, lower_measurement_uncertainty=below)
        for item in properties:  # highdicom states no unit, but they have that of the value
            item.MeasuredValueSequence[0].MeasurementUnitsCodeSequence = [unit]
    return sr.Measurement(name=name, value=_rounded(value), unit=unit, tracking_identifier=label, properties=properties)


def _rounded(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")


def make_report(
    maker: ObjectMaker, segmentation: Dataset, evidence: Sequence[Dataset], coded: Sequence[CodedMeasurements]
) -> sr.Comprehensive3DSR:
    """A measurement report (PS3.16 TID 1500), with a group for each segment (of each frame) that refers to it.

    It is complete, but neither final nor verified: no person has looked at it. ``evidence`` are the source's headers,
    ``coded`` the measurements of the volume or of each frame.
    """
    attributes = maker.attributes("measurements")
    device = sr.DeviceObserverIdentifyingAttributes(
        uid=UID(),
        name=attributes["manufacturer_model_name"],
        manufacturer_name=attributes["manufacturer"],
        model_name=attributes["manufacturer_model_name"],
        serial_number=attributes["device_serial_number"],
    )
    observer = sr.ObserverContext(observer_type=dictionary.DCM.Device, observer_identifying_attributes=device)
    groups = [
        _group(maker, segment, frame, measured[segment.name], segmentation, evidence[0])
        for frame, measured in enumerate(coded)
        for segment in maker.codes.segments
    ]
    report = sr.MeasurementReport(
        observation_context=sr.ObservationContext(observer_device_context=observer),
        procedure_reported=dictionary.SCT.ImagingProcedure,
        imaging_measurements=groups,
        title=dictionary.DCM.ImagingMeasurementReport,
    )
    return sr.Comprehensive3DSR(evidence=[*evidence, segmentation], content=report, is_complete=True, **attributes)


def _group(
    maker: ObjectMaker,
    segment: SegmentCodes,
    frame: int,
    measurements: Sequence[sr.Measurement],
    segmentation: Dataset,
    source: Dataset,
) -> sr.PlanarROIMeasurementsAndQualitativeEvaluations | sr.VolumetricROIMeasurementsAndQualitativeEvaluations:
    codes = maker.codes
    common: dict[str, Any] = {
        "tracking_identifier": sr.TrackingIdentifier(uid=maker.uids.tracking(segment.name), identifier=segment.name),
        "algorithm_id": sr.AlgorithmIdentification(name=codes.algorithm.name, version=codes.algorithm.version),
        "finding_category": segment.category,
        "finding_type": segment.property_type,
        "finding_sites": [sr.FindingSite(anatomic_location=segment.anatomy)],
        "measurements": measurements,
    }
    number = codes.segments.index(segment) + 1
    uids = (segmentation.SOPClassUID, segmentation.SOPInstanceUID)
    if codes.kind is ImageKind.VOLUME:
        series = sr.SourceSeriesForSegmentation(source.SeriesInstanceUID)
        whole = sr.ReferencedSegment(*uids, segment_number=number, source_series=series)
        return sr.VolumetricROIMeasurementsAndQualitativeEvaluations(referenced_segment=whole, **common)
    frames = [frame + 1] if number_of_frames(source) > 1 else None
    image = sr.SourceImageForSegmentation(source.SOPClassUID, source.SOPInstanceUID, referenced_frame_numbers=frames)
    place = _frame_number(segmentation, number, frame)
    planar = sr.ReferencedSegmentationFrame(*uids, frame_number=place, segment_number=number, source_image=image)
    # A frame of a segmentation is of one segment, whose number shall then not be stated (PS3.3 table 10-3).
    del planar[0].ReferencedSOPSequence[0].ReferencedSegmentNumber
    return sr.PlanarROIMeasurementsAndQualitativeEvaluations(referenced_segment=planar, **common)


def _frame_number(segmentation: Dataset, segment: int, frame: int) -> int:
    """Number of the frame of a segmentation that holds a segment in a frame of the source."""
    shared = segmentation.SharedFunctionalGroupsSequence[0]
    for number, group in enumerate(segmentation.PerFrameFunctionalGroupsSequence, start=1):
        identified = group if "SegmentIdentificationSequence" in group else shared
        same_segment = identified.SegmentIdentificationSequence[0].ReferencedSegmentNumber == segment
        if same_segment and group.FrameContentSequence[0].TemporalPositionIndex == frame + 1:
            return number
    raise ValueError(f"The segmentation has no frame of segment {segment} for frame {frame + 1} of its source.")
