# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

import logging
import os
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from medsegdiff_monai.apps.dicom.case import TIME_LIMIT, DicomSegmenter, note_on
from medsegdiff_monai.apps.dicom.limits import bounded_memory, bounded_time, is_out_of_memory
from medsegdiff_monai.apps.dicom.output import CaseResult, RunRecord, prepare_folder, write_case
from medsegdiff_monai.apps.dicom.pages import case_pages
from medsegdiff_monai.apps.dicom.reading.contrasts import parse_contrasts, refuse_unused_names
from medsegdiff_monai.apps.dicom.reading.discovery import DicomCase, find_dicom_cases
from medsegdiff_monai.apps.dicom.reading.files import read_headers
from medsegdiff_monai.apps.dicom.reading.header import LeftOut
from medsegdiff_monai.apps.dicom.reading.identity import Privacy, without_values_in_logs
from medsegdiff_monai.utils import INTERRUPTED, InputError, find_input_error, locked_folder, printable

__all__ = ["problem_of", "run_dicom", "segment_folders"]

logger = logging.getLogger(__name__)


def segment_folders(
    segmenter: DicomSegmenter,
    folders: Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    contrasts: Any = None,
    resample: bool = False,
    overwrite: bool = False,
    pages: bool = False,
    resume: bool = False,
    report: Callable[[str], None] = tqdm.write,
) -> RunRecord:
    """Segment all cases in folders and write the results, going on with the others where a case fails.

    Args:
        segmenter: the bundle's.
        folders: folders with DICOM objects, and single files.
        out: folder of the results.
        contrasts: series that the user names, see :func:`parse_contrasts`.
        resample: whether contrasts on other grids are resampled onto the first's.
        overwrite: whether an earlier run's results may go.
        pages: whether an HTML report of each case is written beside its objects.
        resume: whether an earlier run's results stay, and only the other cases are done.
        report: takes each line that a user should see; none holds patient data.
    """
    with without_values_in_logs():
        named = parse_contrasts(contrasts, segmenter.codes.contrasts)
        cases, left_out = _find_cases(segmenter, folders, report)
        refuse_unused_names(named, cases)
        with locked_folder(out) as folder:
            prepare_folder(folder, overwrite, resume)
            settings = f"{', resampled' if resample else ''}{', with pages' if pages else ''}"
            record = RunRecord(folder, segmenter, cases, left_out, named, settings, resume)
            if done := len(cases) - len(record.open):
                report(f"{done} of {len(cases)} cases are done already.")
            bar = tqdm(record.open.items(), desc="Segmenting", unit="case", disable=len(record.open) <= 1)
            for number, case in bar:
                result = _segment_case(segmenter, case, number, folder, named, resample, pages)
                record.add(result)
                which = f"Case {number} (study {printable(result.study)})"
                failed = result.problem is not None
                report(f"Error: {which}: {result.problem}" if failed else f"{which}: {', '.join(result.files)}")
                if result.note:
                    report(f"Note: {which}: {result.note}.")
            return record


def _find_cases(
    segmenter: DicomSegmenter, folders: Sequence[str | os.PathLike[str]], report: Callable[[str], None]
) -> tuple[list[DicomCase], list[LeftOut]]:
    privacy = Privacy()
    instances, unreadable = read_headers(folders, privacy)
    cases, others = find_dicom_cases(instances, segmenter.codes, privacy)
    left_out = [*unreadable, *others]
    for one in left_out:
        report(f"Left out: {one.what} {one.reason}")
    if not cases:
        first = f", the first: {left_out[0].what} {left_out[0].reason}" if left_out else "."
        number = f"{len(left_out)} files or series are left out"
        raise InputError(f"There is no image to segment in the folders given: {number}{first}")
    return cases, left_out


def _segment_case(
    segmenter: DicomSegmenter,
    case: DicomCase,
    number: int,
    folder: Path,
    named: Mapping[str, str],
    resample: bool,
    pages: bool,
) -> CaseResult:
    try:
        source = segmenter.read(case, named, resample)
        segmented = segmenter.segment(source, show_progress=True)
        with bounded_memory(), bounded_time(segmenter.time_limit, "Writing the results"):
            reports = case_pages(segmented, segmenter, f"Case {number}") if pages else {}
            files = write_case(folder, number, segmented.made, reports)
        return CaseResult(number, case.study_suffix, files, note=note_on(case, source))
    except Exception as e:  # damaged images fail in more ways than can be listed; the other cases go on
        logger.debug("Case %d", number, exc_info=True)  # only when asked for: a traceback may hold values
        return CaseResult(number, case.study_suffix, problem=problem_of(e))


def problem_of(error: Exception) -> str:
    """One sentence on an error; that of one which nobody foresaw does not quote it, for it may hold values."""
    cause = find_input_error(error)
    if cause is not None:
        return " ".join(str(cause).split())
    if is_out_of_memory(error):
        return "It needs more memory than is free: end other programs, or use a machine that has more."
    kind = type(error).__name__
    frames = traceback.extract_tb(error.__traceback__)
    place = f" in {Path(frames[-1].filename).name}, line {frames[-1].lineno}" if frames else ""
    return f"It failed for a reason that nobody foresaw ({kind}{place}): please report that."


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
    resume: bool = False,
    case_timeout: float = TIME_LIMIT,
) -> int:
    """The command ``dicom``, whose help describes its options: DICOM in, DICOM SEG and SR out.

    The exit status is 0, or 1 where a case failed or a file was left out that may have been an image, or 130 where the
    user stopped it.
    """
    if not folders:
        raise InputError("No folder is given: name the folders that hold the DICOM objects.")
    if overwrite and resume:
        raise InputError("--overwrite begins anew and --resume goes on: give one of them.")
    if isinstance(case_timeout, bool) or not isinstance(case_timeout, (int, float)) or not 0 < case_timeout < 1e9:
        raise InputError("--case_timeout must be a number of seconds above 0.")
    segmenter = DicomSegmenter(bundle, steps, members, device, float(case_timeout))
    try:
        record = segment_folders(segmenter, folders, out, contrasts, resample, overwrite, report, resume)
    except KeyboardInterrupt:
        print("Stopped: go on with the same command and --resume.", file=sys.stderr)
        return INTERRUPTED
    failed = sum(result.problem is not None for result in record.results)
    lost = sum(one.counts for one in record.left_out)
    also = f", {lost} {'file' if lost == 1 else 'files'} left out" if lost else ""
    print(f"{len(record.results) - failed} of {len(record.results)} cases segmented{also}, in {printable(out)}.")
    return 1 if failed or lost else 0
