# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
SCRIPT = REPOSITORY / "tools" / "bundle_archives.py"


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("git") is None or not (REPOSITORY / ".git").exists():
        pytest.skip("the archives hold what git knows, and this is no clone")
    out = tmp_path_factory.mktemp("archives")
    subprocess.run([sys.executable, str(SCRIPT), str(out)], check=True, capture_output=True)
    return out


def test_an_archive_is_one_folder_with_the_bundle_and_nothing_else(archives: Path) -> None:
    for metadata in REPOSITORY.glob("bundle/*/configs/metadata.json"):
        bundle = metadata.parents[1]
        version = json.loads(metadata.read_text())["version"]
        with zipfile.ZipFile(archives / f"{bundle.name}_v{version}.zip") as zipped:
            names = zipped.namelist()
            assert zipped.testzip() is None
            assert zipped.read(f"{bundle.name}/models/model.pt") == (bundle / "models" / "model.pt").read_bytes()
        assert {name.split("/")[0] for name in names} == {bundle.name}
        assert {"configs/inference.json", "docs/README.md", "LICENSE"} <= {name.split("/", 1)[1] for name in names}
        assert not [n for n in names if "__pycache__" in n or "/eval/" in n or n.endswith(("last.pt", ".ts", ".onnx"))]


def test_the_same_files_give_the_same_bytes(archives: Path, tmp_path: Path) -> None:
    subprocess.run([sys.executable, str(SCRIPT), str(tmp_path)], check=True, capture_output=True)
    sums = (archives / "SHA256SUMS").read_text()
    assert sums == (tmp_path / "SHA256SUMS").read_text()
    for line in sums.splitlines():
        value, name = line.split()
        assert hashlib.sha256((archives / name).read_bytes()).hexdigest() == value
