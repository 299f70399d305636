# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0


from __future__ import annotations

import hashlib
from typing import Any

import pytest
from pydicom import config
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset

from medsegdiff_monai.apps.dicom.reading.identity import complete_header, identity_note, reference_header


def header(**attributes: Any) -> Dataset:
    """A header with values as they are, whether DICOM allows them or not."""
    ds = Dataset()
    for keyword, value in attributes.items():
        tag: Any = tag_for_keyword(keyword)
        ds.add(DataElement(tag, dictionary_VR(tag), value, validation_mode=config.IGNORE))
    return ds


@pytest.mark.parametrize(
    ("keyword", "stated", "copied"),
    [
        ("PatientBirthDate", "19700101", "19700101"),
        ("PatientBirthDate", "1970.01.01", "19700101"),  # the form of ACR-NEMA
        ("PatientBirthDate", "00/00/0000", ""),
        ("PatientBirthDate", "00000000", ""),
        ("PatientBirthDate", "19700231", ""),
        ("PatientBirthDate", "19700101-19800101", ""),
        ("StudyDate", "unknown", ""),
        ("StudyTime", "101500.123", "101500.123"),
        ("StudyTime", "10:15:00", "101500"),
        ("StudyTime", "1015", "1015"),
        ("StudyTime", "250000", ""),
        ("StudyTime", "101500-111500", ""),
        ("PatientSex", "F", "F"),
        ("PatientSex", "Male", ""),
        ("PatientSex", "W", ""),
        ("PatientName", "Yamada^Tarou=山田^太郎=やまだ^たろう", "Yamada^Tarou=山田^太郎=やまだ^たろう"),
        ("PatientName", "N" * 64, "N" * 64),
        ("PatientName", "N" * 65, ""),
        ("PatientName", "A=B=C=D", ""),
        ("PatientName", "A^B^C^D^E^F", ""),
        ("PatientName", "red\x1b[31m", ""),
        ("PatientID", "x" * 65, ""),
        ("PatientID", ["a", "b"], ""),
        ("PatientID", "a\nb", ""),
        ("StudyID", "x" * 17, ""),
        ("AccessionNumber", "A1 ", "A1"),
    ],
)
def test_what_identifies_is_copied_where_dicom_allows_it_and_else_empty(keyword: str, stated: Any, copied: str) -> None:
    source = header(**{keyword: stated})
    assert str(complete_header(source)[keyword].value) == copied
    assert (keyword in identity_note([source])) is (copied == "")


@pytest.mark.parametrize(
    ("keyword", "stated"),
    [
        ("PatientAge", "42"),
        ("StudyDescription", "x" * 65),
        ("SoftwareVersions", ["1", "x" * 65]),
        ("SmokingStatus", "OFTEN"),
        ("PatientComments", "x" * 10241),
        ("ClinicalTrialProtocolID", "x" * 65),
    ],
)
def test_what_need_not_be_there_is_left_out_where_it_breaks_the_rules(keyword: str, stated: Any) -> None:
    source = header(**{keyword: stated})
    assert keyword not in complete_header(source)
    assert keyword in identity_note([source])


def test_all_that_dicom_wants_is_there_and_nothing_to_be_said_of_a_good_header() -> None:
    complete = complete_header(
        header(PatientID="1", PatientAge="042Y", PatientWeight="70.5", SoftwareVersions=["1", "2"])
    )
    for keyword in ("PatientName", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID"):
        assert complete[keyword].value in ("", None)
    assert (complete.PatientID, complete.PatientAge, complete.PatientWeight) == ("1", "042Y", 70.5)
    assert list(complete.SoftwareVersions) == ["1", "2"]
    assert complete.SpecificCharacterSet == "ISO_IR 192"
    assert identity_note([header(PatientID="1", StudyInstanceUID="1.2.3")]) == ""


def test_nothing_nested_is_copied() -> None:
    inner = header(ReferencedSOPInstanceUID="1.2.3")
    sequences = (
        "ReferencedStudySequence",
        "OtherPatientIDsSequence",
        "ProcedureCodeSequence",
        "SpecimenDescriptionSequence",
    )
    complete = complete_header(header(PatientID="1", **{keyword: [inner] for keyword in sequences}))
    assert not [element for element in complete if element.VR == "SQ"]


@pytest.mark.parametrize("stated", ["1.2.3.04.5", f"1.2.{'1' * 61}", "PID4711007", "1.2.", "1..2", "1"])
@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID"])
def test_a_uid_that_is_none_is_always_replaced_by_the_same(keyword: str, stated: str) -> None:
    source = header(**{keyword: stated})
    made = str(complete_header(source)[keyword].value)
    assert made == reference_header(header(**{keyword: stated, "PatientID": "2"}))[keyword].value
    assert made.startswith("2.25.")
    assert len(made) <= 64
    assert hashlib.md5(stated.encode()).hexdigest() not in made
    assert f"{keyword} replaced" in identity_note([source])


def test_a_valid_uid_stays_as_it_is() -> None:
    source = header(StudyInstanceUID="1.2.840.113619.2.55.3")
    assert complete_header(source).StudyInstanceUID == "1.2.840.113619.2.55.3"


def test_invalid_uids_of_any_image_of_a_case_are_told_once() -> None:
    images = [header(SOPInstanceUID=uid) for uid in ("1.2.3", "1.02", "1.03")]
    assert identity_note(images).count("SOPInstanceUID") == 1


def test_modules_are_whole_or_not_there() -> None:
    partial = complete_header(header(ClinicalTrialProtocolID="P", ClinicalTrialSiteName="S"))
    assert "ClinicalTrialProtocolID" not in partial
    assert "ClinicalTrialSiteName" not in partial
    whole = complete_header(header(ClinicalTrialProtocolID="P", ClinicalTrialSponsorName="S"))
    assert (whole.ClinicalTrialSiteID, whole.ClinicalTrialProtocolName) == ("", "")


def test_how_a_patient_was_made_anonymous_is_said_in_words() -> None:
    codes = [header(CodeValue=str(i), CodeMeaning=f"Option {i}") for i in range(2)]
    removed = header(PatientIdentityRemoved="YES", DeidentificationMethodCodeSequence=codes)
    assert list(complete_header(removed).DeidentificationMethod) == ["Option 0", "Option 1"]
    assert complete_header(header(PatientIdentityRemoved="YES")).DeidentificationMethod == "not stated"
