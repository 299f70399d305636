# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0


from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from apps.dicom import objects

from medsegdiff_monai.apps.dicom import Privacy, read_headers
from medsegdiff_monai.apps.dicom.reading.attributes import text
from medsegdiff_monai.utils import InputError

PICTURE = np.arange(64, dtype=np.uint8).reshape(8, 8)


def reasons(folder: Path) -> dict[str, str]:
    """Why files are left out, by their names, of what counts as a loss."""
    left_out = read_headers([folder], Privacy())[1]
    return {Path(one.what).name: one.reason for one in left_out if one.counts}


def test_what_cannot_be_read_is_named_and_counts(tmp_path: Path) -> None:
    objects.picture(tmp_path / "a.dcm", PICTURE, objects.new_study())
    os.mkfifo(tmp_path / "pipe.dcm")
    (tmp_path / "gone.dcm").symlink_to(tmp_path / "nowhere")
    (tmp_path / "empty.dcm").touch()
    (tmp_path / "other.DCM").write_text("no DICOM", encoding="utf-8")
    (tmp_path / "notes").write_text("no DICOM", encoding="utf-8")
    found = reasons(tmp_path)
    assert set(found) == {"pipe.dcm", "gone.dcm", "empty.dcm", "other.DCM"}
    assert "a pipe" in found["pipe.dcm"]
    assert "a link to nothing" in found["gone.dcm"]
    assert "no DICOM file" in found["empty.dcm"]


def test_a_folder_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root may read all folders, so the system's refusal is played."""
    objects.picture(tmp_path / "a.dcm", PICTURE, objects.new_study())
    (tmp_path / "locked").mkdir()
    scandir = os.scandir

    def refusing(path: Any) -> Any:
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    assert reasons(tmp_path) == {"locked": "is a folder that cannot be read (Permission denied)."}


def test_files_that_are_no_dicom_are_one_line_with_their_number(tmp_path: Path) -> None:
    objects.picture(tmp_path / "a.dcm", PICTURE, objects.new_study())
    for name in ("a.txt", "b.jpg", "c.pdf", "d.xml", ".hidden", "DICOMDIR"):
        (tmp_path / name).write_bytes(b"no DICOM")
    (one,) = read_headers([tmp_path], Privacy())[1]
    assert (one.what, one.reason, one.counts) == ("4 files", "are no DICOM (a.txt, b.jpg, c.pdf, ...).", False)


def test_folders_are_followed_once_through_links(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    objects.picture(elsewhere / "a.dcm", PICTURE, objects.new_study())
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "link").symlink_to(elsewhere)
    (elsewhere / "back").symlink_to(folder)
    instances, left_out = read_headers([folder], Privacy())
    assert (len(instances), left_out) == (1, [])


def test_names_of_files_cannot_steer_a_terminal(tmp_path: Path) -> None:
    objects.picture(tmp_path / "a.dcm", PICTURE, objects.new_study())
    (tmp_path / "red\x1b[31m\n.dcm").write_bytes(b"no DICOM")
    (one,) = read_headers([tmp_path], Privacy())[1]
    assert one.what.endswith("red\\x1b[31m\\n.dcm")


def test_a_pipe_is_no_folder(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    instances, (one,) = read_headers([tmp_path / "pipe"], Privacy())
    assert instances == []
    assert "a pipe" in one.reason


def test_images_of_one_uid_and_different_pixels_get_uids_of_their_own(tmp_path: Path) -> None:
    first = objects.picture(tmp_path / "a.dcm", PICTURE, objects.new_study())
    ds = pydicom.dcmread(first)
    (tmp_path / "copy.dcm").write_bytes(first.read_bytes())
    ds.PixelData = (255 - PICTURE).tobytes()
    ds.save_as(tmp_path / "b.dcm")
    instances, (copy,) = read_headers([tmp_path], Privacy())
    assert "copy of another" in copy.reason
    assert not copy.counts
    uids = [text(i.header, "SOPInstanceUID") for i in instances]
    assert len({*uids, ds.SOPInstanceUID}) == 3
    assert all(len(i.notes) == 1 and "SOPInstanceUID is that of other images" in i.notes[0] for i in instances)
    again = read_headers([tmp_path], Privacy())[0]
    assert [text(i.header, "SOPInstanceUID") for i in again] == uids


def test_a_copy_is_one_however_it_is_compressed(tmp_path: Path) -> None:
    first = objects.picture(tmp_path / "a.dcm", PICTURE, objects.new_study())
    ds = pydicom.dcmread(first)
    ds.compress(pydicom.uid.RLELossless, generate_instance_uid=False)
    ds.save_as(tmp_path / "b.dcm")
    instances, (copy,) = read_headers([tmp_path], Privacy())
    assert len(instances) == 1
    assert "copy of another" in copy.reason


@pytest.mark.parametrize(
    "keyword", ["SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "Modality"]
)
def test_what_a_study_needs_is_made_up_where_it_is_missing(tmp_path: Path, keyword: str) -> None:
    study = {**objects.new_study(), "SeriesInstanceUID": "1.2.3"}
    for name in ("a.dcm", "b.dcm"):
        path = objects.picture(tmp_path / name, PICTURE, study)
        ds = pydicom.dcmread(path)
        del ds[keyword]
        ds.save_as(path, enforce_file_format=False)
    instances, left_out = read_headers([tmp_path], Privacy())
    assert left_out == []
    values = [text(i.header, keyword) for i in instances]
    assert all(values)
    assert len(set(values)) == (2 if keyword == "SOPInstanceUID" else 1)
    told = keyword not in ("SOPClassUID", "SOPInstanceUID")  # these stand in the file's beginning as well
    assert all(any(keyword in note for note in i.notes) is told for i in instances)


def test_missing_and_empty_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        read_headers([tmp_path / "nowhere"], Privacy())
    with pytest.raises(InputError, match="There is no file"):
        read_headers([tmp_path], Privacy())


@pytest.mark.parametrize("stated", [{}, {"StudyDate": "20200101", "StudyTime": "1200"}])
def test_images_that_state_no_patient_do_not_share_a_study_that_is_made_up(tmp_path: Path, stated: dict) -> None:
    for name, series in (("a.dcm", "1.2.3"), ("b.dcm", "1.2.4")):
        path = objects.picture(tmp_path / name, PICTURE, objects.new_study(), SeriesInstanceUID=series)
        ds = pydicom.dcmread(path)
        for keyword in ("StudyInstanceUID", "PatientID", "PatientName", "StudyID", "AccessionNumber"):
            ds.pop(keyword, None)
        ds.StudyDate = ds.StudyTime = ""
        for keyword, value in stated.items():
            setattr(ds, keyword, value)
        ds.save_as(path, enforce_file_format=False)
    instances, _ = read_headers([tmp_path], Privacy())
    assert len({text(i.header, "StudyInstanceUID") for i in instances}) == 2


def test_copies_that_cannot_be_decoded_do_not_end_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = objects.picture(tmp_path / "a.dcm", PICTURE, objects.new_study())
    (tmp_path / "b.dcm").write_bytes(first.read_bytes())

    def fail(*_: Any) -> None:
        raise RuntimeError("not enough memory")

    monkeypatch.setattr("medsegdiff_monai.apps.dicom.reading.pixels.pixel_array", fail)
    instances, (copy,) = read_headers([tmp_path], Privacy())
    assert len(instances) == 1
    assert "copy of another" in copy.reason
