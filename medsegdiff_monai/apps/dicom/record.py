# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from medsegdiff_monai.apps.dicom.case import DicomSegmenter
from medsegdiff_monai.apps.dicom.contrasts import NamedContrasts
from medsegdiff_monai.apps.dicom.discovery import DicomCase, LeftOut
from medsegdiff_monai.apps.dicom.headers import text
from medsegdiff_monai.apps.dicom.output import SUMMARY, case_folder, write_summary
from medsegdiff_monai.utils import InputError

__all__ = ["CaseResult", "RunRecord", "summary_of"]

_NOT_YET = "It is not segmented yet: where the run has ended, go on with --resume."
_MADE_BY = {
    "bundle": "bundle",
    "bundle_version": "version of the bundle",
    "weights": "weights",
    "settings": "settings",
}


@dataclass(frozen=True)
class CaseResult:
    """What became of a case: the files that were written, or why there are none.

    Attributes:
        number: its number.
        study: end of its Study Instance UID.
        files: paths in the output folder.
        problem: why there are none; None where there are.
        note: what of its images is not as DICOM allows it; empty where all is.
        sources: what tells its images from those of other cases, and names nobody.
    """

    number: int
    study: str
    files: list[str] = field(default_factory=list)
    problem: str | None = None
    note: str = ""
    sources: str = ""


def summary_of(
    segmenter: DicomSegmenter, results: Sequence[CaseResult], left_out: Sequence[LeftOut], settings: str = ""
) -> dict[str, Any]:
    """Content of ``summary.json``."""
    return {
        "bundle": segmenter.equipment.model,
        "bundle_version": segmenter.equipment.bundle_version,
        "weights": segmenter.equipment.serial,
        "settings": f"{segmenter.segmenter.settings}{settings}",
        "cases": [
            {
                "case": r.number,
                "study": r.study,
                "files": r.files,
                "problem": r.problem,
                "note": r.note,
                "sources": r.sources,
            }
            for r in results
        ],
        "left_out": [{"what": one.what, "reason": one.reason, "counts": one.counts} for one in left_out],
    }


class RunRecord:
    """What a run has done so far, in ``summary.json``, which is true at every moment.

    All cases are in it from the beginning, with their numbers. A case's folder appears when it is whole, so of a run
    that was killed a folder is a case that is done, whether the summary says so yet or not.

    Args:
        folder: output folder.
        segmenter: the bundle.
        cases: the cases.
        left_out: what is left out.
        named: contrasts that the user names.
        settings: what else makes the results, in words.
        resume: whether results that are there stay.

    Raises:
        InputError: when results are there that something else has made.
    """

    def __init__(
        self,
        folder: Path,
        segmenter: DicomSegmenter,
        cases: Sequence[DicomCase],
        left_out: Sequence[LeftOut],
        named: NamedContrasts | None = None,
        settings: str = "",
        resume: bool = False,
    ) -> None:
        self._folder, self._segmenter, self._left_out, self._settings = folder, segmenter, left_out, settings
        self._results: dict[int, CaseResult] = {r.number: r for r in self._earlier()} if resume else {}
        by_sources = {r.sources: r.number for r in self._results.values()}
        self.cases: dict[int, DicomCase] = {}
        for case in cases:
            sources = _sources(case, named)
            number = by_sources.get(sources) or max(self._results, default=0) + 1
            self.cases[number] = case
            if number not in self._results:
                self._results[number] = CaseResult(number, case.study_suffix, [], _NOT_YET, "", sources)
        self._write()

    @property
    def results(self) -> list[CaseResult]:
        """What became of each case, in the order of their numbers."""
        return [self._results[number] for number in sorted(self._results)]

    @property
    def open(self) -> dict[int, DicomCase]:
        """The cases that have no results yet, by their numbers."""
        return {number: case for number, case in self.cases.items() if self._results[number].problem is not None}

    def add(self, result: CaseResult) -> None:
        """Take note of what became of a case."""
        self._results[result.number] = replace(result, sources=self._results[result.number].sources)
        self._write()

    def _write(self) -> None:
        write_summary(self._folder, summary_of(self._segmenter, self.results, self._left_out, self._settings))

    def _earlier(self) -> list[CaseResult]:
        path = self._folder / SUMMARY
        if not path.is_file():
            if any(self._folder.glob("case_*")):
                raise InputError(f"The folder {self._folder} has cases and no {SUMMARY}: give --overwrite.")
            return []
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            earlier = [
                CaseResult(c["case"], c["study"], list(c["files"]), c["problem"], c["note"], c["sources"])
                for c in content["cases"]
            ]
        except (OSError, ValueError, KeyError, TypeError) as e:
            raise InputError(f"The file {path} is no summary that can be gone on with: give --overwrite.") from e
        self._check_same(content)
        return [self._as_it_lies(result) for result in earlier]

    def _check_same(self, content: Mapping[str, Any]) -> None:
        now = summary_of(self._segmenter, [], [], self._settings)
        for entry, words in _MADE_BY.items():
            if content.get(entry) != now[entry]:
                raise InputError(
                    f"The results in {self._folder} were made with other {words}: give the same, or another folder."
                )

    def _as_it_lies(self, result: CaseResult) -> CaseResult:
        """A case as its folder says: the summary of a run that was killed may lag behind by one."""
        place = case_folder(self._folder, result.number)
        there = sorted(f"{place.name}/{p.name}" for p in place.iterdir()) if place.is_dir() else []
        if not there or not set(result.files) <= set(there):
            return replace(result, files=[], problem=result.problem or _NOT_YET)
        return replace(result, files=result.files or there, problem=None)


def _sources(case: DicomCase, named: NamedContrasts | None) -> str:
    """What tells a case's images from those of others, and says nothing else about them."""
    instances = sorted(text(i.header, "SOPInstanceUID") for series in case.series for i in series.instances)
    chosen = sorted(named.named.items()) if named is not None else []
    return hashlib.sha256(repr([instances, chosen]).encode()).hexdigest()[:16]
