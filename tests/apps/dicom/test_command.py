# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0


from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from apps.dicom import objects

from medsegdiff_monai.apps.dicom import DicomSegmenter, run_dicom, segment_folders
from medsegdiff_monai.utils import InputError

THYROID, BRAIN = "thyroid_ultrasound_medsegdiff", "brats_mri_medsegdiff"
SECRETS = ("testmann", "gertrude", objects.PATIENT_ID.lower(), objects.BIRTH_DATE)


def command(*arguments: object) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "medsegdiff_monai", "dicom", *map(str, arguments)]
    return subprocess.run(line, capture_output=True, text=True, check=False)


def test_the_command_writes_valid_objects_and_names_no_patient(
    bundles: Path, ultrasound_image: np.ndarray, tmp_path: Path, validate: Callable[[Path], str]
) -> None:
    folder = tmp_path / "Testmann_Gertrude"
    objects.picture(folder / "a.dcm", ultrasound_image, objects.new_study())
    objects.picture(folder / "ct.dcm", ultrasound_image, objects.new_study(), Modality="CT")
    (folder / f"{objects.PATIENT_ID}.txt").write_text("a note", encoding="utf-8")
    out = tmp_path / "out"
    done = command("--bundle", bundles / THYROID, "--out", out, folder, "--steps", 1, "--members", 2, "--device", "cpu")
    assert done.returncode == 0, done.stderr
    assert "case_001/seg.dcm" in done.stdout
    assert "has the modality CT" in done.stdout
    said = (done.stdout + done.stderr + (out / "summary.json").read_text(encoding="utf-8")).lower()
    assert not [secret for secret in SECRETS if secret in said]
    assert {p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file()} == {
        "summary.json",
        *(f"case_001/{name}.dcm" for name in ("seg", "probability", "uncertainty", "sr")),
    }
    assert [validate(path) for path in sorted(out.rglob("*.dcm"))] == [""] * 4


@pytest.mark.parametrize(
    ("arguments", "fragment"),
    [
        (["--bundle", "nowhere", "--out", "OUT", "IN"], "There is no bundle in nowhere"),
        (["--bundle", "BUNDLE", "--out", "OUT"], "No folder is given"),
        (["--bundle", "BUNDLE", "--out", "OUT", "--report", "IN"], "--report takes no value"),
        (["--bundle", "BUNDLE", "--out", "OUT", "nowhere"], "The folder nowhere does not exist"),
    ],
)
def test_wrong_usage_ends_with_one_sentence_and_status_2(
    bundles: Path, tmp_path: Path, arguments: list[str], fragment: str
) -> None:
    places = {"OUT": tmp_path / "out", "IN": tmp_path, "BUNDLE": bundles / THYROID}
    done = command(*(places.get(a, a) for a in arguments))
    assert done.returncode == 2
    assert done.stderr.strip().splitlines()[-1].startswith("Error: ")
    assert fragment in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_failed_case_is_told_and_the_others_are_written(
    segmenter_of: Callable[[str], DicomSegmenter], ultrasound_image: np.ndarray, tmp_path: Path
) -> None:
    series = {"SeriesInstanceUID": "1.2.3", "StudyInstanceUID": "1.2"}
    study = {**objects.new_study(), **series}
    objects.picture(tmp_path / "in" / "1.dcm", ultrasound_image, study, InstanceNumber=1, **series)
    objects.picture(tmp_path / "in" / "2.dcm", np.zeros_like(ultrasound_image), study, InstanceNumber=2, **series)
    cut = objects.picture(tmp_path / "in" / "3.dcm", ultrasound_image, study, InstanceNumber=3, **series)
    cut.write_bytes(cut.read_bytes()[:-1000])
    said: list[str] = []
    results = segment_folders(segmenter_of(THYROID), [tmp_path / "in"], tmp_path / "out", report=said.append).results
    problems = [r.problem for r in results]
    assert problems[0] is None
    assert problems[1] is not None
    assert "constant" in problems[1]
    assert problems[2] is not None
    assert "truncated" in problems[2]
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["case_001", "summary.json"]
    summary = json.loads((tmp_path / "out" / "summary.json").read_text(encoding="utf-8"))
    assert [case["problem"] for case in summary["cases"]] == problems
    assert sum(line.startswith("Error: Case ") for line in said) == 2


