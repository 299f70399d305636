# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from medsegdiff_monai.apps.dicom.case import DicomSegmenter, note_on
from medsegdiff_monai.apps.dicom.command import problem_of
from medsegdiff_monai.apps.dicom.output import CaseResult, write_case
from medsegdiff_monai.apps.dicom.reading.attributes import text, uid_suffix
from medsegdiff_monai.apps.dicom.reading.contrasts import NamedContrasts
from medsegdiff_monai.apps.dicom.reading.discovery import DicomCase, find_dicom_cases
from medsegdiff_monai.apps.dicom.reading.files import read_headers
from medsegdiff_monai.apps.dicom.reading.header import LeftOut
from medsegdiff_monai.apps.dicomweb.errors import PacsError
from medsegdiff_monai.apps.dicomweb.pacs import Pacs, store_objects
from medsegdiff_monai.apps.dicomweb.plan import PlannedCase, StudyPrivacy, Wanted, plan_cases, wanted_results
from medsegdiff_monai.utils import InputError, printable

__all__ = ["StudyOptions", "StudyRun", "segment_study"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class StudyOptions:
    """How studies are segmented.

    Attributes:
        named: contrasts that the user names.
        resample: whether contrasts on other grids are resampled onto the first's.
        again: whether new results are made where there are some.
        out: folder that keeps the results as well; None for none.
        report: called with each line that a user should see; no line holds patient data.
    """

    named: NamedContrasts | None = None
    resample: bool = False
    again: bool = False
    out: Path | None = None
    report: Callable[[str], None] = print


def segment_study(
    pacs: Pacs, segmenter: DicomSegmenter, study: str, options: StudyOptions, first_number: int = 1
) -> tuple[list[CaseResult], list[LeftOut]]:
    """Segment a study of a PACS and store the results in it, going on with the others where a case fails.

    The images are in a temporary folder that nobody else can read (its mode is 0700) while that lasts.

    Returns:
        What became of each case that had no results, and what was left out.

    Raises:
        InputError: when there is nothing to segment, or the PACS does not answer as it should.
    """
    stored = pacs.series_of(study)
    planned = plan_cases(pacs, study, stored, segmenter.codes, options.named)
    wanted = [w for case in planned if (w := wanted_results(case, segmenter, stored, options.again)) is not None]
    if len(wanted) < len(planned):
        options.report(
            f"Study {uid_suffix(study)}: {len(planned) - len(wanted)} of {len(planned)} cases have results of this "
            "bundle and these weights already; give --again to make new ones."
        )
    if not wanted:
        return [], []
    with tempfile.TemporaryDirectory(prefix="medsegdiff-") as folder:
        series = {s.uid: s for w in wanted for s in w.case.series}
        number = pacs.retrieve(study, series.values(), Path(folder))
        options.report(f"Study {uid_suffix(study)}: {number} objects of {len(series)} series retrieved.")
        cases, left_out = _read(segmenter, Path(folder), planned, wanted)
        for one in left_out:
            options.report(printable(f"Left out: {one.what} {one.reason}"))
        if not cases:
            first = f": {left_out[0].what} {left_out[0].reason}" if left_out else "."
            raise InputError(f"There is no image to segment{first}")
        return StudyRun(pacs, segmenter, study, options).segment(cases, first_number), left_out


def _read(
    segmenter: DicomSegmenter, folder: Path, planned: Sequence[PlannedCase], wanted: Sequence[Wanted]
) -> tuple[list[tuple[DicomCase, Wanted]], list[LeftOut]]:
    """Cases in a folder that are wanted, and what is left out: also a case that the PACS had not listed."""
    privacy = StudyPrivacy()
    instances, unreadable = read_headers([folder], privacy)
    cases, left_out = find_dicom_cases(instances, segmenter.codes, privacy)
    listed = {uid for case in planned for uid in case.sources}
    by_source = {uid: w for w in wanted for uid in w.case.sources}
    chosen = []
    for case in cases:
        uid = text(case.header, "SOPInstanceUID")
        if uid in by_source:
            chosen.append((case, by_source[uid]))
        elif uid not in listed:
            left_out.append(
                LeftOut(case.series[0].title, "is not what the PACS had listed: run the command again.", True)
            )
    return chosen, [*unreadable, *left_out]


@dataclass
class StudyRun:
    """The segmentation of a study's cases, one after another."""

    pacs: Pacs
    segmenter: DicomSegmenter
    study: str
    options: StudyOptions

    def segment(self, cases: Sequence[tuple[DicomCase, Wanted]], first_number: int) -> list[CaseResult]:
        """Segment cases and store their results, until the PACS is gone."""
        results: list[CaseResult] = []
        bar = tqdm(cases, desc="Segmenting", unit="case", leave=False, disable=len(cases) == 1)
        for number, (case, wanted) in enumerate(bar, start=first_number):
            result, gone = self._one_case(case, wanted, number)
            results.append(result)
            if gone and len(results) < len(cases):
                self._say(f"The other {len(cases) - len(results)} cases are not tried: run the command again.")
                break
        return results

    def _one_case(self, case: DicomCase, wanted: Wanted, number: int) -> tuple[CaseResult, bool]:
        """What became of a case, and whether the PACS is gone."""
        study, files, options = uid_suffix(self.study), [], self.options
        note, problem, gone = "", None, False
        try:
            source = self.segmenter.read(case, options.named, options.resample)
            note = note_on(case, source)
            made = self.segmenter.segment(source, show_progress=True, uids=wanted.uids).made
            if options.out is not None:
                files = write_case(options.out, number, made)
            objects = {str(ds.SOPInstanceUID): ds for ds in made.values()}
            lacking = {uid: ds for uid, ds in objects.items() if uid not in wanted.present}
            store_objects(self.pacs, self.study, lacking)
            there = f"; {len(wanted.present)} were there" if wanted.present else ""
            self._say(f"Case {number} (study {study}): {len(lacking)} objects stored{there}.")
            if note:
                self._say(f"Note: Case {number} (study {study}): {note}.")
        except Exception as e:  # damaged headers fail in more ways than can be listed; the other cases go on
            logger.debug("Case %d", number, exc_info=True)  # only when asked for: a traceback may hold values
            problem, gone = problem_of(e), isinstance(e, PacsError) and e.gone
            self._say(f"Error: Case {number} (study {study}): {problem}")
        return CaseResult(number, study, files, problem, note), gone

    def _say(self, line: str) -> None:
        tqdm.write(line) if self.options.report is print else self.options.report(line)
