# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0


from __future__ import annotations

import logging
import warnings
from pathlib import Path

import pytest
from pydicom.dataset import Dataset

from medsegdiff_monai.apps.dicom import Privacy, without_values_in_logs


def header(**attributes: object) -> Dataset:
    ds = Dataset()
    for name, value in attributes.items():
        setattr(ds, name, value)
    return ds


def test_names_and_numbers_of_patients_are_not_shown_in_paths() -> None:
    privacy = Privacy()
    privacy.learn(header(PatientName="Testmann^Gertrude", PatientID="PID4711007", PatientBirthDate="19520304"))
    shown = privacy.shown(Path("/data/testmann_GERTRUDE/19520304/PID4711007_IM0001.dcm"))
    assert shown == "/data/***_***/***/***_IM0001.dcm"
    assert Privacy().shown(Path("/a/b")) == "/a/b"


def test_short_words_stay_for_they_occur_by_chance() -> None:
    privacy = Privacy()
    privacy.learn(header(PatientName="Wu^Al", PatientID="7"))
    assert privacy.shown(Path("/data/wu7/al.dcm")) == "/data/wu7/al.dcm"


def test_libraries_do_not_quote_values(caplog: pytest.LogCaptureFixture, recwarn: pytest.WarningsRecorder) -> None:
    logger = logging.getLogger("pydicom")
    level = logger.level
    with without_values_in_logs():
        logger.warning("Testmann")
        warnings.warn("Testmann", stacklevel=1)
    assert caplog.text == ""
    assert len(recwarn) == 0
    assert logger.level == level
