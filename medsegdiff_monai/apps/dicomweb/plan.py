# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from medsegdiff_monai.apps.dicom.case import DicomSegmenter
from medsegdiff_monai.apps.dicom.codes import BundleCodes, ImageKind
from medsegdiff_monai.apps.dicom.reading.contrasts import NamedContrasts, choose_contrasts, refuse_unused_names
from medsegdiff_monai.apps.dicom.reading.discovery import find_dicom_cases, image_classes
from medsegdiff_monai.apps.dicom.reading.header import Instance
from medsegdiff_monai.apps.dicom.reading.privacy import Privacy
from medsegdiff_monai.apps.dicom.uids import ResultUIDs
from medsegdiff_monai.apps.dicom.writing.segmentation import series_sizes
from medsegdiff_monai.apps.dicomweb.errors import PacsError
from medsegdiff_monai.apps.dicomweb.pacs import Pacs, StoredSeries

__all__ = ["PlannedCase", "StudyPrivacy", "Wanted", "plan_cases", "wanted_results"]


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
    pacs: Pacs,
    study: str,
    stored: Mapping[str, StoredSeries],
    codes: BundleCodes,
    named: NamedContrasts | None,
) -> list[PlannedCase]:
    """Choose from the series of a study what is worth retrieving for a bundle.

    Series are told by modality and object class, which a listing holds. Contrasts of a volume are told by the header of
    one object of each series.

    Raises:
        InputError: when no series fits, or contrasts are missing or ambiguous.
    """
    classes = image_classes(codes)
    fitting = [
        StoredSeries(s.uid, s.modality, {uid: kind for uid, kind in s.instances.items() if kind in classes})
        for s in stored.values()
        if s.modality in codes.modalities
    ]
    fitting = [s for s in fitting if s.instances]
    if not fitting:
        raise _nothing_fits(stored, codes)
    if codes.kind is ImageKind.VOLUME:
        fitting = _contrasts(pacs, study, fitting, codes, named)
        return [PlannedCase(tuple(fitting), tuple(sorted(uid for s in fitting for uid in s.instances)))]
    refuse_unused_names(named, [])
    return [PlannedCase((s,), (uid,)) for s in fitting for uid in s.instances]


def _nothing_fits(stored: Mapping[str, StoredSeries], codes: BundleCodes) -> PacsError:
    found = Counter(s.modality or "unknown" for s in stored.values())
    listed = ", ".join(f"{number} {modality}" for modality, number in sorted(found.items()))
    return PacsError(
        f"No series of the study can be an image for the bundle, which takes {' or '.join(codes.modalities)} "
        f"(found {listed}): choose another study or bundle."
    )


def _contrasts(
    pacs: Pacs, study: str, fitting: list[StoredSeries], codes: BundleCodes, named: NamedContrasts | None
) -> list[StoredSeries]:
    """Series of the contrasts, in their order."""
    instances: list[Instance] = []
    for one in fitting:
        header = pacs.header(study, one.uid, sorted(one.instances)[len(one.instances) // 2])
        instances += [Instance(Path(), header)] * len(one.instances)
    cases, left_out = find_dicom_cases(instances, codes, StudyPrivacy())
    if not cases:
        raise PacsError(f"The study has no image to segment: {left_out[0].what} {left_out[0].reason}")
    refuse_unused_names(named, cases)
    by_uid = {s.uid: s for s in fitting}
    return [by_uid[s.uid] for s in choose_contrasts(cases[0].series, codes.contrasts, named)]


def wanted_results(
    case: PlannedCase, segmenter: DicomSegmenter, stored: Mapping[str, StoredSeries], again: bool
) -> Wanted | None:
    """Results that a case still needs, told by the UIDs that they would have; None where there are some already.

    The series' UIDs follow from the source images, the bundle's name and version, its weights and a number that counts
    the runs; the objects' follow from the settings as well, so that a UID never stands for two different objects.

    Args:
        case: the case.
        segmenter: the bundle.
        stored: the study's series.
        again: whether new results are wanted where there are some.
    """
    made_by = segmenter.equipment
    sizes = series_sizes(segmenter.codes)
    run = -1
    while True:
        run += 1
        key = "|".join([made_by.model, made_by.bundle_version, made_by.serial, *case.sources, str(run)])
        uids = ResultUIDs(key, segmenter.segmenter.settings)
        found = {n: set(stored[uids.series(n)].instances) for n in sizes if uids.series(n) in stored}
        if all(len(found.get(n, ())) >= size for n, size in sizes.items()):
            if again:
                continue
            return None
        present = frozenset(uid for instances in found.values() for uid in instances)
        expected = {uids.instance(n, i) for n, size in sizes.items() for i in range(1, size + 1)}
        if present <= expected:  # none, or a part of the same results
            return Wanted(case, uids, present)
