# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

from pydicom.charset import python_encoding
from pydicom.datadict import dictionary_VM, dictionary_VR
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from medsegdiff_monai.apps.dicom.reading.attributes import RETIRED_CLASSES, number, text, value_of, words
from medsegdiff_monai.apps.dicom.uids import is_valid_uid, valid_uid
from medsegdiff_monai.utils import printable

__all__ = ["COPIED", "Privacy", "complete_header", "identity_note", "reference_header", "without_values_in_logs"]

# Nothing that is nested is copied: whatever lies in a sequence of the source stays there.
_TYPE_2 = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex"),
    *("StudyDate", "StudyTime", "AccessionNumber", "ReferringPhysicianName", "StudyID"),
)
_TRIAL = ("ClinicalTrialSponsorName", "ClinicalTrialProtocolID")  # type 1: without them there is no such module
_TRIAL_TYPE_2 = ("ClinicalTrialProtocolName", "ClinicalTrialSiteID", "ClinicalTrialSiteName")
_TRIAL_MODULE = (
    *(*_TRIAL, *_TRIAL_TYPE_2, "ClinicalTrialSubjectID", "ClinicalTrialSubjectReadingID"),
    *("ClinicalTrialProtocolEthicsCommitteeName", "ClinicalTrialProtocolEthicsCommitteeApprovalNumber"),
)
COPIED = (  # patient, study, patient study, clinical trial, and the equipment that took the image (PS3.3 C.7, C.12.1)
    *_TYPE_2,
    *("IssuerOfPatientID", "TypeOfPatientID", "PatientBirthTime", "OtherPatientNames", "PatientComments"),
    *("QualityControlSubject", "PatientIdentityRemoved", "DeidentificationMethod"),
    *("PatientSpeciesDescription", "PatientBreedDescription", "ResponsiblePerson", "ResponsiblePersonRole"),
    *("ResponsibleOrganization", "ConsultingPhysicianName", "StudyDescription", "PhysiciansOfRecord"),
    *("NameOfPhysiciansReadingStudy", "AdmittingDiagnosesDescription", "PatientAge", "PatientSize", "PatientWeight"),
    *("PatientBodyMassIndex", "MedicalAlerts", "Allergies", "Occupation", "SmokingStatus"),
    *("AdditionalPatientHistory", "LastMenstrualDate", "PatientSexNeutered", "ReasonForVisit"),
    *("AdmissionID", "ServiceEpisodeID", "ServiceEpisodeDescription", "PatientState"),
    *("ClinicalTrialTimePointID", "ClinicalTrialTimePointDescription", *_TRIAL_MODULE),
    *("Manufacturer", "ManufacturerModelName", "SoftwareVersions", "DeviceSerialNumber", "InstitutionName"),
    *("InstitutionalDepartmentName", "InstitutionAddress", "StationName"),
    *("LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod"),
    *("Modality", "PositionReferenceIndicator"),
)
_UIDS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID")
_ENUMERATED = {
    "PatientSex": ("M", "F", "O"),
    "PatientIdentityRemoved": ("YES", "NO"),
    "QualityControlSubject": ("YES", "NO"),
    "PatientSexNeutered": ("ALTERED", "UNALTERED"),
    "SmokingStatus": ("YES", "NO", "UNKNOWN"),
    "LossyImageCompression": ("00", "01"),
}
_LENGTHS = {"SH": 16, "LO": 64, "ST": 1024, "LT": 10240, "UT": 10240}  # characters; UT has no limit in the standard
_LINES = str.maketrans("", "", "\r\n\f\t")  # what ST, LT and UT may hold besides characters that can be seen
_FORMS = {
    "AS": re.compile(r"\d{3}[DWMY]", re.ASCII),
    "CS": re.compile(r"[A-Z0-9_ ]{1,16}", re.ASCII),
    "DA": re.compile(r"(\d{4})(\d{2})(\d{2})", re.ASCII),
    "DS": re.compile(r"(?=.{1,16}$)[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII),
    "TM": re.compile(r"([01]\d|2[0-3])([0-5]\d(([0-5]\d|60)(\.\d{1,6})?)?)?", re.ASCII),
}
_OLD_DATE = re.compile(r"(\d{4})\.(\d{2})\.(\d{2})", re.ASCII)  # of ACR-NEMA (PS3.5 6.2, notes)
_OLD_TIME = re.compile(r"(\d{2}):(\d{2}):(\d{2}(?:\.\d{1,6})?)", re.ASCII)
_NAME_GROUPS, _NAME_COMPONENTS, _NAME_LENGTH = 3, 5, 64  # PS3.5 6.2.1


def complete_header(header: Dataset) -> Dataset:
    """Attributes of an image that are copied into what is made from it, as DICOM allows them.

    A value that breaks the rules of its representation is left out, or empty where DICOM wants the attribute. A UID
    that is none is replaced by one that is always made of the same text. Texts are in UTF-8.
    """
    return _completed(header, [], [])


def reference_header(header: Dataset) -> Dataset:
    """What is needed of an image to refer to it: its UIDs, its class as highdicom knows it, and its size."""
    made = Dataset()
    for keyword in _UIDS:
        if stated := text(header, keyword):
            setattr(made, keyword, valid_uid(stated))
    if sop_class := text(header, "SOPClassUID"):
        made.SOPClassUID = RETIRED_CLASSES.get(sop_class, sop_class)
    for keyword in ("Rows", "Columns", "NumberOfFrames"):
        if (size := number(header, keyword)) is not None:
            setattr(made, keyword, int(size))
    return made


def identity_note(headers: Iterable[Dataset]) -> str:
    """One sentence on what :func:`complete_header` does not copy of a case's images as it is; empty where all is."""
    emptied: list[str] = []
    made: list[str] = []
    guessed = False
    for i, header in enumerate(headers):
        if i == 0:  # what is copied comes from the first
            _completed(header, emptied, made)
            guessed = any(t and t not in python_encoding for t in _texts(header, "SpecificCharacterSet"))
        else:
            made += _invalid_uids(header)
    parts = ["SpecificCharacterSet guessed"] if guessed else []
    if emptied:
        parts.append(f"{', '.join(emptied)} left empty")
    if made:
        parts.append(f"{', '.join(dict.fromkeys(made))} replaced by a UID made of it")
    return f"{' and '.join(parts)}, for DICOM does not allow what the images state" if parts else ""


def _completed(header: Dataset, emptied: list[str], made: list[str]) -> Dataset:
    complete = Dataset()
    complete.SpecificCharacterSet = "ISO_IR 192"
    for keyword in COPIED:
        if keyword not in header:
            continue
        values = _texts(header, keyword)
        checked = [_checked(keyword, value) for value in values]
        if any(value is None for value in checked) or (len(values) > 1 and dictionary_VM(keyword) == "1"):
            emptied.append(keyword)
        elif values:
            setattr(complete, keyword, checked if len(checked) > 1 else checked[0])
    for keyword in _TYPE_2:
        if keyword not in complete:
            setattr(complete, keyword, "")
    _complete_modules(header, complete)
    complete.update(reference_header(header))
    made += _invalid_uids(header)
    return complete


def _invalid_uids(header: Dataset) -> list[str]:
    return [k for k in _UIDS if (stated := text(header, k)) and not is_valid_uid(stated)]


def _complete_modules(header: Dataset, complete: Dataset) -> None:
    """Keep the rules between attributes: what one of them asks of the others (types 1, 1C and 2)."""
    if all(keyword in complete for keyword in _TRIAL):
        for keyword in _TRIAL_TYPE_2:
            complete.setdefault(keyword, "")
    else:
        for keyword in _TRIAL_MODULE:
            complete.pop(keyword, None)
    if complete.get("PatientIdentityRemoved") == "YES" and "DeidentificationMethod" not in complete:
        codes = value_of(header, "DeidentificationMethodCodeSequence") or []
        meanings = [_checked("DeidentificationMethod", text(code, "CodeMeaning")) for code in codes[:16]]
        complete.DeidentificationMethod = [m for m in meanings if m] or "not stated"
    if complete.get("LossyImageCompression") != "01":
        for keyword in ("LossyImageCompressionRatio", "LossyImageCompressionMethod"):
            complete.pop(keyword, None)


def _texts(header: Dataset, keyword: str) -> list[str]:
    """Values of an attribute as texts without blanks around them; none where it is empty."""
    value = value_of(header, keyword)
    if value is None:
        return ["\0"] if keyword in header and header.get_item(keyword).value else []  # the former is damaged
    values = [_text(v) for v in (value if isinstance(value, (MultiValue, list)) else [value])]
    return values if any(values) else []


def _text(value: Any) -> str:
    return (value.decode("latin_1") if isinstance(value, bytes) else str(value)).strip(" \0")


def _checked(keyword: str, value: str) -> str | None:
    """A value in the form that DICOM wants; None where it breaks the rules."""
    representation = dictionary_VR(keyword)
    if keyword in _ENUMERATED:
        return value if value in _ENUMERATED[keyword] else None
    if representation in _LENGTHS:
        shown = value.translate(_LINES) if representation in ("ST", "LT", "UT") else value.replace("\\", "\0")
        return value if len(value) <= _LENGTHS[representation] and shown.isprintable() else None
    if representation in _CHECKS:
        return _CHECKS[representation](value)
    return value if _FORMS[representation].fullmatch(value) else None


def _date(value: str) -> str | None:
    match = _FORMS["DA"].fullmatch(value) or _OLD_DATE.fullmatch(value)
    try:
        return None if match is None else date(*map(int, match.groups())).strftime("%Y%m%d").zfill(8)
    except ValueError:  # no such day
        return None


def _time(value: str) -> str | None:
    match = _OLD_TIME.fullmatch(value)
    value = "".join(match.groups()) if match else value
    return value if _FORMS["TM"].fullmatch(value) else None


def _name(value: str) -> str | None:
    groups = value.split("=")
    fits = all(len(g) <= _NAME_LENGTH and g.count("^") < _NAME_COMPONENTS for g in groups)
    return value if len(groups) <= _NAME_GROUPS and fits and value.isprintable() and "\\" not in value else None


_CHECKS: dict[str, Callable[[str], str | None]] = {"DA": _date, "TM": _time, "PN": _name}


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
