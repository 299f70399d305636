# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0


from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medsegdiff_monai.apps.dicom.results import DicomObjects
from medsegdiff_monai.apps.report import ReportCase, write_report
from medsegdiff_monai.utils import PARTIAL, InputError, check_writable, replace_atomically

__all__ = ["SUMMARY", "case_folder", "prepare_folder", "write_case", "write_summary"]

SUMMARY = "summary.json"
_CASE = re.compile(r"case_\d{3,}$")


_OPTIONS = "choose another folder or give --overwrite, or --resume to go on with a run that was interrupted"


def prepare_folder(out: str | os.PathLike[str], overwrite: bool, resume: bool = False, advice: str = _OPTIONS) -> Path:
    """Make the output folder; results of an earlier run are taken away where that is asked for.

    Args:
        out: the folder.
        overwrite: whether an earlier run's results may go.
        resume: whether they are to stay and be completed.
        advice: what a user can do about such results.

    Raises:
        InputError: when it holds anything and neither is given, or anything else than such results.
    """
    folder = Path(out)
    if folder.exists() and not folder.is_dir():
        raise InputError(f"--out {folder} is a file: choose a folder.")
    found = sorted(p for p in folder.iterdir() if not p.name.startswith(".")) if folder.is_dir() else []
    earlier = [p for p in found if p.name == SUMMARY or (p.is_dir() and _CASE.match(p.name))]
    if len(earlier) != len(found):
        raise InputError(f"The output folder {folder} is not empty: choose another folder.")
    if found and not overwrite and not resume:
        raise InputError(f"The output folder {folder} is not empty: {advice}.")
    for path in [] if resume else earlier:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    return check_writable(folder)


def case_folder(folder: Path, number: int) -> Path:
    """Folder of a case's results, with a name that does not tell whose they are."""
    return folder / f"case_{number:03d}"


def write_case(
    folder: Path, number: int, made: DicomObjects, pages: Mapping[str, ReportCase] | None = None
) -> list[str]:
    """Write the objects of a case into a folder of its own, and its HTML reports, all of them or none.

    They are written into a hidden folder beside it, which is then renamed.

    Args:
        folder: output folder.
        number: number of the case, from 1.
        made: the objects.
        pages: what the reports show, by their file names.

    Returns:
        Paths of the files in the output folder.

    Raises:
        InputError: when they cannot be written.
    """
    place = case_folder(folder, number)
    temporary = Path(tempfile.mkdtemp(dir=folder, prefix=PARTIAL))
    try:
        for name, ds in made.objects.items():
            ds.save_as(temporary / f"{name}.dcm", enforce_file_format=True)
        for name, page in (pages or {}).items():
            write_report(temporary / name, page)
        os.replace(temporary, place)
    except OSError as e:
        raise InputError(f"Cannot write {place} ({e.strerror or e}): free space or choose another folder.") from e
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    place.chmod(0o755)  # a temporary folder is its owner's alone
    return [f"{place.name}/{name}" for name in (*(f"{n}.dcm" for n in made.objects), *(pages or {}))]


def write_summary(folder: Path, content: dict[str, Any]) -> None:
    """Write ``summary.json``."""
    text = json.dumps(content, indent=1) + "\n"
    replace_atomically(folder / SUMMARY, lambda path: path.write_text(text, encoding="utf-8"))
