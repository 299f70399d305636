# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0
"""Let pydicom-seg be imported beside pydicom 3.

MONAI Label imports pydicom-seg 0.4.1 when it starts. That takes the SOP class of segmentations from a module of pydicom
2 that pydicom 3, with which this project writes its DICOM objects, no longer has. Run as a program by the Python of an
environment, this file puts itself there as that module where it is missing, and tries the import.
"""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

import pydicom
from pydicom.uid import SegmentationStorage

__all__ = ["SegmentationStorage", "install"]

_MODULE = "_storage_sopclass_uids"


def install() -> None:
    """Install this module into the pydicom of the environment where that has none of its name."""
    if importlib.util.find_spec(f"pydicom.{_MODULE}") is None:
        shutil.copy(__file__, Path(pydicom.__file__).parent / f"{_MODULE}.py")
    subprocess.run([sys.executable, "-c", "import pydicom_seg"], check=True)


if __name__ == "__main__":
    install()
