# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import peers
import pytest
import torch
from peer_harness.options import chosen_rows
from peer_harness.process import answer_in_process, answer_job, run_job

from medsegdiff_monai.utils import InputError, reason_of

TINY = {"cases": "2d", "scaling": "none", "size": 32, "repeats": 1, "threads": 1, "quick": True}


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure without processes of their own, which would each have to import everything anew."""

    def run(script: Path, job: dict[str, Any], threads: int, minutes: float) -> dict[str, Any]:
        try:
            return json.loads(json.dumps(answer_job(json.loads(json.dumps(job)))))
        except (InputError, RuntimeError) as e:
            return {"failed": reason_of(e)}

    monkeypatch.setattr(peers, "run_job", run)


@pytest.mark.usefixtures("in_this_process")
def test_tables_from_end_to_end_with_a_peer_that_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setitem(sys.modules, "med_seg_diff_pytorch", None)  # as if it were not installed
    with pytest.raises(SystemExit) as ended:
        peers.main(out=str(tmp_path), only=("fast", "med_seg_diff", "basic_unet"), **TINY)
    assert ended.value.code == 1
    printed = capsys.readouterr().out
    assert "med-seg-diff-pytorch cannot be imported, there is no med_seg_diff_pytorch: pip install" in printed
    lines = [line for line in printed.splitlines() if line.startswith("| M") or line.startswith("| med")]
    assert [line.split("|")[1].strip() for line in lines] == [
        "MedSegDiff, fast mode",
        "med-seg-diff-pytorch, DDPM",
        "MONAI BasicUNet",
    ]
    records = json.loads((tmp_path / "peers.json").read_text())["records"]
    assert [list(r["result"]) == ["failed"] for r in records] == [False, True, False]
    assert all(r["result"]["seconds"] > 0 for r in records if "seconds" in r["result"])


@pytest.mark.usefixtures("in_this_process")
def test_sweeps_from_end_to_end(tmp_path: Path, capsys: Any) -> None:
    peers.main(out=str(tmp_path), **{**TINY, "cases": "none", "scaling": "members"})
    assert "| members | MedSegDiff | 1, 2 |" in capsys.readouterr().out
    assert (tmp_path / "scaling.png").is_file()


def test_job_in_a_process_of_its_own() -> None:
    (row,) = chosen_rows({"size": 32}, "2d", "basic_unet", "none", 1, None, False)
    job = {"row": vars(row), "repeats": 1, "ceiling_sizes": [32]}
    assert run_job(Path(peers.__file__), job, threads=1, minutes=10)["gflop_per_second"] > 0


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ("import sys; print('noise', file=sys.stderr); sys.exit('Error: there is none.')", "there is none."),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "killed by SIGKILL (out of memory?)"),
        ("raise SystemExit(3)", "ended with status 3"),
        ("import time; time.sleep(600)", "not finished after 0.01 minutes (--minutes)"),
    ],
    ids=["refused", "out of memory", "silent", "too long"],
)
def test_reason_of_a_job_that_fails(tmp_path: Path, program: str, reason: str) -> None:
    script = tmp_path / "script.py"
    script.write_text(program)
    minutes = 0.01 if "sleep" in program else 10
    assert run_job(script, {}, threads=1, minutes=minutes) == {"failed": reason}


def test_threads_and_arguments_of_a_job(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import json, os, sys; from pathlib import Path; kind, job, path = sys.argv[1:];"
        "Path(path).write_text(json.dumps([kind, json.loads(job), os.environ['OMP_NUM_THREADS']]))"
    )
    assert run_job(script, {"a": None}, threads=3, minutes=10) == ["job", {"a": None}, "3"]


def test_job_that_fails_ends_with_one_line(tmp_path: Path, capsys: Any) -> None:
    (row,) = chosen_rows({"size": 32}, "2d", "fast", "none", 1, None, False)
    job = {"row": {**vars(row), "method": "onnx", "settings": {"file": None}}, "repeats": 1, "ceiling_sizes": [32]}
    with pytest.raises(SystemExit) as ended:
        answer_in_process(json.dumps(job), str(tmp_path / "answer.json"))
    assert ended.value.code == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("Error: There is no file for ONNX Runtime: export")
    assert not (tmp_path / "answer.json").exists()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"cases": "4d"}, "There is no case 4d: choose from 2d, 3d."),
        ({"only": ("default", "nothing")}, "There is no row nothing: choose from default, "),
        ({"scaling": "time"}, "There is no sweep time: choose from image_size, "),
        ({"size": 100}, "size must be divisible by 16, got 100."),
        ({"size": 16}, "size must be a whole number of at least 32, got 16."),
        ({"volume": (128, 128)}, "volume must be 3 numbers, got 2."),
        ({"window": "large"}, "window must be a whole number of at least 32, got 'large'."),
        ({"partial_steps": 0}, "partial_steps must be a whole number of at least 1, got 0."),
        ({"repeats": 0}, "repeats must be a whole number of at least 1, got 0."),
        ({"minutes": 0}, "minutes must be a number of at least 0.1, got 0."),
        ({"threads": 100_000}, "This machine has "),
        ({"device": "tpu"}, "device must be cpu or cuda, got 'tpu'."),
        ({"onnx": "none.onnx"}, "There is no file none.onnx: export"),
    ],
)
def test_options_that_are_refused(tmp_path: Path, options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError) as refused:
        peers.main(out=str(tmp_path / "out"), **options)
    assert str(refused.value).startswith(sentence)
    assert not (tmp_path / "out").exists()


def test_names_as_the_command_line_gives_them() -> None:
    rows = chosen_rows({}, "2d,3d", ("fast", "basic_unet"), "none", 1, None, True)
    assert [(r.case, r.key) for r in rows] == [(c, k) for c in ("2d", "3d") for k in ("fast", "basic_unet")]
    assert {r.size for r in rows} == {(64, 64), (32, 32, 16)}
    assert rows == chosen_rows({}, ("2d", "3d"), "fast,basic_unet", "none", 1, None, True)


def test_row_for_onnx_runtime_is_there_where_a_file_is(tmp_path: Path) -> None:
    file = tmp_path / "model.onnx"
    file.touch()
    rows = chosen_rows({}, "2d", None, "none", 1, str(file), False)
    assert [r.settings["file"] for r in rows if r.method == "onnx"] == [str(file)]
    assert not any(r.method == "onnx" for r in chosen_rows({}, "2d", None, "none", 1, None, False))


@pytest.mark.parametrize(("dtype", "only", "rows"), [("bfloat16", None, 2), (None, None, 0), (None, "bf16", 2)])
def test_reduced_precision_is_measured_where_the_processor_has_it(
    monkeypatch: pytest.MonkeyPatch, dtype: str | None, only: str | None, rows: int
) -> None:
    monkeypatch.setattr("peer_harness.options.fast_cpu_dtype", lambda: dtype)
    chosen = chosen_rows({}, ("2d", "3d"), only, "none", 1, None, False)
    assert sum(r.key == "bf16" for r in chosen) == rows
    assert only is not None or any(r.key == "default" for r in chosen)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_gpu_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="There is no device cuda on this machine"):
        peers.main(out=str(tmp_path / "out"), device="cuda")
    assert not (tmp_path / "out").exists()


def test_rows_of_a_gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "model.onnx"
    file.touch()
    monkeypatch.setattr("peer_harness.options.checked_device", torch.device)
    rows = chosen_rows({}, "2d", None, "all", 1, str(file), False, "cuda")
    assert {r.device for r in rows} == {"cuda"}
    assert {"default", "bf16", "paper", "basic_unet"} < {r.key for r in rows}
    assert not {"onnx", "memory_returned"} & {r.key for r in rows}
    assert "threads" not in {r.sweep for r in rows}
    assert {r.device for r in chosen_rows({}, "2d", None, "all", 1, None, False)} == {"cpu"}
