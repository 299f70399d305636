# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

import logging
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from tqdm import tqdm

from medsegdiff_monai.apps.dicom.case import DicomSegmenter, note_on
from medsegdiff_monai.apps.dicom.codes import BundleCodes, ImageKind
from medsegdiff_monai.apps.dicom.command import problem_of
from medsegdiff_monai.apps.dicom.output import CaseResult, write_case
from medsegdiff_monai.apps.dicom.reading.attributes import text, uid_suffix
from medsegdiff_monai.apps.dicom.reading.contrasts import choose_contrasts, refuse_unused_names
from medsegdiff_monai.apps.dicom.reading.discovery import DicomCase, find_dicom_cases, image_classes
from medsegdiff_monai.apps.dicom.reading.files import read_headers
from medsegdiff_monai.apps.dicom.reading.header import Instance, LeftOut
from medsegdiff_monai.apps.dicom.reading.identity import Privacy
from medsegdiff_monai.apps.dicom.writing.segmentation import ResultUIDs, series_sizes
from medsegdiff_monai.apps.dicomweb.exchange import PacsError
from medsegdiff_monai.apps.dicomweb.pacs import Pacs, StoredSeries, store_objects
from medsegdiff_monai.utils import InputError, printable

__all__ = ["PlannedCase", "StudyOptions", "StudyPrivacy", "plan_cases", "segment_study", "wanted_results"]

logger = logging.getLogger(__name__)


class StudyPrivacy(Privacy):
    """For objects that lie in no folder of the user's."""

    def shown(self, path: Path) -> str:
        """Nothing of the temporary folder that they lie in."""
        return "the study" if path.suffix != ".dcm" else "An object of the study"


@dataclass(frozen=True)
class PlannedCase:
    """Series of the PACS that are segmented as one, and the objects of them that are the image."""

    series: tuple[StoredSeries, ...]
    sources: tuple[str, ...]


@dataclass(frozen=True)
class Wanted:
    """A case with the UIDs that its results are to have, and those that the PACS has from a run that broke off."""

    case: PlannedCase
    uids: ResultUIDs
    present: frozenset[str]


def plan_cases(
    pacs: Pacs, study: str, stored: Mapping[str, StoredSeries], codes: BundleCodes, named: Mapping[str, str]
) -> list[PlannedCase]:
    """Choose from the series of a study those that are worth retrieving for a bundle.

    Series are told by modality and object class, which a listing holds; contrasts of a volume by one header of each.
    """
    classes = image_classes(codes)
    fitting = []
    for s in stored.values():
        images = {uid: kind for uid, kind in s.instances.items() if kind in classes}
        if s.modality in codes.modalities and images:
            fitting.append(StoredSeries(s.uid, s.modality, images))
    if not fitting:
        modalities = Counter(s.modality or "unknown" for s in stored.values())
        listed = ", ".join(f"{number} {modality}" for modality, number in sorted(modalities.items()))
        raise PacsError(
            f"No series of the study can be an image for the bundle, which takes {' or '.join(codes.modalities)} "
            f"(found {listed}): choose another study or bundle."
        )
    if codes.kind is ImageKind.VOLUME:
        fitting = _contrasts(pacs, study, fitting, codes, named)
        return [PlannedCase(tuple(fitting), tuple(sorted(uid for s in fitting for uid in s.instances)))]
    refuse_unused_names(named, [])
    return [PlannedCase((s,), (uid,)) for s in fitting for uid in s.instances]


