# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0
"""A PACS that goes away, or takes only a part, leaves nothing that the next run does not mend."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.orthanc import CuttingProxy, Orthanc

from medsegdiff_monai.apps.dicom import DicomSegmenter

THYROID = "thyroid_ultrasound_medsegdiff"
RETRIEVE, STORE = b"GET /dicom-web/studies/%s/series/", b"POST /dicom-web/studies/"


@pytest.mark.parametrize(
    ("marker", "of_answer", "after", "gone", "sentence"),
    [
        (b"GET /dicom-web/studies?", True, 0, True, "failed (asking for the study)"),
        (RETRIEVE, True, 3000, False, "failed (retrieving the images)"),
        (RETRIEVE, True, 3000, True, "failed (retrieving the images)"),
        (STORE, False, 9000, True, "What of the results it has stored is not known: run the command again"),
        (STORE, False, 9000, False, "check that it runs and that --url is right. Nothing of the results is stored."),
    ],
)
def test_a_connection_that_breaks_leaves_the_study_as_it_was(
    orthanc: Orthanc,
    new_study: str,
    segmenter_of: Callable[[str], DicomSegmenter],
    run: Callable[..., Any],
    temporary: Path,
    marker: bytes,
    of_answer: bool,
    after: int,
    gone: bool,
    sentence: str,
) -> None:
    before = orthanc.objects(new_study)
    marker = marker.replace(b"%s", new_study.encode())
    with CuttingProxy(orthanc.port, marker, after, of_answer, gone) as proxy:
        done = run(proxy.url, segmenter_of(THYROID), new_study)
        assert proxy.cut
    assert done.failed == 1
    assert sentence in done.said
    assert orthanc.objects(new_study) == before
    assert list(temporary.glob("medsegdiff-*")) == []
    assert run(orthanc.url, segmenter_of(THYROID), new_study).failed == 0
    assert len(orthanc.objects(new_study)) == len(before) + 4


def test_only_the_answer_is_lost_and_all_is_stored(
    orthanc: Orthanc, new_study: str, segmenter_of: Callable[[str], DicomSegmenter], run: Callable[..., Any]
) -> None:
    before = orthanc.objects(new_study)
    with CuttingProxy(orthanc.port, STORE, after=0, of_answer=True) as proxy:
        done = run(proxy.url, segmenter_of(THYROID), new_study)
        assert proxy.cut
    assert done.failed == 0, done.said
    assert len(orthanc.objects(new_study)) == len(before) + 4


def test_a_pacs_that_is_killed_while_it_receives(
    put_ultrasound: Callable[[Orthanc, Path], str],
    segmenter_of: Callable[[str], DicomSegmenter],
    run: Callable[..., Any],
    tmp_path: Path,
) -> None:
    server = Orthanc(tmp_path)
    try:
        study = put_ultrasound(server, tmp_path / "in")
        before = server.objects(study)
        with CuttingProxy(server.port, STORE, after=9000, then=server.kill) as proxy:
            done = run(proxy.url, segmenter_of(THYROID), study)
            gone = run(proxy.url, segmenter_of(THYROID), study)
        assert done.failed == 1
        assert "What of the results it has stored is not known: run the command again" in done.said
        assert gone.failed == 1
        assert "failed (asking for the study)" in gone.said
        server.start()
        assert server.objects(study) == before
        assert run(server.url, segmenter_of(THYROID), study).failed == 0
        assert len(server.objects(study)) == len(before) + 4
    finally:
        server.stop()


def test_a_part_that_the_pacs_refuses_is_named_and_stored_by_the_next_run(
    orthanc: Orthanc, new_study: str, segmenter_of: Callable[[str], DicomSegmenter], run: Callable[..., Any]
) -> None:
    before = orthanc.objects(new_study)
    orthanc.refuse("SR")
    try:
        done = run(orthanc.url, segmenter_of(THYROID), new_study)
    finally:
        orthanc.refuse(None)
    assert done.failed == 1
    # This Orthanc says "stored" of what its filter drops, and has no DELETE (405).
    assert "Of the results, 3 of 4 objects are stored, which the PACS does not delete" in done.said
    part = orthanc.objects(new_study)
    assert len(part) == len(before) + 3
    mended = run(orthanc.url, segmenter_of(THYROID), new_study)
    assert mended.failed == 0
    assert "1 objects stored; 3 were there" in mended.said
    whole = orthanc.objects(new_study)
    assert part.items() <= whole.items()
    assert len(whole) == len(before) + 4
    (report,) = [orthanc.file(whole[uid]) for uid in whole.keys() - part.keys()]
    assert report.Modality == "SR"
    evidence = [s for study in report.CurrentRequestedProcedureEvidenceSequence for s in study.ReferencedSeriesSequence]
    referred = {i.ReferencedSOPInstanceUID for s in evidence for i in s.ReferencedSOPSequence}
    assert referred <= whole.keys()  # the part of the first run is what the report of the second is about


def test_remains_of_other_settings_are_not_completed_with_these(
    orthanc: Orthanc,
    new_study: str,
    segmenter_of: Callable[[str], DicomSegmenter],
    run: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    segmenter = segmenter_of(THYROID)
    before = orthanc.objects(new_study)
    assert run(orthanc.url, segmenter, new_study).failed == 0
    made = orthanc.objects(new_study)
    orthanc.remove(next(name for uid, name in made.items() if uid not in before))
    monkeypatch.setattr(segmenter.segmenter, "settings", "other settings")
    assert run(orthanc.url, segmenter, new_study).failed == 0
    assert len(orthanc.objects(new_study)) == len(before) + 3 + 4
