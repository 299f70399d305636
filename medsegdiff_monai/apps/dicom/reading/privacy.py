# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydicom.dataset import Dataset

from medsegdiff_monai.apps.dicom.reading.attributes import words
from medsegdiff_monai.utils import printable

__all__ = ["Privacy", "without_values_in_logs"]

_SHORTEST = 3  # shorter parts of a name or number occur in file names by chance
_IDENTITY = ("PatientID", "OtherPatientIDs", "PatientBirthDate", "AccessionNumber", "IssuerOfPatientID")
_NAMES = ("PatientName", "OtherPatientNames", "PatientBirthName", "PatientMotherBirthName", "ReferringPhysicianName")


class Privacy:
    """What must not be printed: words of patients' names and their numbers, as headers give them.

    Folders and files are often named by the patient; their paths are shown without such words.
    """

    def __init__(self) -> None:
        self._words: set[str] = set()

    def learn(self, ds: Dataset) -> None:
        """Take note of who a header is about."""
        for keyword in (*_NAMES, *_IDENTITY):
            for value in words(ds, keyword):
                parts = value.replace("^", " ").replace("=", " ").replace("_", " ").replace(",", " ").split()
                self._words |= {part for part in (*parts, value) if len(part) >= _SHORTEST}

    def shown(self, path: Path) -> str:
        """A path without the words of patients and in one line; the case of letters does not matter."""
        if not self._words:
            return printable(path)
        pattern = "|".join(re.escape(word) for word in sorted(self._words, key=len, reverse=True))
        return printable(re.sub(pattern, "***", str(path), flags=re.IGNORECASE))


@contextmanager
def without_values_in_logs(*more: str) -> Iterator[None]:
    """Silence pydicom, highdicom and further loggers, whose warnings quote the values of damaged attributes."""
    loggers = [logging.getLogger(name) for name in ("pydicom", "highdicom", *more)]
    levels = [one.level for one in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            for one in loggers:
                one.setLevel(logging.CRITICAL)
            yield
        finally:
            for one, level in zip(loggers, levels):
                one.setLevel(level)
