# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0
"""From a real PACS through the command and back into it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from apps.dicom import objects
from pydicom.dataset import Dataset
from support.orthanc import PASSWORD, USER, Orthanc

from medsegdiff_monai.apps.dicom import DicomSegmenter, segment_folders
from medsegdiff_monai.apps.dicomweb import Credentials, Limits, Pacs, StudyOptions, segment_study
from medsegdiff_monai.data.phantoms import make_phantom

THYROID, BRAIN = "thyroid_ultrasound_medsegdiff", "brats_mri_medsegdiff"
SECRETS = ("testmann", "gertrude", objects.PATIENT_ID.lower(), objects.BIRTH_DATE, PASSWORD, USER)
SEG, SR = "1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.88.34"


def command(url: str, study: str, bundle: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "medsegdiff_monai", "dicomweb", "--url", url, "--study", study]
    line += ["--bundle", str(bundle), "--steps", "1", "--members", "2", "--device", "cpu", *arguments]
    allowed = {"MEDSEGDIFF_DICOMWEB_USER": USER, "MEDSEGDIFF_DICOMWEB_PASSWORD": PASSWORD}
    return subprocess.run(line, capture_output=True, text=True, check=False, env={**os.environ, **allowed})


def by_description(datasets: list[Dataset]) -> dict[str, Dataset]:
    """Objects by what tells them apart in a case: series and content."""
    found = {f"{ds.SeriesNumber} {ds.get('ContentDescription', '')}": ds for ds in datasets}
    assert len(found) == len(datasets)
    return found


def results(orthanc: Orthanc, study: str, before: dict[str, str]) -> list[Dataset]:
    """The objects of a study that were not there before."""
    return [orthanc.file(name) for uid, name in orthanc.objects(study).items() if uid not in before]


def numbers(report: Dataset) -> list[float]:
    """All numbers of a structured report, in its order."""
    own = [float(v.NumericValue) for v in report.get("MeasuredValueSequence", [])]
    return own + [n for item in report.get("ContentSequence", []) for n in numbers(item)]


def same_results(stored: list[Dataset], folder: Path) -> None:
    """Compare objects of the PACS with those that the command ``dicom`` wrote."""
    written = by_description([pydicom.dcmread(path) for path in folder.rglob("*.dcm")])
    found = by_description(stored)
    assert found.keys() == written.keys()
    for name, ds in found.items():
        if "PixelData" in ds:
            assert np.array_equal(ds.pixel_array, written[name].pixel_array), name
        else:
            assert numbers(ds) == numbers(written[name])
            assert numbers(ds)


def test_a_brain_study_gets_its_results_once_and_new_ones_where_asked(
    orthanc: Orthanc,
    small_bundle: Callable[[str], Path],
    segmenter_of: Callable[[str], DicomSegmenter],
    run: Callable[..., Any],
    validate: Callable[[Path], str],
    temporary: Path,
    tmp_path: Path,
) -> None:
    image = make_phantom("brain", np.random.default_rng(3), (32, 28, 24))[0]
    study = str(objects.brain_study(tmp_path / "in", image)["StudyInstanceUID"])
    orthanc.put(tmp_path / "in")
    before = orthanc.objects(study)
    done = command(orthanc.url, study, small_bundle(BRAIN))
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert "96 objects of 4 series retrieved" in done.stdout
    assert "6 objects stored" in done.stdout
    assert not [secret for secret in (*SECRETS, study) if secret in said.lower()]
    assert list(temporary.glob("medsegdiff-*")) == []

    stored = results(orthanc, study, before)
    segment_folders(segmenter_of(BRAIN), [tmp_path / "in"], tmp_path / "out", report=lambda _: None)
    same_results(stored, tmp_path / "out")
    listed = {item["00080060"]["Value"][0] for item in orthanc.query(f"studies/{study}/series")}
    assert {"MR", "SEG", "SR"} <= listed
    for number, ds in enumerate(stored):
        ds.save_as(tmp_path / f"back_{number}.dcm")
        assert validate(tmp_path / f"back_{number}.dcm") == ""

    first = orthanc.objects(study)
    second = run(orthanc.url, segmenter_of(BRAIN), study)
    assert second.failed == 0
    assert "have results of this bundle and these weights already; give --again" in second.said
    assert orthanc.objects(study) == first
    assert run(orthanc.url, segmenter_of(BRAIN), study, again=True).failed == 0
    assert len(orthanc.objects(study)) == len(first) + 6
    again = [ds for ds in results(orthanc, study, first) if ds.SOPClassUID == SEG and ds.SegmentationType == "BINARY"]
    earlier = [ds for ds in stored if ds.SOPClassUID == SEG and ds.SegmentationType == "BINARY"]
    assert [ds.PixelData for ds in again] == [ds.PixelData for ds in earlier]


def test_an_ultrasound_image_and_what_the_results_refer_to(
    orthanc: Orthanc,
    new_study: str,
    segmenter_of: Callable[[str], DicomSegmenter],
    run: Callable[..., Any],
    tmp_path: Path,
) -> None:
    before = orthanc.objects(new_study)
    kept = tmp_path / "kept"
    kept.mkdir()
    assert run(orthanc.url, segmenter_of(THYROID), new_study, out=kept).failed == 0
    stored = results(orthanc, new_study, before)
    assert len(stored) == 4
    same_results(stored, kept)
    summary = json.loads((kept / "summary.json").read_text(encoding="utf-8"))
    assert [case["problem"] for case in summary["cases"]] == [None]
    segment_folders(segmenter_of(THYROID), [tmp_path / "thyroid"], tmp_path / "out", report=lambda _: None)
    same_results(stored, tmp_path / "out")
    (source,) = before
    seg = next(ds for ds in stored if ds.SOPClassUID == SEG and ds.SegmentationType == "BINARY")
    referred = {i.ReferencedSOPInstanceUID for s in seg.ReferencedSeriesSequence for i in s.ReferencedInstanceSequence}
    assert referred == {source}
    report = next(ds for ds in stored if ds.SOPClassUID == SR)
    evidence = [s for study in report.CurrentRequestedProcedureEvidenceSequence for s in study.ReferencedSeriesSequence]
    assert {i.ReferencedSOPInstanceUID for s in evidence for i in s.ReferencedSOPSequence} == {
        source,
        seg.SOPInstanceUID,
    }


def test_the_images_lie_in_a_private_folder_while_they_are_needed(
    orthanc: Orthanc, new_study: str, segmenter_of: Callable[[str], DicomSegmenter], temporary: Path
) -> None:
    seen: list[tuple[int, int]] = []

    def look(line: str) -> None:
        folders = list(temporary.glob("medsegdiff-*"))
        seen.extend((folder.stat().st_mode & 0o777, len(list(folder.rglob("*.dcm")))) for folder in folders)

    pacs = Pacs(orthanc.url, Credentials(USER, PASSWORD), Limits(timeout=300.0))
    segment_study(pacs, segmenter_of(THYROID), new_study, StudyOptions(report=look))
    assert seen == [(0o700, 1)] * 2  # at the line after retrieving, and at that after storing
    assert list(temporary.glob("medsegdiff-*")) == []


def test_another_version_or_other_weights_make_new_results(
    orthanc: Orthanc,
    new_study: str,
    segmenter_of: Callable[[str], DicomSegmenter],
    run: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    segmenter = segmenter_of(THYROID)
    assert run(orthanc.url, segmenter, new_study).failed == 0
    stored = len(orthanc.objects(new_study))
    made_by = segmenter.equipment
    for other in (
        type(made_by)(made_by.model, "99.0.0", made_by.serial),
        type(made_by)(made_by.model, made_by.bundle_version, "weights-0123456789abcdef"),
    ):
        monkeypatch.setattr(segmenter, "equipment", other)
        assert run(orthanc.url, segmenter, new_study).failed == 0
        stored += 4
        assert len(orthanc.objects(new_study)) == stored
    assert "already" in run(orthanc.url, segmenter, new_study).said
    assert len(orthanc.objects(new_study)) == stored


def test_several_studies_of_which_one_fails(
    orthanc: Orthanc, new_study: str, segmenter_of: Callable[[str], DicomSegmenter], run: Callable[..., Any]
) -> None:
    before = orthanc.objects(new_study)
    done = run(orthanc.url, segmenter_of(THYROID), "1.2.3.4", new_study)
    assert done.failed == 1
    assert "Error: Study ...1.2.3.4: The PACS has no study ...1.2.3.4: check --study." in done.said
    assert len(orthanc.objects(new_study)) == len(before) + 4


def test_a_real_series_gives_what_the_command_dicom_gives(
    orthanc: Orthanc,
    real_series: Path,
    segmenter_of: Callable[[str], DicomSegmenter],
    run: Callable[..., Any],
    tmp_path: Path,
) -> None:
    orthanc.put(real_series)
    header = pydicom.dcmread(next(real_series.glob("*.dcm")), stop_before_pixels=True)
    study, series = str(header.StudyInstanceUID), str(header.SeriesInstanceUID)
    before = orthanc.objects(study)
    segmenter = segmenter_of(BRAIN)
    alone = run(orthanc.url, segmenter, study)
    assert alone.failed == 1
    assert "missing (found series" in alone.said
    assert "retrieved" not in alone.said
    assert orthanc.objects(study) == before

    # One series for all four contrasts makes no sense but a volume of real geometry.
    named = dict.fromkeys(segmenter.codes.contrasts, series)
    done = run(orthanc.url, segmenter, study, named=named)
    assert done.failed == 0, done.said
    assert "16 objects of 1 series retrieved" in done.said
    segment_folders(segmenter, [real_series], tmp_path / "out", contrasts=named, report=lambda _: None)
    same_results(results(orthanc, study, before), tmp_path / "out")
