# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import Orientation

from medsegdiff_monai.apps.bundle import SegmentationResult
from medsegdiff_monai.apps.calibrate import CalibrationRecord
from medsegdiff_monai.apps.dicom.case import DicomSegmenter, SegmentedCase
from medsegdiff_monai.apps.dicom.reading.images import VolumeInput
from medsegdiff_monai.apps.report import ReportCase, ReportRegion, ReportReliability
from medsegdiff_monai.data.grids import grid_spacing
from medsegdiff_monai.measurements import Measurement

__all__ = ["case_pages", "known_reliability"]


def case_pages(segmented: SegmentedCase, segmenter: DicomSegmenter, title: str) -> dict[str, ReportCase]:
    """HTML reports of a case by the names of their files: one for a volume, one for each frame.

    Volumes are turned to the nearest axes that run to the patient's right, front and head. The title names no patient.
    """
    source = segmented.source
    if isinstance(source, VolumeInput):
        (result,) = segmented.results
        arrays = [source.image.as_tensor().numpy(), result.label_map[None], result.probability, result.uncertainty]
        turn = Orientation(axcodes="RAS", labels=None)
        tensors = [torch.from_numpy(np.ascontiguousarray(a)) for a in arrays]
        turned: list[Any] = [turn(MetaTensor(t, affine=source.image.affine)) for t in tensors]
        image, (label_map,), probability, uncertainty = (t.as_tensor().numpy() for t in turned)
        shown: dict[str, Any] = {"frame": "RAS", "spacing": grid_spacing(turned[0].affine.numpy(), 3)}
        shown["images"] = dict(zip(segmenter.codes.contrasts, image, strict=True))
        in_ras = replace(result, label_map=label_map, probability=probability, uncertainty=uncertainty)
        return {"report.html": _page(title, segmenter, in_ras, segmented.measurements[0], **shown)}
    pages = {}
    several = len(source.images) > 1
    frames = zip(source.images, segmented.results, segmented.measurements, strict=True)
    for number, (frame, result, measurements) in enumerate(frames, start=1):
        array = frame.as_tensor().numpy()
        image = array[0] if len(array) == 1 else np.moveaxis(array, 0, -1)
        shown = {"spacing": source.axis_spacing, "images": {"image": image}}
        heading, name = (f"{title}, frame {number}", f"report_{number:03d}.html") if several else (title, "report.html")
        pages[name] = _page(heading, segmenter, result, measurements, **shown)
    return pages


def _page(
    title: str, segmenter: DicomSegmenter, result: SegmentationResult, measurements: Sequence[Measurement], **shown: Any
) -> ReportCase:
    equipment, settings = segmenter.equipment, segmenter.segmenter.settings
    regions = [
        ReportRegion(name, np.isin(result.label_map, values), result.probability[c], result.uncertainty[c])
        for c, (name, values) in enumerate(segmenter.segmenter.regions.items())
        if values
    ]
    return ReportCase(
        title=title,
        regions=regions,
        measurements=measurements,
        facts={"Bundle": f"{equipment.model} {equipment.bundle_version}", "Settings": settings},
        reliability=known_reliability(segmenter),
        **shown,
    )


def known_reliability(segmenter: DicomSegmenter) -> ReportReliability | None:
    """Calibration of a bundle; None where no ``configs/calibration.json`` is of its weights and temperature."""
    configs = segmenter.segmenter.folder / "configs"
    place = configs / "calibration.json"
    if not place.is_file():
        return None
    record = CalibrationRecord.read(place)
    temperature = json.loads((configs / "inference.json").read_text(encoding="utf-8")).get("temperature")
    weights = f"weights-{record.weights_sha256[:16]}"
    if (segmenter.equipment.serial, temperature) != (weights, record.temperature):
        return None
    settings = f"{record.num_inference_steps} steps, {record.num_ensemble} members"
    return ReportReliability(record.after.bins, record.cases, record.section, settings)
