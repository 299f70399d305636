# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("highdicom", reason="needs medsegdiff_monai[dicom]")

import numpy as np
from apps.dicom import objects

from medsegdiff_monai.apps.calibrate import CalibrationRecord, Measured
from medsegdiff_monai.apps.dicom import DicomSegmenter, find_dicom_cases, read_headers
from medsegdiff_monai.apps.dicom.pages import case_pages, known_reliability
from medsegdiff_monai.apps.dicom.reading.identity import Privacy
from medsegdiff_monai.metrics import Reliability
from medsegdiff_monai.utils import InputError

FUNDUS = "fundus_optic_medsegdiff"


@pytest.fixture(scope="module")
def segmenter(bundles: Path, tmp_path_factory: pytest.TempPathFactory) -> DicomSegmenter:
    """A copy of a bundle that nobody has calibrated."""
    copy = tmp_path_factory.mktemp("copied") / FUNDUS
    shutil.copytree(bundles / FUNDUS, copy, ignore=shutil.ignore_patterns("eval", "calibration.json"))
    return DicomSegmenter(copy, 1, 2, "cpu")


@pytest.fixture
def record(segmenter: DicomSegmenter) -> CalibrationRecord:
    """A record that fits the copy; nothing of it is in its folder afterwards."""
    before, after = Reliability(), Reliability()
    before.update(np.array([0.1, 0.9]), np.array([0, 1]))
    after.update(np.array([0.2, 0.8, 0.8]), np.array([0, 1, 0]))
    bundle = segmenter.segmenter.folder
    return CalibrationRecord(
        temperature=json.loads((bundle / "configs" / "inference.json").read_text())["temperature"],
        data_set="eyes",
        section="validation",
        cases=7,
        regions=["disc"],
        num_inference_steps=4,
        num_ensemble=5,
        weights_sha256=hashlib.sha256((bundle / "models" / "model.pt").read_bytes()).hexdigest(),
        before=Measured.from_reliability(before),
        after=Measured.from_reliability(after),
    )


def put(segmenter: DicomSegmenter, record: CalibrationRecord) -> Path:
    place = segmenter.segmenter.folder / "configs" / "calibration.json"
    record.write(place)
    return place


def test_report_shows_what_holds_after_the_calibration(
    segmenter: DicomSegmenter, record: CalibrationRecord, fundus_image: np.ndarray, tmp_path: Path
) -> None:
    objects.picture(tmp_path / "a.dcm", fundus_image, objects.new_study(), objects.FUNDUS_8BIT, photometric="RGB")
    instances, _ = read_headers([tmp_path], Privacy())
    ((case,), _) = find_dicom_cases(instances, segmenter.codes, Privacy())
    segmented = segmenter.segment(segmenter.read(case))
    assert case_pages(segmented, segmenter, "Case 1")["report.html"].reliability is None
    place = put(segmenter, record)
    shown = case_pages(segmented, segmenter, "Case 1")["report.html"].reliability
    place.unlink()
    assert shown is not None
    assert shown.bins == record.after.bins
    assert (shown.cases, shown.section, shown.settings) == (7, "validation", "4 steps, 5 members")


def test_other_weights_and_another_temperature_are_not_what_was_calibrated(
    segmenter: DicomSegmenter, record: CalibrationRecord
) -> None:
    for other in (replace(record, weights_sha256="0" * 64), replace(record, temperature=record.temperature + 0.1)):
        place = put(segmenter, other)
        assert known_reliability(segmenter) is None
    place.write_text("{}")
    with pytest.raises(InputError, match="is no record of a calibration"):
        known_reliability(segmenter)
    place.unlink()
