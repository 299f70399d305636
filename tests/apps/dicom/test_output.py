# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0


from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path

import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, SegmentationStorage, generate_uid

from medsegdiff_monai.apps.dicom import DicomObjects
from medsegdiff_monai.apps.dicom.output import SUMMARY, prepare_folder, write_case
from medsegdiff_monai.utils import InputError


def some_object() -> Dataset:
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = SegmentationStorage, generate_uid()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return ds


def test_a_case_is_written_into_a_folder_of_its_own(tmp_path: Path) -> None:
    made = DicomObjects({"seg": some_object(), "sr": some_object()})
    assert write_case(tmp_path, 7, made) == ["case_007/seg.dcm", "case_007/sr.dcm"]
    assert sorted(p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*.dcm")) == [
        "case_007/seg.dcm",
        "case_007/sr.dcm",
    ]


def test_a_case_that_cannot_be_written_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    second = some_object()

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(second, "save_as", full)
    with pytest.raises(InputError, match=r"Cannot write .*case_001 \(No space left on device\)"):
        write_case(tmp_path, 1, DicomObjects({"seg": some_object(), "sr": second}))
    assert list(tmp_path.iterdir()) == []


def test_results_are_replaced_only_where_that_is_asked_for(tmp_path: Path) -> None:
    write_case(tmp_path, 1, DicomObjects({"seg": some_object()}))
    (tmp_path / SUMMARY).write_text("{}", encoding="utf-8")
    with pytest.raises(InputError, match="not empty: choose another folder or give --overwrite"):
        prepare_folder(tmp_path, overwrite=False)
    assert (tmp_path / "case_001" / "seg.dcm").is_file()
    assert list(prepare_folder(tmp_path, overwrite=True).iterdir()) == []


def test_other_files_are_never_taken_away(tmp_path: Path) -> None:
    (tmp_path / "case_001").mkdir()
    (tmp_path / "thesis.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(InputError, match="not empty: choose another folder"):
        prepare_folder(tmp_path, overwrite=True)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["case_001", "thesis.txt"]


def test_a_file_is_no_output_folder(tmp_path: Path) -> None:
    (tmp_path / "out").touch()
    with pytest.raises(InputError, match="Cannot write to the output folder"):
        prepare_folder(tmp_path / "out", overwrite=True)


def test_what_a_killed_run_left_of_a_case_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "case_001").mkdir()
    (tmp_path / "case_001" / "left.dcm").touch()
    write_case(tmp_path, 1, DicomObjects({"seg": some_object()}))
    assert [p.name for p in (tmp_path / "case_001").iterdir()] == ["seg.dcm"]


def test_a_case_has_the_rights_that_the_user_gives_new_folders(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_case(tmp_path, 1, DicomObjects({"seg": some_object()}))
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "case_001").stat().st_mode) == 0o750


def test_the_summary_goes_before_the_cases_that_it_tells_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_case(tmp_path, 1, DicomObjects({"seg": some_object()}))
    (tmp_path / SUMMARY).touch()
    seen: list[bool] = []
    monkeypatch.setattr(shutil, "rmtree", lambda path, **_: seen.append((tmp_path / SUMMARY).exists()))
    prepare_folder(tmp_path, overwrite=True)
    assert seen == [False]