def test_the_status_is_1_where_a_case_failed(bundles: Path, tmp_path: Path) -> None:
    flat = np.full((40, 40), 9, dtype=np.uint8)
    objects.picture(tmp_path / "in" / "1.dcm", flat, objects.new_study())
    assert run_dicom([str(tmp_path / "in")], str(bundles / THYROID), str(tmp_path / "out"), steps=1, members=1) == 1


@pytest.mark.parametrize(
    ("keyword", "value", "kept"),
    [
        ("PatientBirthDate", b"00/00/0000", ""),
        ("PatientName", b"N" * 90, ""),
        ("PatientName", b"M\xc3\xbcller^Hans", "Müller^Hans"),
        ("PatientSex", b"Male", ""),
        ("StudyDate", b"anonymized", ""),
        ("StudyInstanceUID", b"1.2.3.04.5", None),
        ("SeriesInstanceUID", b"PID4711007", None),
        ("SOPInstanceUID", b"1.2." + b"1" * 61, None),
    ],
)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_formal_fault_that_the_pixels_do_not_need_costs_a_note(
    segmenter_of: Callable[[str], DicomSegmenter],
    ultrasound_image: np.ndarray,
    tmp_path: Path,
    validate: Callable[[Path], str],
    keyword: str,
    value: bytes,
    kept: str | None,
) -> None:
    study = objects.new_study()
    path = objects.picture(tmp_path / "in" / "1.dcm", ultrasound_image, study)
    objects.replace_value(path, keyword, value)
    said: list[str] = []
    (result,) = segment_folders(segmenter_of(THYROID), [tmp_path / "in"], tmp_path / "out", report=said.append).results
    assert result.problem is None
    assert sum(keyword in line for line in said) == (0 if kept else 1)
    assert not [line for line in said if "again" in line or "PID" in line]
    for file in result.files:
        made = pydicom.dcmread(tmp_path / "out" / file)
        expected = {"PatientName": objects.PATIENT_NAME, "PatientID": objects.PATIENT_ID, "PatientSex": "F"}
        expected |= {"StudyInstanceUID": study["StudyInstanceUID"], "PatientBirthDate": objects.BIRTH_DATE}
        expected |= {} if kept is None else {keyword: kept}
        for name, wanted in expected.items():
            if kept is not None or name != keyword:
                assert str(made[name].value) == wanted
        problems = validate(tmp_path / "out" / file).splitlines()
        assert [line for line in problems if "DICOMDIR" not in line] == []


def test_objects_of_a_retired_class_are_segmented_and_referred_to_as_what_they_are(
    segmenter_of: Callable[[str], DicomSegmenter],
    ultrasound_image: np.ndarray,
    tmp_path: Path,
    validate: Callable[[Path], str],
) -> None:
    retired = "1.2.840.10008.5.1.4.1.1.6"
    objects.picture(tmp_path / "in" / "1.dcm", ultrasound_image, objects.new_study(), retired)
    (result,) = segment_folders(segmenter_of(THYROID), [tmp_path / "in"], tmp_path / "out").results
    assert result.problem is None
    assert [validate(tmp_path / "out" / file) for file in result.files] == [""] * 4
    source = pydicom.dcmread(tmp_path / "in" / "1.dcm").SOPInstanceUID
    for file in result.files:
        classes: set[str] = set()

        def collect(item: pydicom.Dataset, element: pydicom.DataElement, found: set[str] = classes) -> None:
            if element.keyword == "ReferencedSOPInstanceUID" and element.value == source:
                found.add(str(item.ReferencedSOPClassUID))

        pydicom.dcmread(tmp_path / "out" / file).walk(collect)
        assert classes == {retired}


