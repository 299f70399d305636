# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0
"""What a real PACS answers to wrong usage ends in one sentence, and the study stays as it was."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from support.orthanc import PASSWORD, USER, Orthanc, free_port

from medsegdiff_monai.apps.dicom import DicomSegmenter
from medsegdiff_monai.apps.dicomweb import Credentials, Limits, Pacs, PacsError

THYROID, BRAIN = "thyroid_ultrasound_medsegdiff", "brats_mri_medsegdiff"


def test_each_mistake_has_its_sentence(
    orthanc: Orthanc, new_study: str, segmenter_of: Callable[[str], DicomSegmenter], run: Callable[..., Any]
) -> None:
    before = orthanc.objects(new_study)
    nothing = f"http://127.0.0.1:{free_port()}/dicom-web"
    thyroid = segmenter_of(THYROID)
    for done, sentence in (
        (run(orthanc.url, thyroid, new_study, password="wrong"), "refuses the credentials (401): check them"),
        (run(nothing, thyroid, new_study), f"The connection to the PACS at {nothing} failed (asking for the study)"),
        (run(orthanc.root, thyroid, new_study), "is not DICOMweb: give as --url the address"),
        (run(f"{orthanc.root}/app", thyroid, new_study), "does not have it (404): check --url and --study"),
        (run(orthanc.url.replace("http:", "https:"), thyroid, new_study), "There is no TLS connection to the PACS"),
        (run(orthanc.url, thyroid, "1.2.3"), "The PACS has no study ...1.2.3: check --study"),
        (
            run(orthanc.url, segmenter_of(BRAIN), new_study),
            "can be an image for the bundle, which takes MR (found 1 US): choose another study or bundle",
        ),
    ):
        assert done.failed == 1, done.said
        assert sentence in done.said
        assert done.said.count("\n") == 0
        assert not [secret for secret in (USER, PASSWORD, "wrong", new_study) if secret in done.said]
    assert orthanc.objects(new_study) == before


def test_without_credentials_the_way_to_give_them_is_named(orthanc: Orthanc, new_study: str) -> None:
    pacs = Pacs(orthanc.url, Credentials(), Limits(timeout=300.0))
    with pytest.raises(PacsError, match=r"asks for credentials \(401\): see MEDSEGDIFF_DICOMWEB_USER"):
        pacs.series_of(new_study)
