# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import gzip
import io
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import tifffile
from PIL import Image

pytest.importorskip("highdicom", reason="needs medsegdiff_monai[dicom]")

import fuzz
import pydicom
from fuzz_harness import campaign as campaigns
from fuzz_harness.campaign import Campaign, Examined
from fuzz_harness.check import DONE, FAILED, FORESEEN, UNFORESEEN, judge
from fuzz_harness.commands import Command, Results
from fuzz_harness.dicom_seeds import STUDY_FORMS, ULTRASOUND_FORMS, study_files, study_uid, ultrasound_file
from fuzz_harness.inputs import KINDS, Input, mutated_file, mutated_study
from fuzz_harness.mutate_bytes import BYTE_MUTATORS, Mutator
from fuzz_harness.mutate_dicom import DICOM_MUTATORS
from fuzz_harness.mutate_nifti import NIFTI_MUTATORS
from fuzz_harness.mutate_pictures import BMP_MUTATORS, JPEG_MUTATORS, PNG_MUTATORS, TIFF_MUTATORS
from fuzz_harness.parts import Part, parts_of, write_table
from fuzz_harness.seeds import forms_of, picture
from fuzz_harness.server import Ended, Job

from medsegdiff_monai.utils import InputError

STRUCTURAL = {
    "png": PNG_MUTATORS,
    "jpeg": JPEG_MUTATORS,
    "bmp": BMP_MUTATORS,
    "tiff": TIFF_MUTATORS,
    "nifti_2d": NIFTI_MUTATORS,
    "nifti_3d": NIFTI_MUTATORS,
    "ultrasound": DICOM_MUTATORS,
}
WELL, LEFT_OUT = (Ended(status, False, 10**8, 1.0, 1.0) for status in (0, 1))


def valid_files(kind: str) -> list[bytes]:
    if kind == "ultrasound":
        return [ultrasound_file(3, form) for form in range(len(ULTRASOUND_FORMS))]
    return [form.content for form in forms_of(kind)]


@pytest.mark.parametrize("kind", STRUCTURAL)
def test_mutations_are_seeded_and_change_something(kind: str) -> None:
    for mutate in dict.fromkeys((*STRUCTURAL[kind], *BYTE_MUTATORS)):
        changed = [_mutated(mutate, content, s) for content in valid_files(kind)[:3] for s in range(3)]
        assert sum(changed) > 0.7 * len(changed), mutate.__name__


def _mutated(mutate: Mutator, content: bytes, seed: int) -> bool:
    first, second = (mutate(content, np.random.default_rng(seed)) for _ in range(2))
    assert first == second
    return first != content


@pytest.mark.parametrize("kind", ["png", "jpeg", "bmp", "tiff", "nifti_2d", "nifti_3d", "label"])
def test_files_before_the_mutation_are_valid(kind: str) -> None:
    for suffix, content in forms_of(kind):
        if suffix.startswith(".nii"):
            raw = gzip.decompress(content) if suffix.endswith("gz") else content
            assert np.isfinite(nib.Nifti1Image.from_bytes(raw).get_fdata()).all()
        elif suffix == ".tif":
            assert {40, 48} <= set(tifffile.imread(io.BytesIO(content)).shape)
        else:
            assert Image.open(io.BytesIO(content)).convert("L").size == (48, 40)


@pytest.mark.parametrize("form", range(len(ULTRASOUND_FORMS)))
def test_objects_before_the_mutation_are_valid_and_of_a_study_of_their_own(form: int) -> None:
    first, second = (pydicom.dcmread(io.BytesIO(ultrasound_file(number, form))) for number in (7, 8))
    assert (first.StudyInstanceUID, second.StudyInstanceUID) == (study_uid(7), study_uid(8))
    assert first.SOPInstanceUID != second.SOPInstanceUID
    assert first.file_meta.MediaStorageSOPInstanceUID == first.SOPInstanceUID
    pixels = first.pixel_array
    grey = pixels[0] if pixels.ndim == 3 and pixels.shape[-1] != 3 else pixels[..., 0] if pixels.ndim == 3 else pixels
    scale = 100 if grey.max() > 255 else 1
    assert np.abs(grey / scale - picture()[0]).max() <= 20  # of JPEG; 0 of the others


