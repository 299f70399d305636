# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

import hashlib
import json
import os
import re
import shutil
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from medsegdiff_monai.apps.dicom.case import DicomObjects, DicomSegmenter
from medsegdiff_monai.apps.dicom.reading.attributes import text
from medsegdiff_monai.apps.dicom.reading.discovery import DicomCase
from medsegdiff_monai.apps.dicom.reading.header import LeftOut
from medsegdiff_monai.apps.report import ReportCase, write_report
from medsegdiff_monai.utils import PARTIAL, InputError, check_writable, replace_atomically

__all__ = ["SUMMARY", "CaseResult", "RunRecord", "made_by", "prepare_folder", "write_case", "write_summary"]

SUMMARY = "summary.json"
_CASE, _CASE_NAME = re.compile(r"case_\d{3,}$"), "case_{:03d}"
_OPTIONS = "choose another folder or give --overwrite, or --resume to go on with a run that was interrupted"
_NOT_YET = "It is not segmented yet: where the run has ended, go on with --resume."


def prepare_folder(out: str | os.PathLike[str], overwrite: bool, resume: bool = False, advice: str = _OPTIONS) -> Path:
    """Make the output folder; an earlier run's results, and nothing else, may lie in it where an option says so.

    Raises:
        InputError: when it holds anything else, or cannot be written to.
    """
    folder = check_writable(out)
    present = sorted(p for p in folder.iterdir() if not p.name.startswith("."))
    earlier = [p for p in present if p.name == SUMMARY or (p.is_dir() and _CASE.match(p.name))]
    if len(earlier) != len(present):
        raise InputError(f"The output folder {folder} is not empty: choose another folder.")
    if present and not overwrite and not resume:
        raise InputError(f"The output folder {folder} is not empty: {advice}.")
    if not resume:
        (folder / SUMMARY).unlink(missing_ok=True)  # first: it must not tell of cases that are gone
        for path in earlier:
            if path.is_dir():
                shutil.rmtree(path)
    return folder


def write_case(
    folder: Path, number: int, made: DicomObjects, pages: Mapping[str, ReportCase] | None = None
) -> list[str]:
    """Write the objects of a case, and its HTML reports, into a folder of its own, all or none; the paths of the files.

    They are written into a hidden folder beside it, which then takes the place of what a run left there incomplete.
    """
    place = folder / _CASE_NAME.format(number)
    temporary = folder / f"{PARTIAL}{uuid.uuid4().hex}"
    try:
        temporary.mkdir()
        for name, ds in made.items():
            ds.save_as(temporary / f"{name}.dcm", enforce_file_format=True)
        for name, page in (pages or {}).items():
            write_report(temporary / name, page)
        if place.is_dir():
            shutil.rmtree(place)
        os.replace(temporary, place)
    except OSError as e:
        raise InputError(f"Cannot write {place} ({e.strerror or e}): free space or choose another folder.") from e
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return [f"{place.name}/{name}" for name in (*(f"{n}.dcm" for n in made), *(pages or {}))]


@dataclass(frozen=True)
class CaseResult:
    """The result of a case: the files that were written, or why there are none."""

    case: int  # its number
    study: str  # end of its Study Instance UID
    files: list[str] = field(default_factory=list)  # paths in the output folder
    problem: str | None = None
    note: str = ""  # on what of its images is not as DICOM allows it
    sources: str = ""  # tells its images from those of other cases, and names nobody


def made_by(segmenter: DicomSegmenter, settings: str = "") -> dict[str, str]:
    """The bundle and the settings of results, as entries of their summary."""
    return {
        "bundle": segmenter.equipment.model,
        "bundle_version": segmenter.equipment.bundle_version,
        "weights": segmenter.equipment.serial,
        "settings": f"{segmenter.segmenter.settings}{settings}",
    }


def write_summary(
    folder: Path, made_by: Mapping[str, str], results: Sequence[CaseResult], left_out: Sequence[LeftOut]
) -> None:
    """Write ``summary.json``: what made the results, the result of each case, and what was left out."""
    entries = {"cases": [asdict(result) for result in results], "left_out": [asdict(one) for one in left_out]}
    text = json.dumps({**made_by, **entries}, indent=1) + "\n"
    replace_atomically(folder / SUMMARY, lambda path: path.write_text(text, encoding="utf-8"))


class RunRecord:
    """Progress of a run in ``summary.json``, which holds all cases from the beginning, with their numbers.

    A case's folder appears when it is whole: also of a run that was killed, a folder is a case that is done. Raises an
    :class:`InputError` when results are there that something else has made.
    """

    def __init__(
        self,
        folder: Path,
        segmenter: DicomSegmenter,
        cases: Sequence[DicomCase],
        left_out: Sequence[LeftOut],
        named: Mapping[str, str],
        settings: str,
        resume: bool,
    ) -> None:
        self._folder, self._made_by, self.left_out = folder, made_by(segmenter, settings), left_out
        self._results: dict[int, CaseResult] = {r.case: r for r in self._earlier()} if resume else {}
        by_sources = {r.sources: r.case for r in self._results.values()}
        self.cases: dict[int, DicomCase] = {}
        for case in cases:
            images = sorted(text(i.header, "SOPInstanceUID") for series in case.series for i in series.instances)
            sources = hashlib.sha256(repr([images, sorted(named.items())]).encode()).hexdigest()[:16]
            number = by_sources.get(sources) or max(self._results, default=0) + 1
            self.cases[number] = case
            if number not in self._results:
                self._results[number] = CaseResult(number, case.study_suffix, [], _NOT_YET, "", sources)
        self._write()

    @property
    def results(self) -> list[CaseResult]:
        """Results of each case, in the order of their numbers."""
        return [self._results[number] for number in sorted(self._results)]

    @property
    def open(self) -> dict[int, DicomCase]:
        """The cases that have no results yet, by their numbers."""
        return {number: case for number, case in self.cases.items() if self._results[number].problem is not None}

    def add(self, result: CaseResult) -> None:
        """Record the result of a case."""
        self._results[result.case] = replace(result, sources=self._results[result.case].sources)
        self._write()

    def _write(self) -> None:
        write_summary(self._folder, self._made_by, self.results, self.left_out)

    def _earlier(self) -> list[CaseResult]:
        path = self._folder / SUMMARY
        if not path.is_file():
            if any(self._folder.glob("case_*")):
                raise InputError(f"The folder {self._folder} has cases and no {SUMMARY}: give --overwrite.")
            return []
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            earlier = [CaseResult(**case) for case in content["cases"]]
        except (OSError, ValueError, KeyError, TypeError) as e:
            raise InputError(f"The file {path} is no summary that can be gone on with: give --overwrite.") from e
        for entry, now in self._made_by.items():
            if content.get(entry) != now:
                words = "version of the bundle" if entry == "bundle_version" else entry
                raise InputError(
                    f"The results in {self._folder} were made with other {words}: give the same, or another folder."
                )
        return [self._as_it_lies(result) for result in earlier]

    def _as_it_lies(self, result: CaseResult) -> CaseResult:
        """A case as its folder says: the summary of a run that was killed may lag behind by one."""
        place = self._folder / _CASE_NAME.format(result.case)
        there = sorted(f"{place.name}/{p.name}" for p in place.iterdir()) if place.is_dir() else []
        if not there or not set(result.files) <= set(there):
            return replace(result, files=[], problem=result.problem or _NOT_YET)
        return replace(result, files=result.files or there, problem=None)
