# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0


"""Runs each measurement in a process of its own, whose peak memory and threads are then its own as well."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Any

from medsegdiff_monai.utils import InputError, keep_freed_memory, reason_of

from .measure import measure_row
from .rows import row_of

__all__ = ["answer_job", "run_job"]


def answer_job(job: dict[str, Any]) -> dict[str, Any]:
    """Measure a row in this process.

    Args:
        job: ``row``, ``repeats`` and ``ceiling_sizes``.
    """
    row = row_of(job["row"])
    if row.keep_memory:  # as bundles do when they start; the peers gain by it as well
        keep_freed_memory()
    return measure_row(row, job["repeats"], tuple(job["ceiling_sizes"]))


def answer_in_process(job: str, path: str) -> None:
    """What the process of a job does; ends it with one line that says why where it fails.

    Args:
        job: the job as JSON.
        path: file for the answer.
    """
    try:
        Path(path).write_text(json.dumps(answer_job(json.loads(job))), encoding="utf-8")
    except Exception as e:  # the boundary of the process: whatever ends a job becomes one line for the table
        traceback.print_exc()
        print(f"Error: {reason_of(e)}", file=sys.stderr)
        sys.exit(2 if isinstance(e, InputError) else 3)


def _reason(code: int, printed: str) -> str:
    if code < 0:
        name = signal.Signals(-code).name
        return f"killed by {name}" + (" (out of memory?)" if name == "SIGKILL" else "")
    lines = printed.strip().splitlines()
    return lines[-1].removeprefix("Error: ") if lines else f"ended with status {code}"


def run_job(script: Path, job: dict[str, Any], threads: int, minutes: float) -> dict[str, Any]:
    """Do a job in a process of its own.

    Args:
        script: called as ``script job <job as JSON> <file of the answer>``.
        job: the job.
        threads: number of threads of the process.
        minutes: time after which the process is ended.

    Returns:
        The answer, or ``{"failed": reason}``.
    """
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads), "TQDM_DISABLE": "1"}
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder) / "answer.json"
        command = [sys.executable, str(script), "job", json.dumps(job), str(answer)]
        try:
            done = subprocess.run(
                command,
                env=environment,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
                timeout=60 * minutes,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return {"failed": f"not finished after {minutes:g} minutes (--minutes)"}
        if done.returncode != 0:
            return {"failed": _reason(done.returncode, done.stderr)}
        return json.loads(answer.read_text(encoding="utf-8"))
