# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def bundle_run(bundle: Path, data: Path, out: Path, overlays: Sequence[str] = (), **settings: Any) -> None:
    """``python -m monai.bundle run`` on the files of a folder, as the READMEs show it."""
    given = {"bundle_root": bundle, "dataset_dir": data, "output_dir": out, **settings}
    options = [text for key, value in given.items() for text in (f"--{key}", str(value))]
    files = [str(bundle / "configs" / name) for name in ("inference.json", *overlays)]
    command = [sys.executable, "-m", "monai.bundle", "run", "--config_file", str(files) if overlays else files[0]]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*command, *options], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
