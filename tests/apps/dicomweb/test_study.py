# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0
"""A study of a PACS, which is a folder here."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from apps.dicom import objects

from medsegdiff_monai.apps.dicom import DicomSegmenter
from medsegdiff_monai.apps.dicomweb import StoredSeries, StudyOptions, run_dicomweb
from medsegdiff_monai.apps.dicomweb.command import segment_studies
from medsegdiff_monai.data.phantoms import make_phantom

THYROID = "thyroid_ultrasound_medsegdiff"
IMAGE = make_phantom("ultrasound", np.random.default_rng(4), (48, 56))[0]


class FolderPacs:
    """A PACS that lists and sends what is in a folder, and keeps what is stored."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.stored = folder, dict[str, Any]()

    def series_of(self, study: str) -> dict[str, StoredSeries]:
        series: dict[str, StoredSeries] = {}
        for path in sorted(self.folder.glob("*.dcm")):
            ds = pydicom.dcmread(path, stop_before_pixels=True)
            one = series.setdefault(ds.SeriesInstanceUID, StoredSeries(ds.SeriesInstanceUID, ds.Modality))
            one.instances[ds.SOPInstanceUID] = ds.SOPClassUID
        return series

    def retrieve(self, study: str, series: Iterable[StoredSeries], folder: Path) -> int:
        return len([shutil.copy(path, folder) for path in self.folder.glob("*.dcm")])

    def store(self, study: str, made: dict[str, Any]) -> None:
        self.stored |= made

    def instances_of(self, study: str) -> set[str]:
        return set(self.stored)


@pytest.fixture(scope="module")
def segmenter(thyroid_bundle: Path) -> DicomSegmenter:
    return DicomSegmenter(thyroid_bundle, 1, 2, "cpu")


@pytest.fixture
def pacs(tmp_path: Path) -> Any:
    """One with an image whose header has a formal fault."""
    path = objects.picture(tmp_path / "in" / "a.dcm", IMAGE, objects.new_study())
    objects.replace_value(path, "PatientSex", b"Male")
    return FolderPacs(tmp_path / "in")


def test_notes_are_told_and_the_summary_is_there_after_each_study(
    segmenter: DicomSegmenter, pacs: Any, tmp_path: Path
) -> None:
    said: list[str] = []
    summaries: list[int] = []
    original = pacs.series_of

    def series_of(study: str) -> dict[str, StoredSeries]:
        path = tmp_path / "summary.json"
        summaries.append(len(json.loads(path.read_text())["cases"]) if path.is_file() else -1)
        return original(study)

    pacs.series_of = series_of
    options = StudyOptions(out=tmp_path, again=True, report=said.append)
    failed, results, left_out = segment_studies(pacs, segmenter, ["1.2", "1.2"], options)
    print(said)
    assert (failed, left_out, summaries) == (0, [], [-1, 1])
    assert all("PatientSex left empty" in result.note for result in results)
    assert sum(line.startswith("Note: Case") for line in said) == 2
    assert len(pacs.stored) == 4  # of one object, of which the second run makes the same UIDs


@pytest.mark.parametrize("alone", [True, False])
def test_what_the_pacs_had_not_listed_is_told_and_changes_the_exit_status(
    segmenter: DicomSegmenter, pacs: Any, monkeypatch: pytest.MonkeyPatch, alone: bool, capsys: Any
) -> None:
    listed = pacs.series_of("1.2")
    (series,) = listed.values()
    if alone:
        series.instances = {"1.2.3.4": objects.ULTRASOUND}
    else:
        study = objects.new_study()
        objects.picture(pacs.folder / "b.dcm", IMAGE[::-1], study, SeriesNumber=9)
    pacs.series_of = lambda _: listed
    monkeypatch.setattr("medsegdiff_monai.apps.dicomweb.command.DicomSegmenter", lambda *_: segmenter)
    monkeypatch.setattr("medsegdiff_monai.apps.dicomweb.command.Pacs", lambda *_: pacs)
    assert run_dicomweb("http://127.0.0.1/dicom-web", ["1.2"], "bundle") == 1
    said = capsys.readouterr().out
    assert "is not what the PACS had listed" in said
    assert ("There is no image to segment: series" in said) is alone
    assert ("1 of 1 studies done, 1 cases segmented, 1 file left out." in said) is not alone
