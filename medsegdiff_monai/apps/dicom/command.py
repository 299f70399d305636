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


from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

from medsegdiff_monai.apps.dicom.case import DicomSegmenter
from medsegdiff_monai.apps.dicom.case_report import case_pages
from medsegdiff_monai.apps.dicom.contrasts import NamedContrasts, parse_contrasts
from medsegdiff_monai.apps.dicom.discovery import DicomCase, LeftOut, find_dicom_cases, read_headers
from medsegdiff_monai.apps.dicom.headers import uid_suffix
from medsegdiff_monai.apps.dicom.output import prepare_folder, write_case, write_summary
from medsegdiff_monai.apps.dicom.privacy import Privacy, without_values_in_logs
from medsegdiff_monai.utils import InputError, find_input_error

__all__ = ["CaseResult", "problem_of", "refuse_unused_names", "run_dicom", "segment_folders", "summary_of"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class CaseResult:
    """What became of a case: the files that were written, or why there are none."""

    number: int
    study: str
    files: list[str] = field(default_factory=list)
    problem: str | None = None


def segment_folders(
    segmenter: DicomSegmenter,
    folders: Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    contrasts: Any = None,
    resample: bool = False,
    overwrite: bool = False,
    pages: bool = False,
    report: Callable[[str], None] = print,
) -> list[CaseResult]:
    """Segment all cases in folders and write the results, going on with the others where a case fails.

    Args:
        segmenter: the bundle.
        folders: folders with DICOM objects of any number of patients and studies.
        out: output folder.
        contrasts: contrasts that the user names, see :func:`parse_contrasts`.
        resample: whether contrasts on other grids are resampled onto the first's.
        overwrite: whether an earlier run's results in ``out`` may go.
        pages: whether an HTML report of each case is written beside its objects.
        report: called with each line that a user should see; no line holds patient data.

    Returns:
        What became of each case.

    Raises:
        InputError: when the folders hold no image for the bundle, or the output folder cannot be used.
    """
    with without_values_in_logs():
        return _segment_folders(segmenter, folders, out, contrasts, resample, overwrite, pages, report)


def _segment_folders(
    segmenter: DicomSegmenter,
    folders: Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    contrasts: Any,
    resample: bool,
    overwrite: bool,
    pages: bool,
    report: Callable[[str], None],
) -> list[CaseResult]:
    named = parse_contrasts(contrasts, segmenter.codes.contrasts)
    privacy = Privacy()
    instances, unreadable = read_headers(folders, privacy)
    cases, others = find_dicom_cases(instances, segmenter.codes, privacy)
    left_out = [*unreadable, *others]
    for one in left_out:
        report(f"Left out: {one.what} {one.reason}")
    if not cases:
        raise InputError(
            f"There is no image to segment in the folders given: {len(left_out)} files or series are left out"
            f"{_reasons(left_out)}"
        )
    refuse_unused_names(named, cases)
    folder = prepare_folder(out, overwrite)
    results = []
    bar = tqdm(cases, desc="Segmenting", unit="case", disable=len(cases) == 1)
    for number, case in enumerate(bar, start=1):
        result = _one_case(segmenter, case, number, folder, named, resample, pages)
        tqdm.write(_line(result)) if report is print else report(_line(result))
        results.append(result)
    write_summary(folder, summary_of(segmenter, results, left_out))
    return results


def _reasons(left_out: Sequence[LeftOut]) -> str:
    return "." if not left_out else ", the first: " + f"{left_out[0].what} {left_out[0].reason}"


def refuse_unused_names(named: NamedContrasts | None, cases: Sequence[DicomCase]) -> None:
    """A name that no series answers to is a slip of the pen, and not a reason to recognise the contrast instead."""
    if named is None:
        return
    for name in named.named:
        if not any(named.of(case.series)[name] for case in cases):
            raise InputError(f"--contrasts names for {name} no series that was found: give its folder, UID or number.")


def _one_case(
    segmenter: DicomSegmenter,
    case: DicomCase,
    number: int,
    folder: Path,
    named: NamedContrasts | None,
    resample: bool,
    pages: bool,
) -> CaseResult:
    study = uid_suffix(case.study_uid)
    try:
        source = segmenter.read(case, named, resample)
        segmented = segmenter.segment(source, members=pages, show_progress=True)
        shown = case_pages(segmented, segmenter, f"Case {number}") if pages else None
        return CaseResult(number, study, write_case(folder, number, segmented.made, shown))
    except Exception as e:  # damaged headers fail in more ways than can be listed; the other cases go on
        logger.debug("Case %d", number, exc_info=True)  # only when asked for: a traceback may hold values
        return CaseResult(number, study, problem=problem_of(e))


def problem_of(error: Exception) -> str:
    """One sentence; that of an error which nobody foresaw does not quote it, for it may hold values."""
    cause = find_input_error(error)
    if cause is not None:
        return " ".join(str(cause).split())
    return (
        f"Its objects cannot be used: attributes that are needed are damaged or missing ({type(error).__name__}): "
        "export the study again."
    )


def _line(result: CaseResult) -> str:
    what = f"Case {result.number} (study {result.study})"
    if result.problem is not None:
        return f"Error: {what}: {result.problem}"
    return f"{what}: {', '.join(result.files)}"


def summary_of(segmenter: DicomSegmenter, results: Sequence[CaseResult], left_out: Sequence[LeftOut]) -> dict[str, Any]:
    """Content of ``summary.json``."""
    return {
        "bundle": segmenter.equipment.model,
        "bundle_version": segmenter.equipment.bundle_version,
        "cases": [{"case": r.number, "study": r.study, "files": r.files, "problem": r.problem} for r in results],
        "left_out": [{"what": one.what, "reason": one.reason} for one in left_out],
    }


def run_dicom(
    folders: Sequence[str],
    bundle: str,
    out: str,
    contrasts: Any = None,
    resample: bool = False,
    steps: int | None = None,
    members: int | None = None,
    device: str | None = None,
    overwrite: bool = False,
    report: bool = False,
) -> int:
    """The command ``dicom``: DICOM in, DICOM SEG and SR out.

    Args:
        folders: folders with DICOM objects.
        bundle: folder of the bundle.
        out: output folder.
        contrasts: contrasts that the user names.
        resample: whether contrasts on other grids are resampled onto the first's.
        steps: number of network evaluations of each member; None for the bundle's.
        members: number of members; None for the bundle's.
        device: where the network runs; None for the bundle's choice.
        overwrite: whether an earlier run's results may go.
        report: whether an HTML report of each case is written.

    Returns:
        Exit status: 0, or 1 where a case failed.

    Raises:
        InputError: when the command is used wrongly.
    """
    if not folders:
        raise InputError("No folder is given: name the folders that hold the DICOM objects.")
    segmenter = DicomSegmenter(bundle, steps, members, device)
    results = segment_folders(segmenter, folders, out, contrasts, resample, overwrite, report)
    failed = [r for r in results if r.problem is not None]
    print(f"{len(results) - len(failed)} of {len(results)} cases segmented, in {out}.")
    return 1 if failed else 0
