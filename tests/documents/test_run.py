# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

"""Commands of the documentation, run as they stand, one section after the other, in a folder that has the bundles."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from documents.collected import REPOSITORY, blocks

__all__ = ["RUN_AS_THEY_STAND"]

# Document and heading of the sections.
QUICK = [
    ("README.md", "Quick start"),
    ("README.md", "Uncertainty"),
    ("docs/clinical.md", "From nothing to a first result"),
    ("README.md", "DICOM and PACS"),
]
SLOW = [("README.md", "Quick start"), ("README.md", "Train on your data"), ("README.md", "Export")]
RUN_AS_THEY_STAND = {*QUICK, *SLOW} - {("docs/clinical.md", "From nothing to a first result")}
# What is changed for the test: programs of another environment, a folder that the README's commands have filled, and a
# training that need not be long.
CHANGED = {
    ".venv/bin/python": "python",
    "thyroid_ultrasound_medsegdiff --out results": "thyroid_ultrasound_medsegdiff --out clinical",
    "--ckpt_dir weights": "--ckpt_dir weights --output_dir eval --max_epochs 1",
}


def _script(sections: list[tuple[str, str]]) -> str:
    """Bash blocks of sections; of ``docs/clinical.md`` those that make a study and segment it, without a PACS."""
    texts = []
    for document, heading in sections:
        found = [b for b in blocks(REPOSITORY / document) if b.heading == heading and b.language == "bash"]
        assert found, (document, heading)
        texts += [b.text for b in (found[1:3] if document == "docs/clinical.md" else found)]
    script = "\n".join(texts)
    for stated, run in CHANGED.items():
        script = script.replace(stated, run)
    return script


@pytest.fixture
def run(tmp_path: Path) -> Callable[[list[tuple[str, str]]], Path]:
    """Run sections in a folder with the repository's bundles and tests; gives the folder."""

    def run_sections(sections: list[tuple[str, str]]) -> Path:
        shutil.copytree(REPOSITORY / "bundle", tmp_path / "bundle")
        (tmp_path / "tests").symlink_to(REPOSITORY / "tests")
        programs = tmp_path / "programs"
        programs.mkdir()
        (programs / "python").write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n', encoding="utf-8")
        (programs / "python").chmod(0o755)
        search = os.pathsep.join(filter(None, [str(REPOSITORY), os.environ.get("PYTHONPATH")]))
        environment = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}", "PYTHONPATH": search}
        # The block of a study states a PYTHONPATH of its own, beside which the package has to be found.
        script = _script(sections).replace("PYTHONPATH=tests", f"PYTHONPATH=tests:{search}")
        bash = ["bash", "-euo", "pipefail", "-c", script]
        done = subprocess.run(bash, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        return tmp_path

    return run_sections


def test_quick_start_uncertainty_and_dicom(run: Callable[[list[tuple[str, str]]], Path]) -> None:
    folder = run(QUICK)
    for name in ("seg", "probability", "uncertainty"):
        assert (folder / "results" / f"test_0000_{name}.png").is_file()
    for name in ("measurements.csv", "uncertainty.csv", "test_0000_mutual_information.png", "test_0000_overlay.png"):
        assert (folder / "details" / name).is_file()
    assert (folder / "clinical" / "case_001" / "seg.dcm").is_file()
    assert {"seg.dcm", "sr.dcm", "report.html"} <= {f.name for f in (folder / "dicom-results" / "case_001").iterdir()}


@pytest.mark.slow
def test_training_on_a_folder_and_export(run: Callable[[list[tuple[str, str]]], Path]) -> None:
    folder = run(SLOW)
    assert (folder / "weights" / "last.pt").is_file()
    assert (folder / "thyroid.onnx").stat().st_size > 0
