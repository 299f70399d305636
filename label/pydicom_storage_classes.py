# Copyright (c) MedSegDiff-MONAI contributors
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#     http://www.apache.org/licenses/LICENSE-2.0
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
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
