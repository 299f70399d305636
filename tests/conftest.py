# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from medsegdiff_monai.data.phantoms import write_phantoms

REPOSITORY = Path(__file__).resolve().parents[1]
BUNDLES = REPOSITORY / "bundle"


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    """Small tensors gain nothing from threads, and lose much where other work runs beside the tests."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope="session")
def _only_callables_are_builtins() -> Iterator[None]:
    """TorchScript knows builtin functions by their ``id``, which a list may inherit from one that is gone.

    In a process that scripts hundreds of networks this has happened: "builtin cannot be used as a value".
    """
    find = torch.jit._recursive._find_builtin
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.jit._recursive, "_find_builtin", lambda value: find(value) if callable(value) else None)
        yield


@pytest.fixture(scope="session")
def thyroid_bundle() -> Path:
    """Folder of the thyroid bundle."""
    return BUNDLES / "thyroid_ultrasound_medsegdiff"


@pytest.fixture(scope="session")
def real_ddti() -> Path:
    """Folder of the real thyroid images; tests that need it are skipped where it is absent."""
    folder = Path(os.environ.get("MEDSEGDIFF_DATA", REPOSITORY.parent / "shared" / "data")) / "ultrasound_ddti"
    if not (folder / "datalist.json").is_file():
        pytest.skip(f"no real images in {folder}: set MEDSEGDIFF_DATA to the folder that holds ultrasound_ddti")
    return folder


@pytest.fixture(scope="session")
def tiny_phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of a few small ultrasound phantoms."""
    folder = tmp_path_factory.mktemp("phantoms")
    write_phantoms(folder, num_training=9, num_validation=3, num_test=3, size=48, seed=5)
    return folder


@pytest.fixture(scope="session")
def validate() -> Callable[[Path], str]:
    """All that ``dciodvfy -new`` has to say about an object, except its kind; tests are skipped where it is absent."""
    program = shutil.which("dciodvfy")
    if program is None:
        pytest.skip("dciodvfy is not installed: apt-get install dicom3tools")

    def check(path: Path) -> str:
        done = subprocess.run([program, "-new", str(path)], capture_output=True, text=True, check=False)
        lines = (done.stdout + done.stderr).splitlines()
        return "\n".join(line for line in lines if line.startswith(("Error", "Warning", "Abort")) or " - " in line)

    return check