@pytest.mark.parametrize("form", range(len(STUDY_FORMS)))
def test_studies_before_the_mutation_have_four_series(form: int) -> None:
    headers = [pydicom.dcmread(io.BytesIO(content)) for content in study_files(9, form).values()]
    assert {str(ds.StudyInstanceUID) for ds in headers} == {study_uid(9)}
    assert len({str(ds.SeriesInstanceUID) for ds in headers}) == 4
    assert len({str(ds.SOPInstanceUID) for ds in headers}) == len(headers) == 32
    assert headers[5].pixel_array.shape == (20, 20)


@pytest.mark.parametrize("kind", KINDS)
def test_inputs_depend_on_kind_seed_and_number_alone(kind: str) -> None:
    def content(seed: int, index: int) -> Any:
        one = Input(kind, seed, index)
        return mutated_study(one) if kind == "study" else mutated_file(one)[0]

    assert content(1, 2) == content(1, 2)
    assert len({repr(content(s, i)) for s, i in ((1, 2), (1, 3), (2, 2), (2, 3))}) == 4


def test_inputs_that_are_no_files(tmp_path: Path) -> None:
    made = [mutated_file(Input("bmp", 0, i))[0] for i in range(400)]
    places = {file.instead: file.write(tmp_path / f"{i}") for i, file in enumerate(made) if file.instead}
    assert set(places) == {"fifo", "dangling link", "link to itself"}
    assert places["fifo"].is_fifo()
    assert not places["dangling link"].exists()


class Played(Command):
    """A command whose results and output a test writes; each file in its data is a case."""

    goods = ("good",)

    def write(self, data: Path, inputs: Sequence[Input]) -> None:
        for name in ("good", *(one.name for one in inputs)):
            (data / name).touch()

    def line(self, data: Path, out: Path) -> tuple[str, list[str]]:
        return "played", [str(data), str(out)]

    def results(self, out: Path) -> Results:
        return {path.stem: json.loads(path.read_text()) for path in out.glob("*.json")}


MASK = {"seg": [0, 1], "probability": [0.2, 0.9]}
FIRST, SECOND = Input("png", 0, 1), Input("png", 0, 2)
END = "Engine run finished"
NAMED = f"WARNING - Case png00002 is left out: it is damaged.\n{END}\nError: 1 of 3. png00002: it is damaged."


def verdict_of(
    tmp_path: Path, log: str = NAMED, ended: Ended = LEFT_OUT, **results: Any
) -> tuple[dict[str, tuple[str, str]], list[str], list[str]]:
    """Verdict on a run of two inputs, of which the first is done and the second is named, unless told otherwise."""
    for name, content in ({"good": MASK, "png00001": MASK} | results).items():
        if content is not None:
            (tmp_path / f"{name}.json").write_text(json.dumps(content))
    verdict = judge(Played(tmp_path), [FIRST, SECOND], ended, log, tmp_path, {"good": MASK})
    return verdict.outcomes, verdict.broken, verdict.faults


def test_run_without_a_fault(tmp_path: Path) -> None:
    outcomes, broken, faults = verdict_of(tmp_path)
    assert (broken, faults) == ([], [])
    assert outcomes["png00001"] == (DONE, "")
    assert outcomes["png00002"] == (FORESEEN, NAMED.splitlines()[0])


@pytest.mark.parametrize(
    ("ended", "log", "fault"),
    [
        (Ended(-9, False, 0, 1.0, 1.0), NAMED, "killed by SIGKILL"),
        (Ended(-9, True, 0, 7.0, 1.0), NAMED, "not finished after 7 seconds"),
        (Ended(2, False, 0, 1.0, 1.0), "Usage", "exit status 2: Usage"),
        (
            Ended(1, False, 0, 1.0, 1.0),
            f"{NAMED}\nTraceback (most recent call last):\n  File\nnumpy.LinAlgError: Singular\n\nRuntimeError: x",
            "traceback: numpy.LinAlgError: Singular",
        ),
    ],
    ids=["killed", "too long", "status", "traceback"],
)
def test_planted_fault_of_a_run_is_found(tmp_path: Path, ended: Ended, log: str, fault: str) -> None:
    assert verdict_of(tmp_path, log, ended)[1] == [fault]


