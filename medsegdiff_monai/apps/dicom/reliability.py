# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json

from medsegdiff_monai.apps.calibrate import CalibrationRecord
from medsegdiff_monai.apps.dicom.case import DicomSegmenter
from medsegdiff_monai.apps.report.reliability import ReportReliability

__all__ = ["known_reliability"]


def known_reliability(segmenter: DicomSegmenter) -> ReportReliability | None:
    """How often the probabilities of a bundle came true where its temperature was fitted; None where that is not known.

    It is not known where the bundle has no ``configs/calibration.json``, or its weights or its temperature are others
    by now.

    Args:
        segmenter: the bundle.

    Raises:
        InputError: when the file is no record of a calibration.
    """
    configs = segmenter.segmenter.folder / "configs"
    place = configs / "calibration.json"
    if not place.is_file():
        return None
    record = CalibrationRecord.read(place)
    temperature = json.loads((configs / "inference.json").read_text(encoding="utf-8")).get("temperature")
    same_weights = segmenter.equipment.serial == f"weights-{record.weights_sha256[:16]}"
    if not same_weights or temperature != record.temperature:
        return None
    settings = f"{record.num_inference_steps} steps, {record.num_ensemble} members"
    return ReportReliability(record.after.bins, record.cases, record.section, settings)