def test_frames_that_are_there_are_segmented_however_many_are_stated(
    segmenter_of: Callable[[str], DicomSegmenter], ultrasound_image: np.ndarray, tmp_path: Path
) -> None:
    cine = np.stack([ultrasound_image, ultrasound_image[::-1]])
    path = objects.picture(tmp_path / "in" / "1.dcm", cine, objects.new_study(), objects.ULTRASOUND_MULTIFRAME)
    objects.replace_value(path, "NumberOfFrames", b"7")
    (result,) = segment_folders(segmenter_of(THYROID), [tmp_path / "in"], tmp_path / "out").results
    assert result.problem is None
    assert "there are 2 frames, not the 7 that are stated" in result.note
    assert pydicom.dcmread(tmp_path / "out" / "case_001" / "seg.dcm").NumberOfFrames == 2


def test_frames_of_a_class_that_has_one_are_all_segmented(
    segmenter_of: Callable[[str], DicomSegmenter], ultrasound_image: np.ndarray, tmp_path: Path
) -> None:
    frames = np.stack([ultrasound_image, ultrasound_image[::-1]])
    settings = {"sop_class": objects.ULTRASOUND_MULTIFRAME}
    path = objects.picture(tmp_path / "in" / "a.dcm", frames, objects.new_study(), **settings)
    ds = pydicom.dcmread(path)
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = objects.ULTRASOUND
    ds.save_as(path)
    (result,) = segment_folders(
        segmenter_of(THYROID), [tmp_path / "in"], tmp_path / "out", report=lambda line: None
    ).results
    assert result.problem is None
    made = pydicom.dcmread(tmp_path / "out" / "case_001" / "seg.dcm")
    assert made.NumberOfFrames == 2
    sources = [g.DerivationImageSequence[0].SourceImageSequence[0] for g in made.PerFrameFunctionalGroupsSequence]
    assert [source.ReferencedFrameNumber for source in sources] == [1, 2]
    assert {source.ReferencedSOPClassUID for source in sources} == {objects.ULTRASOUND}


@pytest.mark.parametrize("undefined", [False, True])
def test_deep_nesting_with_a_fault_inside_costs_at_most_a_line(
    segmenter_of: Callable[[str], DicomSegmenter], ultrasound_image: np.ndarray, tmp_path: Path, undefined: bool
) -> None:
    study = objects.new_study()
    objects.picture(tmp_path / "in" / "good.dcm", ultrasound_image, study)
    path = objects.picture(tmp_path / "in" / "nested.dcm", ultrasound_image[::-1], study)
    fault = b"\x08\x00\x16\x00ZZ\x04\x00abcd"
    objects.insert_before(path, "PatientName", objects.nested_sequence(300, undefined, fault))
    said: list[str] = []
    results = segment_folders(segmenter_of(THYROID), [tmp_path / "in"], tmp_path / "out", report=said.append).results
    assert [r.problem for r in results] == [None] * (1 if undefined else 2)
    # Whether Python's limit or the fault comes first depends on how deep the caller is.
    reasons = ("nested too deeply", "damaged or truncated")
    left_out = [line for line in said if "nested.dcm" in line]
    assert [any(reason in line for reason in reasons) for line in left_out] == [True] * undefined
    assert all((tmp_path / "out" / file).stat().st_size < 200_000 for r in results for file in r.files)


