# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

from medsegdiff_monai.utils.errors import InputError

__all__ = ["PARTIAL", "replace_atomically"]

PARTIAL = ".partial-"  # what is being written; a killed run leaves it, and the next one removes it


def replace_atomically(path: Path, write: Any) -> None:
    """Write a file under a temporary name beside its place and move it there, so that none is ever half written.

    Args:
        path: the place.
        write: called with the temporary path, which has the suffix of ``path``.

    Raises:
        InputError: when the file cannot be written.
    """
    suffix = path.name[path.name.index(".") :]
    temporary = Path(tempfile.mktemp(dir=path.parent, prefix=PARTIAL, suffix=suffix))
    try:
        write(temporary)
        os.replace(temporary, path)
    except OSError as e:
        raise InputError(f"Cannot write {path} ({e.strerror or e}): free space or choose another output folder.") from e
    finally:
        temporary.unlink(missing_ok=True)