def _contrasts(
    pacs: Pacs, study: str, fitting: list[StoredSeries], codes: BundleCodes, named: Mapping[str, str]
) -> list[StoredSeries]:
    """Series of the contrasts, in their order."""
    instances: list[Instance] = []
    for series in fitting:
        header = pacs.header(study, series.uid, sorted(series.instances)[len(series.instances) // 2])
        instances += [Instance(Path(), header)] * len(series.instances)
    cases, left_out = find_dicom_cases(instances, codes, StudyPrivacy())
    if not cases:
        raise PacsError(f"The study has no image to segment: {left_out[0].what} {left_out[0].reason}")
    refuse_unused_names(named, cases)
    by_uid = {s.uid: s for s in fitting}
    return [by_uid[s.uid] for s in choose_contrasts(cases[0].series, codes.contrasts, named)]


def wanted_results(
    case: PlannedCase, segmenter: DicomSegmenter, stored: Mapping[str, StoredSeries], again: bool
) -> Wanted | None:
    """Results that a case still needs, told by the UIDs that they would have; None where none are wanted.

    The series' UIDs follow from the source images, the bundle's name and version, its weights and a number that counts
    the runs; the objects' follow from the settings as well, so that a UID never stands for two different objects.
    """
    made_by = segmenter.equipment
    sizes = series_sizes(segmenter.codes)
    for run in count():
        key = "|".join([made_by.model, made_by.bundle_version, made_by.serial, *case.sources, str(run)])
        uids = ResultUIDs(key, segmenter.segmenter.settings)
        listed = {n: set(stored[uids.series(n)].instances) for n in sizes if uids.series(n) in stored}
        present = frozenset[str]().union(*listed.values())
        expected = {uids.instance(n, i) for n, size in sizes.items() for i in range(1, size + 1)}
        if all(len(listed.get(n, ())) >= size for n, size in sizes.items()):
            if not again:
                break
        elif present <= expected:  # none, or a part of the same results
            return Wanted(case, uids, present)
    return None


@dataclass(frozen=True)
class StudyOptions:
    """Settings with which studies are segmented."""

    named: Mapping[str, str] = field(default_factory=dict)  # contrasts that the user names
    resample: bool = False  # contrasts on other grids onto the first's
    again: bool = False  # new results are made where there are some
    out: Path | None = None  # folder that keeps the results as well
    report: Callable[[str], None] = tqdm.write  # takes each line that a user should see; none holds patient data


def segment_study(
    pacs: Pacs, segmenter: DicomSegmenter, study: str, options: StudyOptions, first_number: int = 1
) -> tuple[list[CaseResult], list[LeftOut]]:
    """Segment a study of a PACS and store the results in it, going on with the others where a case fails.

    The images are in a temporary folder that nobody else can read (its mode is 0700) while that lasts. Returned are the
    result of each case that had none, and what was left out.
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
        return _segment_cases(pacs, segmenter, study, options, cases, first_number), left_out


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
            reason = "is not what the PACS had listed: run the command again."
            left_out.append(LeftOut(case.series[0].title, reason, counts=True))
    return chosen, [*unreadable, *left_out]


def _segment_cases(
    pacs: Pacs,
    segmenter: DicomSegmenter,
    study: str,
    options: StudyOptions,
    cases: Sequence[tuple[DicomCase, Wanted]],
    first_number: int,
) -> list[CaseResult]:
    """Segment cases and store their results, until the PACS is gone."""
    results: list[CaseResult] = []
    bar = tqdm(cases, desc="Segmenting", unit="case", leave=False, disable=len(cases) == 1)
    for number, (case, wanted) in enumerate(bar, start=first_number):
        which = f"Case {number} (study {uid_suffix(study)})"
        files, note, problem, gone = [], "", None, False
        try:
            source = segmenter.read(case, options.named, options.resample)
            note = note_on(case, source)
            made = segmenter.segment(source, show_progress=True, uids=wanted.uids).made
            if options.out is not None:
                files = write_case(options.out, number, made)
            objects = {str(ds.SOPInstanceUID): ds for ds in made.values()}
            lacking = {uid: ds for uid, ds in objects.items() if uid not in wanted.present}
            store_objects(pacs, study, lacking)
            there = f"; {len(wanted.present)} were there" if wanted.present else ""
            options.report(f"{which}: {len(lacking)} objects stored{there}.")
            if note:
                options.report(f"Note: {which}: {note}.")
        except Exception as e:  # damaged headers fail in more ways than can be listed; the other cases go on
            logger.debug("Case %d", number, exc_info=True)  # only when asked for: a traceback may hold values
            problem, gone = problem_of(e), isinstance(e, PacsError) and e.gone
            options.report(f"Error: {which}: {problem}")
        results.append(CaseResult(number, uid_suffix(study), files, problem, note))
        if gone and len(results) < len(cases):
            options.report(f"The other {len(cases) - len(results)} cases are not tried: run the command again.")
            break
    return results