def test_what_is_left_out_is_counted_and_the_status_says_so(
    bundles: Path, ultrasound_image: np.ndarray, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    objects.picture(tmp_path / "in" / "1.dcm", ultrasound_image, objects.new_study())
    cut = objects.picture(tmp_path / "in" / "2.dcm", ultrasound_image, objects.new_study())
    cut.write_bytes(cut.read_bytes()[:400])
    (tmp_path / "in" / "gone.dcm").symlink_to(tmp_path / "nowhere")
    arguments = ([str(tmp_path / "in")], str(bundles / THYROID), str(tmp_path / "out"))
    assert run_dicom(*arguments, steps=1, members=1) == 1
    said = capsys.readouterr().out.splitlines()
    assert said[-1] == f"1 of 1 cases segmented, 2 files left out, in {tmp_path / 'out'}."
    summary = json.loads((tmp_path / "out" / "summary.json").read_text(encoding="utf-8"))
    assert [one["counts"] for one in summary["left_out"]] == [True, True]


def test_results_of_an_earlier_run_beside_the_images_are_no_loss(
    bundles: Path, ultrasound_image: np.ndarray, tmp_path: Path
) -> None:
    objects.picture(tmp_path / "in" / "1.dcm", ultrasound_image, objects.new_study())
    for out in ("in/results", "again"):
        arguments = ([str(tmp_path / "in")], str(bundles / THYROID), str(tmp_path / out))
        assert run_dicom(*arguments, steps=1, members=1) == 0
    summary = json.loads((tmp_path / "again" / "summary.json").read_text(encoding="utf-8"))
    assert len(summary["cases"]) == 1


def test_a_second_run_does_not_replace_the_first_unasked(
    segmenter_of: Callable[[str], DicomSegmenter], ultrasound_image: np.ndarray, tmp_path: Path
) -> None:
    objects.picture(tmp_path / "in" / "1.dcm", ultrasound_image, objects.new_study())
    arguments = (segmenter_of(THYROID), [tmp_path / "in"], tmp_path / "out")
    segment_folders(*arguments)
    first = pydicom.dcmread(tmp_path / "out" / "case_001" / "seg.dcm")
    with pytest.raises(InputError, match="--overwrite"):
        segment_folders(*arguments)
    assert pydicom.dcmread(tmp_path / "out" / "case_001" / "seg.dcm") == first
    segment_folders(*arguments, overwrite=True)
    second = pydicom.dcmread(tmp_path / "out" / "case_001" / "seg.dcm")
    assert second.SOPInstanceUID != first.SOPInstanceUID
    assert second.PixelData == first.PixelData


def test_a_study_of_four_contrasts(
    segmenter_of: Callable[[str], DicomSegmenter],
    brain_folder: Path,
    tmp_path: Path,
    validate: Callable[[Path], str],
) -> None:
    (result,) = segment_folders(segmenter_of(BRAIN), [brain_folder], tmp_path / "out").results
    assert result.problem is None
    names = ["seg", "probability", "uncertainty_TC", "uncertainty_WT", "uncertainty_ET", "sr"]
    assert result.files == [f"case_001/{name}.dcm" for name in names]
    assert [validate(tmp_path / "out" / file) for file in result.files] == [""] * 6
    seg = pydicom.dcmread(tmp_path / "out" / "case_001" / "seg.dcm")
    assert len(seg.ReferencedSeriesSequence) == 4
    assert "SourceImageSequence" in seg


def test_mixed_folders_list_what_is_missing(
    segmenter_of: Callable[[str], DicomSegmenter], brain_image: np.ndarray, tmp_path: Path
) -> None:
    study = objects.new_study()
    volume = brain_image[..., 1]
    objects.mr_series(tmp_path / "in" / "1", volume, objects.OBLIQUE, study, **objects.CONTRAST_ATTRIBUTES["T1w"])
    segmenter = segmenter_of(BRAIN)
    (result,) = segment_folders(segmenter, [tmp_path / "in"], tmp_path / "out").results
    assert result.problem is not None
    assert result.problem.startswith("FLAIR, T1gd, T2w missing (found series 1 (24 images): T1w)")
    with pytest.raises(InputError, match="names for T2w no series"):
        segment_folders(segmenter, [tmp_path / "in"], tmp_path / "other", contrasts="T2w=77")


def test_folders_without_an_image_for_the_bundle_are_refused(
    segmenter_of: Callable[[str], DicomSegmenter], ultrasound_image: np.ndarray, tmp_path: Path
) -> None:
    objects.picture(tmp_path / "in" / "1.dcm", ultrasound_image, objects.new_study())
    with pytest.raises(InputError, match=r"There is no image to segment.*has the modality US, this bundle takes MR"):
        segment_folders(segmenter_of(BRAIN), [tmp_path / "in"], tmp_path / "out")
    assert not (tmp_path / "out").exists()
