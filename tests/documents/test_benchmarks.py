# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

"""Benchmarks that the documentation names and no other test runs, in their smallest form."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from documents.collected import REPOSITORY

SMALLEST = {
    "dicom_study": "--out . --shape (48,48,24) --num_inference_steps 1 --num_ensemble 1",
    "readers": "--out . --minutes 0.6 --unet_minutes 0.3 --size 32 --training 8 --validation 2 --test 2",
    "sampling": "--out . --steps (1,) --members (1,) --repeats 1",
    "uncertainty_cost": "--repeats 1",
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALLEST)
def test_benchmark_ends_with_a_table(name: str, tmp_path: Path) -> None:
    command = [sys.executable, str(REPOSITORY / "benchmarks" / f"{name}.py"), *SMALLEST[name].split()]
    search = os.pathsep.join([str(REPOSITORY), str(REPOSITORY / "tests")])
    environment = {**os.environ, "PYTHONPATH": search}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert "| --" in done.stdout or "|--" in done.stdout, f"{done.stdout[-2000:]}\n{done.stderr[-3000:]}"
