# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

PROGRAM = """
import sys, tempfile, time
from medsegdiff_monai.apps.program import run_program

def load():
    if sys.argv[1] == "load":
        print("loading", flush=True)
        time.sleep(60)
    return {"load": work, "work": work}

def work(folder):
    with tempfile.TemporaryDirectory(dir=folder):
        print("working", flush=True)
        time.sleep(60)

run_program("program", load)
"""


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["Ctrl-C", "TERM"])
@pytest.mark.parametrize("phase", ["load", "work"])
def test_a_program_that_is_stopped_says_so_in_one_line_and_leaves_nothing(
    phase: str, number: signal.Signals, status: int, tmp_path: Path
) -> None:
    command = [sys.executable, "-c", PROGRAM, phase, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(number)
        _, said = process.communicate()
    assert process.returncode == status
    assert said == "Stopped.\n"
    assert list(tmp_path.iterdir()) == []


def test_a_program_in_the_background_of_a_script_goes_on(tmp_path: Path) -> None:
    # Shells let Ctrl-C pass by such programs.
    program = PROGRAM.replace("time.sleep(60)", "sys.stdin.read()")
    ignoring = f"import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\n{program}"
    command = [sys.executable, "-c", ignoring, "work", str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "working\n"
        process.send_signal(signal.SIGINT)
        process.communicate("")
    assert process.returncode == 0


def test_a_command_that_is_stopped_says_so_in_one_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "medsegdiff_monai", "phantoms", str(tmp_path), "--training", "100000"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        while not list(tmp_path.glob("labels/*.png")):
            assert process.poll() is None
            time.sleep(0.005)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate()
    assert process.returncode == 130
    assert said.strip().splitlines()[-1] == "Stopped."
    assert "Traceback" not in said
    assert list(tmp_path.rglob(".partial-*")) == []