@pytest.mark.parametrize(
    ("good", "fault"),
    [(None, "the good case good is not done"), (MASK | {"seg": [1, 1]}, "the good case good has other results")],
    ids=["missing", "changed"],
)
def test_good_case_that_suffers_is_found(tmp_path: Path, good: Any, fault: str) -> None:
    assert verdict_of(tmp_path, good=good)[1] == [fault]


@pytest.mark.parametrize("name", [".partial-abc", "tmpab12cd_9", ".medsegdiff.lock"])
def test_what_is_half_written_is_found(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    assert verdict_of(tmp_path)[1] == [f"half written: {name}"]


@pytest.mark.parametrize(
    ("log", "outcome", "why"),
    [
        (END, FAILED, "is neither done nor named"),
        (NAMED.replace("png00002", "png000021"), FAILED, "is neither done nor named"),
        (f"png00002: it is damaged.\n{END}", FAILED, "is not in the list at the end: png00002: it is damaged."),
        (f"{END}\nCase png00002:", FAILED, "is named without a reason"),
        (f"{END}\npng00002: KeyError: 'a'", UNFORESEEN, "png00002: KeyError: 'a'"),
    ],
    ids=["missing", "another", "not at the end", "no reason", "unforeseen"],
)
def test_input_that_is_not_named_rightly_is_found(tmp_path: Path, log: str, outcome: str, why: str) -> None:
    assert verdict_of(tmp_path, log)[0]["png00002"] == (outcome, why)


def test_half_of_the_results_and_a_status_that_hides_a_failure_are_found(tmp_path: Path) -> None:
    outcomes, _, faults = verdict_of(tmp_path, ended=WELL, png00001={"seg": [0, 1]})
    assert outcomes["png00001"] == (FAILED, "has but seg of its results")
    assert faults == ["exit status 0, although 1 inputs are left out"]


class PlayedServer:
    """Plays runs of :class:`Played`: the inputs in ``guilty`` break it, those in ``pair`` only together."""

    def __init__(self, guilty: set[str], pair: set[str]) -> None:
        self.guilty = guilty
        self.pair = pair
        self.runs = 0

    def run(self, job: Job) -> Ended:
        self.runs += 1
        names = set(os.listdir(job.arguments[0]))
        for name in names:
            (Path(job.arguments[1]) / f"{name}.json").write_text(json.dumps(MASK))
        broken = bool(names & self.guilty) or (bool(self.pair) and self.pair <= names)
        Path(job.log).write_text("Traceback (most recent call last):\nValueError: bad" if broken else END)
        return Ended(int(broken), False, 10**8 * len(names), 1.0, 1.0)


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(campaigns, "COMMANDS", {"played": Played})


@pytest.mark.usefixtures("played")
def test_input_to_blame_is_found_and_kept(tmp_path: Path) -> None:
    server: Any = PlayedServer({"png00003", "png00010"}, set())
    inputs = [Input("png", 0, i) for i in range(16)]
    examined = Campaign(server, tmp_path / "work", tmp_path / "failures", 10**9).examine("played", inputs)
    failed = {name: why for name, (outcome, why) in examined.outcomes.items() if outcome == FAILED}
    assert failed == dict.fromkeys(["png00003", "png00010"], "traceback: ValueError: bad")
    assert len(examined.outcomes) == 16
    assert examined.faults == []
    assert examined.processor_seconds == server.runs - 1  # that of the good cases alone is not counted
    assert sorted(os.listdir(tmp_path / "failures")) == ["png00003", "png00010"]
    assert (tmp_path / "failures" / "png00003" / "data" / "png00003").is_file()
    assert "python -m played" in (tmp_path / "failures" / "png00003" / "README.md").read_text()


@pytest.mark.usefixtures("played")
def test_inputs_that_break_a_run_only_together_are_a_fault_of_the_run(tmp_path: Path) -> None:
    server: Any = PlayedServer(set(), {"png00000", "png00001"})
    inputs = [Input("png", 0, i) for i in range(4)]
    examined = Campaign(server, tmp_path / "work", tmp_path / "failures", 10**9).examine("played", inputs)
    assert examined.faults == ["png00000-4-together: traceback: ValueError: bad"]
    assert {outcome for outcome, _ in examined.outcomes.values()} == {DONE}


@pytest.mark.usefixtures("played")
def test_good_cases_that_break_a_run_end_everything(tmp_path: Path) -> None:
    server: Any = PlayedServer({"good"}, set())
    with pytest.raises(RuntimeError, match="The command played fails on good cases alone: traceback"):
        Campaign(server, tmp_path / "work", tmp_path / "failures", 10**9).examine("played", [FIRST])


@pytest.mark.parametrize("count", [1, 99, 10_000])
def test_parts_hold_each_input_once(count: int) -> None:
    parts = parts_of(count, 5, list(KINDS))
    inputs = [one for part in parts for one in part.inputs]
    assert len(inputs) == len(set(inputs)) == count
    assert all(len(part.inputs) <= KINDS[part.kind].chunk for part in parts)
    for name, kind in KINDS.items():
        assert abs(sum(one.kind == name for one in inputs) - count * kind.share) <= 1


def test_table_counts_and_names_what_went_wrong(tmp_path: Path) -> None:
    parts = [Part("png", 0, 0, 3), Part("png", 0, 3, 5), Part("bmp", 0, 0, 1), Part("bmp", 0, 1, 2)]
    three = {"a": (DONE, ""), "b": (FORESEEN, "b: cut"), "c": (FAILED, "traceback: ValueError: bad")}
    parts[0].write(tmp_path, Examined(three, [], 2 * 10**9, 3.0))
    parts[1].write(tmp_path, Examined({"d": (UNFORESEEN, "d: KeyError: 1"), "e": (DONE, "")}, ["status 0"], 10**9, 4.0))
    assert not write_table(tmp_path, "5 inputs", parts)
    text = (tmp_path / "fuzz.md").read_text()
    row = "5 | 2 | 1 | 1 | 1 | 0 | 1 | 2.00 | 7 |"
    assert f"| PNG | {row}" in text
    assert f"| all | {row}" in text
    assert "BMP" not in text  # not run yet
    assert "- `c`: `traceback: ValueError: bad`" in text
    assert "- `seed0-png-00003-00005`: `status 0`" in text
    parts[2].write(tmp_path, Examined({"f": (DONE, "")}))
    assert write_table(tmp_path, "1 input", parts[2:])


def test_script_runs_what_is_left_and_ends_with_a_status(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ran: list[Part] = []

    def run(parts: Sequence[Part], out: Path, memory: int, jobs: int) -> None:
        assert (memory, jobs) == (6 * 10**9, 2)
        ran.extend(parts)
        for part in parts:
            part.write(out, Examined({one.name: (DONE, "") for one in part.inputs}))

    monkeypatch.setattr(fuzz, "_run", run)
    arguments = {"out": str(tmp_path), "count": 250, "kinds": "png,tiff", "jobs": 2}
    for parts in (4, 0):
        ran.clear()
        with pytest.raises(SystemExit) as ended:
            fuzz.main(**arguments)
        assert ended.value.code == 0
        assert len(ran) == parts
    assert "| all | 250 | 250 |" in capsys.readouterr().out
    one = Part("png", 0, 0, 100)
    one.write(tmp_path, Examined({"png00000": (FAILED, "is neither done nor named")}))
    with pytest.raises(SystemExit) as ended:
        fuzz.main(**arguments)
    assert ended.value.code == 1


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"kinds": "gif"}, "There is no kind gif: choose from png, "),
        ({"count": 0}, "count must be a number of at least 1, got 0."),
        ({"jobs": "two"}, "jobs must be a number of at least 1, got 'two'."),
        ({"memory": 0.1}, "memory must be a number of at least 1, got 0.1."),
    ],
)
def test_options_that_are_refused(tmp_path: Path, options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError) as refused:
        fuzz.main(out=str(tmp_path / "out"), **options)
    assert str(refused.value).startswith(sentence)
    assert not (tmp_path / "out").exists()
