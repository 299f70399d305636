# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from medsegdiff_monai.utils.command_line import typed_text
from medsegdiff_monai.utils.distributed import is_main_process
from medsegdiff_monai.utils.errors import InputError

__all__ = ["PARTIAL", "check_writable", "locked_folder", "replace_atomically"]

PARTIAL = ".partial-"  # what is being written; a killed run leaves it, and the next one removes it
_PROBE = ".write-test-"
_LOCK = ".medsegdiff.lock"
_held: set[Path] = set()


def check_writable(folder: str | os.PathLike[str]) -> Path:
    """Make an output folder, with its parents, and prove that files can be written to it, or raise ``InputError``."""
    path = Path(typed_text(folder, "output_dir"))
    probe = path / f"{_PROBE}{os.getpid()}"
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as e:
        raise InputError(
            f"Cannot write to the output folder {path} ({e.strerror}): choose another folder or mend its permissions."
        ) from e
    return path


def replace_atomically(path: Path, write: Any) -> None:
    """Write a file under a temporary name beside its place and move it there, so that none is ever half written.

    ``write`` is called with the temporary path, which has the suffix of ``path``; its ``OSError`` becomes one sentence.
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


@contextmanager
def locked_folder(folder: str | os.PathLike[str]) -> Iterator[Path]:
    """Keep an output folder for this process, and remove what a killed run has left half written in it.

    The folder is made where it is missing. The lock goes with the process, however that ends. Of processes that work
    together (``torchrun``), the main one holds it. A folder that this process holds already is handed on; one that
    another run writes to is an ``InputError``.
    """
    path = Path(typed_text(folder, "output_dir"))
    if not is_main_process() or path.resolve() in _held:
        yield path
        return
    resolved = check_writable(path).resolve()
    lock = FileLock(resolved / _LOCK, timeout=0)
    try:
        lock.acquire()
    except Timeout as e:
        raise InputError(
            f"Another run is writing to the folder {path}: wait until it has ended, or choose another folder."
        ) from e
    except (OSError, NotImplementedError) as e:  # another user's lock, or a file system without locks
        raise InputError(f"Cannot lock the folder {path} ({e}): choose another folder.") from e
    _held.add(resolved)
    try:
        for leftover in [*resolved.glob(f"{PARTIAL}*"), *resolved.glob(f"{_PROBE}*")]:
            if leftover.is_dir() and not leftover.is_symlink():
                shutil.rmtree(leftover)
            else:
                leftover.unlink(missing_ok=True)
        yield path
    finally:
        _held.discard(resolved)
        (resolved / _LOCK).unlink(missing_ok=True)
        lock.release()
