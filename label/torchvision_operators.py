# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

"""Let torchvision be imported beside a build of torch that its compiled operators do not fit.

MONAI Label imports torchvision when it starts, to draw pictures. The operators of the torchvision that pip brings are
compiled for torch with CUDA; beside torch for the CPU its import fails for the lack of two of them, which nothing here
calls. Run as a program by the Python of an environment, this module tries the import and, where it fails, installs
itself: every Python of that environment then declares the operators just before torchvision is imported.
"""

from __future__ import annotations

import importlib.abc
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

_SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
_OPERATORS = ("torchvision::nms", "torchvision::qnms")


class _DeclareOperators(importlib.abc.MetaPathFinder):
    """Declares the operators, without implementations, when torchvision is about to be imported."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        if name == "torchvision":
            sys.meta_path.remove(self)
            from torch import library

            for operator in _OPERATORS:
                library.define(operator, _SCHEMA)


def install() -> None:
    """Install this module into the environment where torchvision cannot be imported there."""
    attempt = subprocess.run([sys.executable, "-c", "import torchvision"], capture_output=True, text=True, check=False)
    if attempt.returncode == 0:
        return
    if not any(f"operator {operator} does not exist" in attempt.stderr for operator in _OPERATORS):
        sys.exit(attempt.stderr)
    packages = Path(sysconfig.get_paths()["purelib"])
    shutil.copy(__file__, packages / "torchvision_operators.py")
    (packages / "torchvision_operators.pth").write_text("import torchvision_operators\n", encoding="utf-8")
    subprocess.run([sys.executable, "-c", "import torchvision"], check=True)


if __name__ == "__main__":
    install()
else:
    sys.meta_path.insert(0, _DeclareOperators())
