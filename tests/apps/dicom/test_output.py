# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0


from __future__ import annotations

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
