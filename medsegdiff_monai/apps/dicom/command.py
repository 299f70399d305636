# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0


from __future__ import annotations

import logging
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from medsegdiff_monai.apps.dicom.case import TIME_LIMIT, DicomSegmenter, note_on
from medsegdiff_monai.apps.dicom.case_report import case_pages
from medsegdiff_monai.apps.dicom.contrasts import NamedContrasts, parse_contrasts
from medsegdiff_monai.apps.dicom.discovery import DicomCase, LeftOut, find_dicom_cases, read_headers
from medsegdiff_monai.apps.dicom.limits import bounded_memory, bounded_time, is_out_of_memory
from medsegdiff_monai.apps.dicom.output import prepare_folder, write_case
from medsegdiff_monai.apps.dicom.privacy import Privacy, without_values_in_logs
from medsegdiff_monai.apps.dicom.record import CaseResult, RunRecord, summary_of
from medsegdiff_monai.utils import InputError, find_input_error, locked_folder, printable

__all__ = ["CaseResult", "problem_of", "refuse_unused_names", "run_dicom", "segment_folders", "summary_of"]

logger = logging.getLogger(__name__)

_INTERRUPTED = 130  # as shells report it


def segment_folders(
    segmenter: DicomSegmenter,
    folders: Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    contrasts: Any = None,
    resample: bool = False,
    overwrite: bool = False,
    pages: bool = False,
    report: Callable[[str], None] = print,
    resume: bool = False,
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
        resume: whether an earlier run's results stay and only the cases that it has not done are.

    Returns:
        What became of each case.

    Raises:
        InputError: when the folders hold no image for the bundle, or the output folder cannot be used.
    """
    run = FolderRun(segmenter, contrasts, resample, overwrite, pages, resume, report)
    return run.segment(folders, out)[0]


@dataclass(frozen=True)
class FolderRun:
    """How the cases in folders are segmented; see :func:`segment_folders`."""

    segmenter: DicomSegmenter
    contrasts: Any = None
    resample: bool = False
    overwrite: bool = False
    pages: bool = False
    resume: bool = False
    report: Callable[[str], None] = print

    def segment(
        self, folders: Sequence[str | os.PathLike[str]], out: str | os.PathLike[str]
    ) -> tuple[list[CaseResult], list[LeftOut]]:
        """Segment all cases in folders.

        Args:
            folders: the folders.
            out: output folder.

        Returns:
            What became of each case, and what was left out.

        Raises:
            InputError: when the folders hold no image for the bundle, or the output folder cannot be used.
        """
        with without_values_in_logs():
            named = parse_contrasts(self.contrasts, self.segmenter.codes.contrasts)
            cases, left_out = self._find(folders)
            refuse_unused_names(named, cases)
            with locked_folder(out) as folder:
                prepare_folder(folder, self.overwrite, self.resume)
                record = RunRecord(folder, self.segmenter, cases, left_out, named, self._settings(), self.resume)
                self._segment(record, folder, named)
                return record.results, left_out

    def _find(self, folders: Sequence[str | os.PathLike[str]]) -> tuple[list[DicomCase], list[LeftOut]]:
        privacy = Privacy()
        instances, unreadable = read_headers(folders, privacy)
        cases, others = find_dicom_cases(instances, self.segmenter.codes, privacy)
        left_out = [*unreadable, *others]
        for one in left_out:
            self.report(f"Left out: {one.what} {one.reason}")
        if not cases:
            raise InputError(
                f"There is no image to segment in the folders given: {len(left_out)} files or series are left out"
                f"{_reasons(left_out)}"
            )
        return cases, left_out

    def _settings(self) -> str:
        return f"{', resampled' if self.resample else ''}{', with pages' if self.pages else ''}"

    def _segment(self, record: RunRecord, folder: Path, named: NamedContrasts | None) -> None:
        done = len(record.cases) - len(record.open)
        if done:
            self.report(f"{done} of {len(record.cases)} cases are done already.")
        bar = tqdm(record.open.items(), desc="Segmenting", unit="case", disable=len(record.open) <= 1)
        for number, case in bar:
            result = self._one_case(case, number, folder, named)
            record.add(result)
            for line in _lines(result):
                tqdm.write(line) if self.report is print else self.report(line)

    def _one_case(self, case: DicomCase, number: int, folder: Path, named: NamedContrasts | None) -> CaseResult:
        study = case.study_suffix
        segmenter = self.segmenter
        try:
            source = segmenter.read(case, named, self.resample)
            segmented = segmenter.segment(source, members=self.pages, show_progress=True)
            with bounded_memory(), bounded_time(segmenter.time_limit, "Writing the results"):
                pages = case_pages(segmented, segmenter, f"Case {number}") if self.pages else None
                files = write_case(folder, number, segmented.made, pages)
            return CaseResult(number, study, files, note=note_on(case, source))
        except Exception as e:  # damaged images fail in more ways than can be listed; the other cases go on
            logger.debug("Case %d", number, exc_info=True)  # only when asked for: a traceback may hold values
            return CaseResult(number, study, problem=problem_of(e))


def _reasons(left_out: Sequence[LeftOut]) -> str:
    return "." if not left_out else ", the first: " + f"{left_out[0].what} {left_out[0].reason}"


def refuse_unused_names(named: NamedContrasts | None, cases: Sequence[DicomCase]) -> None:
    """A name that no series answers to is a slip of the pen, and not a reason to recognise the contrast instead."""
    if named is None:
        return
    for name in named.named:
        if not any(named.of(case.series)[name] for case in cases):
            raise InputError(f"--contrasts names for {name} no series that was found: give its folder, UID or number.")


def problem_of(error: Exception) -> str:
    """One sentence; that of an error which nobody foresaw does not quote it, for it may hold values."""
    cause = find_input_error(error)
    if cause is not None:
        return " ".join(str(cause).split())
    if is_out_of_memory(error):
        return "It needs more memory than is free: end other programs, or use a machine that has more."
    kind = type(error).__name__
    frames = traceback.extract_tb(error.__traceback__)
    place = f" in {Path(frames[-1].filename).name}, line {frames[-1].lineno}" if frames else ""
    return f"It failed for a reason that nobody foresaw ({kind}{place}): please report that."


def _lines(result: CaseResult) -> list[str]:
    what = f"Case {result.number} (study {printable(result.study)})"
    if result.problem is not None:
        return [f"Error: {what}: {result.problem}"]
    note = [f"Note: {what}: {result.note}."] if result.note else []
    return [f"{what}: {', '.join(result.files)}", *note]


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
        resume: whether an earlier run's results stay and only the cases that it has not done are.
        case_timeout: seconds that reading a case may take, and making and writing its results.

    Returns:
        Exit status: 0, or 1 where a case failed or a file was left out that may have been an image; 130 where the user
        stopped it.

    Raises:
        InputError: when the command is used wrongly.
    """
    if not folders:
        raise InputError("No folder is given: name the folders that hold the DICOM objects.")
    if overwrite and resume:
        raise InputError("--overwrite begins anew and --resume goes on: give one of them.")
    if isinstance(case_timeout, bool) or not isinstance(case_timeout, (int, float)) or not 0 < case_timeout < 1e9:
        raise InputError("--case_timeout must be a number of seconds above 0.")
    segmenter = DicomSegmenter(bundle, steps, members, device)
    segmenter.time_limit = float(case_timeout)
    try:
        results, left_out = FolderRun(segmenter, contrasts, resample, overwrite, report, resume).segment(folders, out)
    except KeyboardInterrupt:
        print("Stopped: go on with the same command and --resume.", file=sys.stderr)
        return _INTERRUPTED
    failed = sum(r.problem is not None for r in results)
    lost = sum(one.counts for one in left_out)
    also = f", {lost} {'file' if lost == 1 else 'files'} left out" if lost else ""
    print(f"{len(results) - failed} of {len(results)} cases segmented{also}, in {printable(out)}.")
    return 1 if failed or lost else 0
