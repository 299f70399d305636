# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0


from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from apps.dicom import objects

from medsegdiff_monai.apps.dicom import DicomCase, LeftOut, Privacy, find_dicom_cases, read_codes, read_headers

PICTURE = np.arange(64, dtype=np.uint8).reshape(8, 8)
VOLUME = np.arange(8 * 8 * 3, dtype=float).reshape(8, 8, 3)


def find(folder: Path, bundle: Path, regions: dict[str, list[int]]) -> tuple[list[DicomCase], list[LeftOut]]:
    privacy = Privacy()
    instances, unreadable = read_headers([folder], privacy)
    cases, others = find_dicom_cases(instances, read_codes(bundle, regions), privacy)
    return cases, [*unreadable, *others]


@pytest.fixture
def ultrasound(bundles: Path) -> tuple[Path, dict[str, list[int]]]:
    return bundles / "thyroid_ultrasound_medsegdiff", {"nodule": [1]}


@pytest.fixture
def brain(bundles: Path) -> tuple[Path, dict[str, list[int]]]:
    return bundles / "brats_mri_medsegdiff", {"TC": [1, 4], "WT": [1, 2, 4], "ET": [4]}


def test_a_case_is_a_study_for_volumes(tmp_path: Path, brain: Any) -> None:
    for patient in ("a", "b"):
        study = objects.new_study()
        for number in (1, 2):
            objects.mr_series(tmp_path / patient / str(number), VOLUME, np.eye(4), study, number=number)
    cases, left_out = find(tmp_path, *brain)
    assert [len(case.series) for case in cases] == [2, 2]
    assert len({str(case.header.StudyInstanceUID) for case in cases}) == 2
    assert all(len(series.instances) == 3 for case in cases for series in case.series)
    assert left_out == []


def test_a_case_is_an_object_for_pictures(tmp_path: Path, ultrasound: Any) -> None:
    study = objects.new_study()
    series = {"SeriesInstanceUID": "1.2.3.4"}
    for i in (2, 1):
        objects.picture(tmp_path / f"{i}.dcm", PICTURE, study, InstanceNumber=i, **series)
    cine = np.stack([PICTURE, PICTURE + 1])
    objects.picture(tmp_path / "3.dcm", cine, study, objects.ULTRASOUND_MULTIFRAME, InstanceNumber=3, **series)
    cases, _ = find(tmp_path, *ultrasound)
    assert [case.header.InstanceNumber for case in cases] == [1, 2, 3]


@pytest.mark.parametrize(
    ("attributes", "fragment"),
    [
        ({"Modality": "CT"}, "has the modality CT, this bundle takes US"),
        ({"Modality": "SEG"}, "is no image (SEG)"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, "is a localizer"),
        ({"sop_class": objects.SECONDARY_CAPTURE, "BurnedInAnnotation": "YES"}, "may have annotation burned in"),
        ({"sop_class": objects.SECONDARY_CAPTURE}, "may have annotation burned in"),
        ({"sop_class": objects.MR}, "object class that this bundle does not take"),
    ],
)
def test_what_is_no_image_for_the_bundle_is_left_out_with_one_sentence(
    tmp_path: Path, ultrasound: Any, attributes: dict[str, Any], fragment: str
) -> None:
    objects.picture(tmp_path / "wrong.dcm", PICTURE, objects.new_study(), **attributes)
    objects.picture(tmp_path / "right.dcm", PICTURE, objects.new_study())
    cases, left_out = find(tmp_path, *ultrasound)
    assert [Path(case.series[0].instances[0].path).name for case in cases] == ["right.dcm"]
    (one,) = left_out
    assert fragment in one.reason
    assert one.reason.count(".") == 1


def test_a_clean_secondary_capture_is_taken(tmp_path: Path, ultrasound: Any) -> None:
    clean = {"sop_class": objects.SECONDARY_CAPTURE, "BurnedInAnnotation": "NO"}
    objects.picture(tmp_path / "a.dcm", PICTURE, objects.new_study(), **clean)
    cases, left_out = find(tmp_path, *ultrasound)
    assert (len(cases), left_out) == (1, [])


def test_a_localizer_is_left_out_of_a_study(tmp_path: Path, brain: Any) -> None:
    study = objects.new_study()
    objects.mr_series(tmp_path / "1", VOLUME, np.eye(4), study)
    objects.mr_series(tmp_path / "0", VOLUME, np.eye(4), study, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    cases, left_out = find(tmp_path, *brain)
    assert [len(case.series) for case in cases] == [1]
    assert "is a localizer" in left_out[0].reason
    assert "3 images" in left_out[0].what


def test_files_that_are_no_dicom_or_cut_are_named(tmp_path: Path, ultrasound: Any) -> None:
    whole = objects.picture(tmp_path / "whole.dcm", PICTURE, objects.new_study())
    (tmp_path / "notes.txt").write_text("no DICOM", encoding="utf-8")
    (tmp_path / "cut.dcm").write_bytes(whole.read_bytes()[:300])
    (tmp_path / "copy.dcm").write_bytes(whole.read_bytes())
    (tmp_path / ".hidden").write_text("no DICOM", encoding="utf-8")
    cases, left_out = find(tmp_path, *ultrasound)
    assert len(cases) == 1
    reasons = {Path(one.what).name: one.reason for one in left_out}
    assert set(reasons) == {"1 file", "cut.dcm", "whole.dcm"}
    assert reasons["1 file"] == "is no DICOM (notes.txt)."
    assert "truncated" in reasons["cut.dcm"]
    assert "copy of another file" in reasons["whole.dcm"]
    assert [one.counts for one in left_out] == [True, False, False]


def test_private_attributes_alone_make_no_image(tmp_path: Path, ultrasound: Any) -> None:
    import pydicom

    path = objects.picture(tmp_path / "a.dcm", PICTURE, objects.new_study())
    ds = pydicom.dcmread(path)
    for element in list(ds):
        del ds[element.tag]
    ds.private_block(0x0011, "SOMEONE", create=True).add_new(0x01, "LO", "anything")
    pydicom.dcmwrite(path, ds, enforce_file_format=False)
    cases, left_out = find(tmp_path, *ultrasound)
    assert cases == []
    assert "has no pixels" in left_out[0].reason


def test_paths_are_shown_without_the_patient(tmp_path: Path, ultrasound: Any) -> None:
    folder = tmp_path / "TESTMANN_Gertrude"
    objects.picture(folder / "a.dcm", PICTURE, objects.new_study(), Modality="CT")
    _, left_out = find(folder, *ultrasound)
    assert "testmann" not in left_out[0].what.lower()
    assert "***_***" in left_out[0].what
