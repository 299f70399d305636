# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from medsegdiff_monai.utils.command_line import typed_text
from medsegdiff_monai.utils.distributed import is_main_process
from medsegdiff_monai.utils.errors import InputError, check_writable
from medsegdiff_monai.utils.files import PARTIAL

__all__ = ["locked_folder", "remove_leftovers"]

_LOCK = ".medsegdiff.lock"
_TEMPORARY = re.compile(r"tmp[a-z0-9_]{8}")  # of Python's tempfile, which writers of checkpoints use
_held: set[Path] = set()


@contextmanager
def locked_folder(folder: str | os.PathLike[str]) -> Iterator[Path]:
    """Keep an output folder for this process, and remove what a killed run has left half written in it.

    The lock belongs to the operating system: it goes with the process, however that ends. Of processes that work
    together (``torchrun``), the main one holds it. A folder that this process holds already is handed on.

    Args:
        folder: the folder; it is made where it is missing.

    Yields:
        The folder.

    Raises:
        InputError: when it cannot be written to, or another run writes to it.
    """
    path = Path(typed_text(folder, "output_dir"))
    if not is_main_process() or path.resolve() in _held:
        yield path
        return
    place = check_writable(path).resolve()
    lock = FileLock(place / _LOCK, timeout=0)
    try:
        lock.acquire()
    except Timeout as e:
        raise InputError(
            f"Another run is writing to the folder {path}: wait until it has ended, or choose another folder."
        ) from e
    except (OSError, NotImplementedError) as e:  # another user's lock, or a file system without locks
        raise InputError(f"Cannot lock the folder {path} ({e}): choose another folder.") from e
    _held.add(place)
    try:
        remove_leftovers(place)
        yield path
    finally:
        _held.discard(place)
        (place / _LOCK).unlink(missing_ok=True)
        lock.release()


def remove_leftovers(folder: Path) -> None:
    """Remove what a run that was killed had begun to write: partial files and folders, and empty temporary files.

    Args:
        folder: the folder, which no other run may be writing to.
    """
    is_shared = folder == Path(tempfile.gettempdir()).resolve()  # temporary files are other programs' there
    for path in folder.iterdir():
        empty = not is_shared and path.is_file() and path.stat().st_size == 0 and _TEMPORARY.fullmatch(path.name)
        if path.is_dir() and not path.is_symlink() and path.name.startswith(PARTIAL):
            shutil.rmtree(path)
        elif empty or path.name.startswith((PARTIAL, ".write-test-")):
            path.unlink(missing_ok=True)
