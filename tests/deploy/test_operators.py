# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

"""The application's operators one by one, between the SDK's own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from app import find_bundle, main
from apps.dicom import objects
from monai.deploy.core import Fragment
from monai.deploy.operators import DICOMSeriesSelectorOperator
from operators import FourContrastMriOperator, SegWriterOperator, StudyLoaderOperator
from operators.selection import selected_cases, selection_rules
from support.label_studies import BRATS, FUNDUS, THYROID

from medsegdiff_monai.apps.dicom import BundleCodes, DicomObjects, read_codes
from medsegdiff_monai.utils import InputError

REGIONS = {THYROID: {"nodule": [1]}, FUNDUS: {"disc": [1, 2], "cup": [2]}}
GREY = np.arange(12 * 16, dtype=np.uint8).reshape(12, 16)


def codes_of(name: str, thyroid_bundle: Path) -> BundleCodes:
    return read_codes(thyroid_bundle.parent / name, REGIONS[name])


def select(folder: Path, codes: BundleCodes) -> list[Any]:
    """What the loader and the SDK's selector make of a folder."""
    fragment = Fragment()
    studies = StudyLoaderOperator(fragment, name="loader").load_data_to_studies(folder)
    selector = DICOMSeriesSelectorOperator(fragment, name="selector")
    selected: list[Any] = selector.filter(json.loads(selection_rules(codes)), studies, all_matched=True)
    return selected


def test_the_loader_keeps_every_object_and_names_what_it_leaves_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    volume = np.zeros((6, 5, 4)) + np.arange(4)
    study = objects.new_study()
    first, second = (
        objects.mr_series(tmp_path / place, volume, objects.OBLIQUE, study, SeriesInstanceUID="1.2.3")
        for place in ("first", "again")
    )
    (tmp_path / f"{objects.PATIENT_ID}.dcm").write_bytes(b"no DICOM")
    (loaded,) = StudyLoaderOperator(Fragment(), name="loader").load_data_to_studies(tmp_path)
    assert loaded.StudyInstanceUID == study["StudyInstanceUID"]
    assert loaded.StudyDate == study["StudyDate"]
    (series,) = loaded.get_all_series()
    files = [sop.get_native_sop_instance().filename for sop in series.get_sop_instances()]
    assert sorted(files) == sorted(str(path) for path in (*first, *second))
    assert "is no DICOM file" in caplog.text
    assert objects.PATIENT_ID not in caplog.text


def test_series_of_other_modalities_are_not_selected(thyroid_bundle: Path, tmp_path: Path) -> None:
    study = objects.new_study()
    objects.picture(tmp_path / "us.dcm", GREY, study, SeriesNumber=3)
    objects.picture(tmp_path / "ivus.dcm", GREY, study, Modality="IVUS", SeriesNumber=4)
    codes = codes_of(THYROID, thyroid_bundle)
    (selected,) = select(tmp_path, codes)
    assert [one.series.SeriesNumber for one in selected.selected_series] == [3]
    (case,) = selected_cases([selected], codes)
    assert [i.path for i in case.series[0].instances] == [tmp_path / "us.dcm"]


def test_a_folder_without_an_image_for_the_bundle_is_refused(thyroid_bundle: Path, tmp_path: Path) -> None:
    objects.picture(tmp_path / "us.dcm", GREY, objects.new_study(), ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    codes = codes_of(THYROID, thyroid_bundle)
    with pytest.raises(InputError, match=r"no image to segment: series 1 .*localizer"):
        selected_cases(select(tmp_path, codes), codes)
    codes = codes_of(FUNDUS, thyroid_bundle)
    with pytest.raises(InputError, match=rf"no series of the modality {codes.modalities[0]}"):
        selected_cases(select(tmp_path, codes), codes)


def test_contrasts_are_named_as_the_bundle_names_them(thyroid_bundle: Path) -> None:
    bundle = thyroid_bundle.parent / BRATS
    codes = read_codes(bundle, {"TC": [1, 4], "WT": [1, 2, 4], "ET": [4]}, ("FLAIR", "T1w", "T1gd", "T2w"))
    operator = FourContrastMriOperator(Fragment(), codes=codes, contrasts="T2w=7", name="contrasts")
    assert operator.named == {"T2w": "7"}
    with pytest.raises(InputError, match="names T1c"):
        FourContrastMriOperator(Fragment(), codes=codes, contrasts="T1c=7", name="contrasts")


def test_a_bundle_is_found_by_itself_and_in_the_folder_of_a_package(thyroid_bundle: Path, tmp_path: Path) -> None:
    assert find_bundle(str(thyroid_bundle)) == thyroid_bundle
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / THYROID).symlink_to(thyroid_bundle)
    assert find_bundle(str(tmp_path / "models")) == tmp_path / "models" / THYROID
    for folder, count in ((tmp_path, 0), (thyroid_bundle.parent, 3)):
        with pytest.raises(InputError, match=f"There are {count} bundles"):
            find_bundle(str(folder))


class _Cannot:
    def save_as(self, path: Path, **options: Any) -> None:
        raise OSError(28, "No space left on device")


class _Can:
    def save_as(self, path: Path, **options: Any) -> None:
        path.write_bytes(b"object")


def test_what_cannot_be_written_whole_is_not_written(thyroid_bundle: Path, tmp_path: Path) -> None:
    codes: Any = codes_of(THYROID, thyroid_bundle)
    parts: Any = {"codes": codes, "equipment": None, "output_folder": tmp_path}
    writer = SegWriterOperator(Fragment(), **parts, name="writer")
    things: list[Any] = [_Can(), _Cannot()]
    made = [DicomObjects({"seg": thing}) for thing in things]
    with pytest.raises(InputError, match="No space left"):
        writer._write(made)
    assert list(tmp_path.iterdir()) == []
    writer._write(made[:1])
    assert (tmp_path / "case_001" / "seg.dcm").read_bytes() == b"object"


def test_an_error_that_nobody_foresaw_is_not_quoted(
    thyroid_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise KeyError("Testmann^Gertrude")

    monkeypatch.setattr("app.MedSegDiffApp.compose", fail)
    (tmp_path / "in").mkdir()
    paths = ["-i", str(tmp_path / "in"), "-o", str(tmp_path / "out"), "-m", str(thyroid_bundle)]
    monkeypatch.setattr("sys.argv", ["app.py", *paths])
    assert main() == 1
    said = capsys.readouterr().err
    assert "Error: It failed for a reason that nobody foresaw (KeyError" in said
    assert "Testmann" not in said
