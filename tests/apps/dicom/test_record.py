# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0


from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from apps.dicom import objects
from filelock import FileLock

from medsegdiff_monai.apps.dicom import DicomSegmenter, run_dicom, segment_folders
from medsegdiff_monai.apps.dicom.output import SUMMARY
from medsegdiff_monai.utils import InputError

THYROID = "thyroid_ultrasound_medsegdiff"


@pytest.fixture
def segmenter(segmenter_of: Callable[[str], DicomSegmenter]) -> DicomSegmenter:
    return segmenter_of(THYROID)


@pytest.fixture
def images(ultrasound_image: np.ndarray, tmp_path: Path) -> Path:
    """Three cases, in the order of their numbers."""
    for i in range(1, 4):
        study = {**objects.new_study(), "StudyInstanceUID": f"1.2.{i}"}
        objects.picture(tmp_path / "in" / f"{i}.dcm", ultrasound_image[: 60 + i], study)
    return tmp_path / "in"


def summary(out: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((out / SUMMARY).read_text(encoding="utf-8"))
    return content


def written_at(out: Path) -> dict[str, int]:
    return {p.relative_to(out).as_posix(): p.stat().st_mtime_ns for p in out.rglob("*.dcm")}


class Killed(BaseException):
    """What ends a run at once, as nothing in it catches it."""


def kill_at(monkeypatch: pytest.MonkeyPatch, segmenter: DicomSegmenter, call: int) -> None:
    """Let the run die in the segmentation of a case, counted from 1."""
    calls: list[None] = []
    original = segmenter.segment

    def segment(*arguments: Any, **options: Any) -> Any:
        calls.append(None)
        if len(calls) == call:
            raise Killed
        return original(*arguments, **options)

    monkeypatch.setattr(segmenter, "segment", segment)


def test_the_summary_is_true_at_every_moment(
    segmenter: DicomSegmenter, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, seen = tmp_path / "out", []
    replace = os.replace

    def watched(source: Any, target: Any) -> None:
        replace(source, target)
        if (out / SUMMARY).is_file():
            cases = summary(out)["cases"]
            done = [c for c in cases if c["problem"] is None]
            assert [c["case"] for c in cases] == [1, 2, 3]
            assert all((out / file).is_file() for c in done for file in c["files"])
            seen.append((len(done), len(list(out.glob("case_*")))))

    monkeypatch.setattr(os, "replace", watched)
    segment_folders(segmenter, [images], out)
    assert seen == [(0, 0), (0, 1), (1, 1), (1, 2), (2, 2), (2, 3), (3, 3)]


def test_a_run_that_was_killed_is_gone_on_with(
    segmenter: DicomSegmenter, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        kill_at(patch, segmenter, 2)
        with pytest.raises(Killed):
            segment_folders(segmenter, [images], out)
    (out / ".partial-left").mkdir()
    first = written_at(out)
    assert {name.split("/")[0] for name in first} == {"case_001"}
    problems = [c["problem"] for c in summary(out)["cases"]]
    assert problems[0] is None
    assert all("--resume" in p for p in problems[1:])
    with pytest.raises(InputError, match="--resume"):
        segment_folders(segmenter, [images], out)
    said: list[str] = []
    results = segment_folders(segmenter, [images], out, report=said.append, resume=True).results
    assert said[0] == "1 of 3 cases are done already."
    assert [r.problem for r in results] == [None] * 3
    after = written_at(out)
    assert {name: after[name] for name in first} == first
    assert {name.split("/")[0] for name in after} == {"case_001", "case_002", "case_003"}
    assert not list(out.glob(".*"))
    segment_folders(segmenter, [images], out, resume=True)
    assert written_at(out) == after


def test_a_case_that_was_whole_before_the_summary_said_so_is_not_done_twice(
    segmenter: DicomSegmenter, images: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    results = segment_folders(segmenter, [images], out).results
    content = summary(out)
    content["cases"][2].update(files=[], problem="It is not segmented yet")
    (out / SUMMARY).write_text(json.dumps(content), encoding="utf-8")
    before = written_at(out)
    again = segment_folders(segmenter, [images], out, resume=True).results
    assert written_at(out) == before
    assert [sorted(r.files) for r in again] == [sorted(r.files) for r in results]


def test_numbers_stay_where_images_have_come_and_gone(
    segmenter: DicomSegmenter, images: Path, tmp_path: Path, ultrasound_image: np.ndarray
) -> None:
    out = tmp_path / "out"
    segment_folders(segmenter, [images], out)
    before = written_at(out)
    (images / "2.dcm").unlink()
    early = {**objects.new_study(), "StudyInstanceUID": "1.2.0"}
    objects.picture(images / "0.dcm", ultrasound_image, early)
    results = segment_folders(segmenter, [images], out, resume=True).results
    assert [(r.case, r.study) for r in results] == [
        (1, "...1.2.1"),
        (2, "...1.2.2"),
        (3, "...1.2.3"),
        (4, "...1.2.0"),
    ]
    assert {name: at for name, at in written_at(out).items() if "case_004" not in name} == before


def test_a_case_that_failed_is_tried_again(
    segmenter: DicomSegmenter, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise KeyError("a value that must not be shown")

    with monkeypatch.context() as patch:
        patch.setattr(segmenter, "segment", fail)
        (problem, *_) = [r.problem for r in segment_folders(segmenter, [images], tmp_path / "out").results]
    assert problem is not None
    assert "KeyError in test_record.py" in problem
    assert "a value" not in problem
    results = segment_folders(segmenter, [images], tmp_path / "out", resume=True).results
    assert [r.problem for r in results] == [None] * 3


def test_results_of_other_settings_are_not_gone_on_with(
    segmenter: DicomSegmenter, images: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    segment_folders(segmenter, [images], out)
    with pytest.raises(InputError, match="made with other settings"):
        segment_folders(segmenter, [images], out, pages=True, resume=True)
    content = summary(out)
    content["weights"] = "weights-other"
    (out / SUMMARY).write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(InputError, match="made with other weights"):
        segment_folders(segmenter, [images], out, resume=True)
    (out / SUMMARY).write_text("{", encoding="utf-8")
    with pytest.raises(InputError, match="no summary that can be gone on with"):
        segment_folders(segmenter, [images], out, resume=True)


def test_two_runs_do_not_write_into_one_folder(segmenter: DicomSegmenter, images: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    with FileLock(out / ".medsegdiff.lock"), pytest.raises(InputError, match="Another run is writing to the folder"):
        segment_folders(segmenter, [images], out)
    assert [p for p in out.iterdir() if p.name != ".medsegdiff.lock"] == []


def test_a_user_who_stops_a_run_is_told_how_to_go_on(
    segmenter: DicomSegmenter, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    def stop(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("medsegdiff_monai.apps.dicom.command.DicomSegmenter", lambda *_: segmenter)
    monkeypatch.setattr(segmenter, "segment", stop)
    assert run_dicom([str(images)], str(segmenter.segmenter.folder), str(tmp_path / "out")) == 130
    assert capsys.readouterr().err.strip().splitlines()[-1] == "Stopped: go on with the same command and --resume."
    assert [p.name for p in (tmp_path / "out").iterdir()] == [SUMMARY]


def test_a_case_that_takes_too_long_or_too_much_is_one_line(
    segmenter: DicomSegmenter, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segmenter, "time_limit", 1e-4)
    results = segment_folders(segmenter, [images], tmp_path / "slow").results
    assert all("longer than 0.0001 seconds" in str(r.problem) for r in results)
    monkeypatch.setattr(segmenter, "time_limit", None)

    def large(*_: Any, **__: Any) -> None:
        raise MemoryError

    monkeypatch.setattr("medsegdiff_monai.apps.dicom.case.read_picture", large)
    results = segment_folders(segmenter, [images], tmp_path / "large").results
    assert all("more memory than is free" in str(r.problem) for r in results)


def test_a_case_whose_folder_is_incomplete_is_done_again(
    segmenter: DicomSegmenter, images: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    segment_folders(segmenter, [images], out)
    (out / "case_002" / "sr.dcm").unlink()
    results = segment_folders(segmenter, [images], out, resume=True).results
    assert [r.problem for r in results] == [None] * 3
    assert (out / "case_002" / "sr.dcm").is_file()


def test_the_time_limit_of_a_case_is_given_to_the_segmenter(bundles: Path, images: Path, tmp_path: Path) -> None:
    segmenter = DicomSegmenter(bundles / THYROID, 1, 1, "cpu", time_limit=1e-4)
    results = segment_folders(segmenter, [images], tmp_path / "out", report=lambda _: None).results
    assert all("longer than 0.0001 seconds" in str(r.problem) for r in results)
