# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

import logging
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

from pydicom.charset import python_encoding
from pydicom.datadict import dictionary_VM, dictionary_VR
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from medsegdiff_monai.apps.dicom.reading.attributes import (
    RETIRED_CLASSES,
    is_valid_uid,
    number,
    text,
    valid_uid,
    value_of,
    words,
)
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
    "DS": re.compile(r"(?=.{1,16}$)[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII),
    "TM": re.compile(r"([01]\d|2[0-3])([0-5]\d(([0-5]\d|60)(\.\d{1,6})?)?)?", re.ASCII),
}
_DATE = re.compile(r"(\d{4})(\d{2})(\d{2})", re.ASCII)
_OLD_DATE = re.compile(r"(\d{4})\.(\d{2})\.(\d{2})", re.ASCII)  # of ACR-NEMA (PS3.5 6.2, notes)
_OLD_TIME = re.compile(r"(\d{2}):(\d{2}):(\d{2}(?:\.\d{1,6})?)", re.ASCII)
_NAME_GROUPS, _NAME_COMPONENTS, _NAME_LENGTH = 3, 5, 64  # PS3.5 6.2.1
_SHORTEST = 3  # shorter parts of a name or number occur in file names by chance
_PERSONAL = (
    *("PatientName", "OtherPatientNames", "PatientBirthName", "PatientMotherBirthName", "ReferringPhysicianName"),
    *("PatientID", "OtherPatientIDs", "PatientBirthDate", "AccessionNumber", "IssuerOfPatientID"),
)


def complete_header(header: Dataset) -> Dataset:
    """Attributes of an image that are copied into what is made from it, as DICOM allows them.

    A value that breaks the rules of its representation is left out, or empty where DICOM wants the attribute. A UID
    that is none is replaced by one that is always made of the same text. Texts are in UTF-8.
    """
    complete = Dataset()
    complete.SpecificCharacterSet = "ISO_IR 192"
    for keyword in COPIED:
        if values := _allowed(header, keyword):
            setattr(complete, keyword, values if len(values) > 1 else values[0])
    for keyword in _TYPE_2:
        complete.setdefault(keyword, "")
    _complete_modules(header, complete)
    complete.update(reference_header(header))
    return complete


def reference_header(header: Dataset) -> Dataset:
    """The part of a header that refers to an image: its UIDs, its class as highdicom knows it, and its size."""
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


def identity_note(headers: Sequence[Dataset]) -> str:
    """One sentence on what :func:`complete_header` does not copy of a case's images as it is; empty where all is."""
    first = headers[0]  # what is copied comes from it
    parts = []
    if any(t and t not in python_encoding for t in _texts(first, "SpecificCharacterSet")):
        parts.append("SpecificCharacterSet guessed")
    if emptied := [keyword for keyword in COPIED if _allowed(first, keyword) is None]:
        parts.append(f"{', '.join(emptied)} left empty")
    replaced = [k for header in headers for k in _UIDS if (stated := text(header, k)) and not is_valid_uid(stated)]
    if replaced:
        parts.append(f"{', '.join(dict.fromkeys(replaced))} replaced by a UID made of it")
    return f"{' and '.join(parts)}, for DICOM does not allow what the images state" if parts else ""


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


def _allowed(header: Dataset, keyword: str) -> list[Any] | None:
    """Values of an attribute in the form that DICOM wants, none where it is empty; None where one breaks the rules."""
    values = [_checked(keyword, value) for value in _texts(header, keyword)]
    return None if None in values or (len(values) > 1 and dictionary_VM(keyword) == "1") else values


def _texts(header: Dataset, keyword: str) -> list[str]:
    """Values of an attribute as texts without blanks around them; none where it is empty."""
    value = value_of(header, keyword)
    if value is None:
        return ["\0"] if keyword in header and header.get_item(keyword).value else []  # the former is damaged
    several = value if isinstance(value, (MultiValue, list)) else [value]
    texts = [(v.decode("latin_1") if isinstance(v, bytes) else str(v)).strip(" \0") for v in several]
    return texts if any(texts) else []


def _checked(keyword: str, value: str) -> str | None:
    """A value in the form that DICOM wants; None where it breaks the rules."""
    representation = dictionary_VR(keyword)
    if representation == "DA":
        return _date(value)
    if representation == "TM" and (old := _OLD_TIME.fullmatch(value)):
        value = "".join(old.groups())
    if keyword in _ENUMERATED:
        fits = value in _ENUMERATED[keyword]
    elif representation in _LENGTHS:
        shown = value.translate(_LINES) if representation in ("ST", "LT", "UT") else value.replace("\\", "\0")
        fits = len(value) <= _LENGTHS[representation] and shown.isprintable()
    elif representation == "PN":
        groups = value.split("=")
        fits = all(len(g) <= _NAME_LENGTH and g.count("^") < _NAME_COMPONENTS for g in groups)
        fits = fits and len(groups) <= _NAME_GROUPS and value.isprintable() and "\\" not in value
    else:
        fits = _FORMS[representation].fullmatch(value) is not None
    return value if fits else None


def _date(value: str) -> str | None:
    match = _DATE.fullmatch(value) or _OLD_DATE.fullmatch(value)
    try:
        return None if match is None else date(*map(int, match.groups())).strftime("%Y%m%d").zfill(8)
    except ValueError:  # no such day
        return None


class Privacy:
    """Words that must not be printed: of patients' names and numbers, which folders and files are often named by."""

    def __init__(self) -> None:
        self._words: set[str] = set()

    def learn(self, ds: Dataset) -> None:
        """Take note of who a header is about."""
        for keyword in _PERSONAL:
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
    levels = {logger: logger.level for logger in map(logging.getLogger, ("pydicom", "highdicom", *more))}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            for logger in levels:
                logger.setLevel(logging.CRITICAL)
            yield
        finally:
            for logger, level in levels.items():
                logger.setLevel(level)
