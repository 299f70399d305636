# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from apps.dicom import objects
from pydicom.dataset import Dataset

from medsegdiff_monai.apps.dicom import BundleCodes, ResultUIDs, read_codes, series_sizes
from medsegdiff_monai.apps.dicom.writing.segmentation import Equipment
from medsegdiff_monai.apps.dicomweb import PacsError, StoredSeries
from medsegdiff_monai.apps.dicomweb.study import PlannedCase, plan_cases, wanted_results
from medsegdiff_monai.utils import InputError

BUNDLES = Path(__file__).resolve().parents[3] / "bundle"
CONTRASTS = ("FLAIR", "T1w", "T1gd", "T2w")
PARAMETRIC_MAP = "1.2.840.10008.5.1.4.1.1.30"


@pytest.fixture(scope="module")
def brain() -> BundleCodes:
    return read_codes(BUNDLES / "brats_mri_medsegdiff", {"TC": [1, 4], "WT": [1, 2, 4], "ET": [4]}, CONTRASTS)


@pytest.fixture(scope="module")
def thyroid() -> BundleCodes:
    return read_codes(BUNDLES / "thyroid_ultrasound_medsegdiff", {"nodule": [255]})


@dataclass
class Headers:
    """A PACS that has nothing but headers of series, and remembers which were asked for."""

    headers: dict[str, Dataset] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def header(self, study: str, series: str, instance: str) -> Dataset:
        self.asked.append(series)
        return self.headers[series]


def mr(pacs: Headers, uid: str, number: int, count: int = 3, **attributes: Any) -> StoredSeries:
    """A series of MR images that is listed and has a header."""
    header = Dataset()
    shared = {"Modality": "MR", "SOPClassUID": objects.MR, "ImageType": ["ORIGINAL", "PRIMARY", "M"], "Rows": 8}
    own = {"Columns": 8, "SeriesNumber": number, "SeriesInstanceUID": uid, "StudyInstanceUID": "1.2"}
    for name, value in {**shared, **own, **attributes}.items():
        setattr(header, name, value)
    pacs.headers[uid] = header
    return StoredSeries(uid, "MR", {f"{uid}.{i}": objects.MR for i in range(count)})


def four(pacs: Headers) -> dict[str, StoredSeries]:
    """Series of the four contrasts, and others that are none of them."""
    made = [mr(pacs, f"1.{i}", i, **objects.CONTRAST_ATTRIBUTES[name]) for i, name in enumerate(CONTRASTS, start=1)]
    others = [
        mr(pacs, "1.5", 5, count=200, SeriesDescription="ep2d perf"),
        mr(pacs, "1.6", 6, SeriesDescription="t1 loc", ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]),
        StoredSeries("1.7", "MR", {"1.7.1": PARAMETRIC_MAP}),
        StoredSeries("1.8", "SEG", {"1.8.1": "1.2.840.10008.5.1.4.1.1.66.4"}),
        StoredSeries("1.9", "CT", {"1.9.1": "1.2.840.10008.5.1.4.1.1.2"}),
    ]
    return {s.uid: s for s in [*others, *reversed(made)]}


def test_only_the_series_of_the_contrasts_are_chosen_in_their_order(brain: BundleCodes) -> None:
    pacs = Headers()
    (case,) = plan_cases(pacs, "1.2", four(pacs), brain, {})
    assert [s.uid for s in case.series] == ["1.1", "1.2", "1.3", "1.4"]
    assert case.sources == tuple(sorted(f"1.{i}.{j}" for i in (1, 2, 3, 4) for j in range(3)))
    assert sorted(pacs.asked) == [f"1.{i}" for i in range(1, 7)]  # of no other kind, and once each


def test_missing_contrasts_are_told_and_can_be_named(brain: BundleCodes) -> None:
    pacs = Headers()
    stored = four(pacs)
    stored["1.3"] = mr(pacs, "1.3", 3, SeriesDescription="quiet")
    with pytest.raises(InputError, match=r"T1gd missing \(found .*series 5 \(200 images\): not recognised"):
        plan_cases(pacs, "1.2", stored, brain, {})
    (case,) = plan_cases(pacs, "1.2", stored, brain, {"T1gd": "3"})
    assert [s.uid for s in case.series] == ["1.1", "1.2", "1.3", "1.4"]
    with pytest.raises(InputError, match="names for T1gd no series"):
        plan_cases(pacs, "1.2", stored, brain, {"T1gd": "77"})


def test_a_study_without_fitting_series_is_refused(brain: BundleCodes, thyroid: BundleCodes) -> None:
    pacs = Headers()
    stored = four(pacs)
    with pytest.raises(PacsError, match=r"which takes US \(found 1 CT, 7 MR, 1 SEG\): choose another study or bundle"):
        plan_cases(pacs, "1.2", stored, thyroid, {})
    with pytest.raises(PacsError, match=r"has no image to segment: series 6 \(3 images\) in the study is a localizer"):
        plan_cases(pacs, "1.2", {"1.6": stored["1.6"]}, brain, {})


def test_each_picture_is_a_case(thyroid: BundleCodes) -> None:
    kinds = {"2.1": objects.ULTRASOUND, "2.2": objects.ULTRASOUND_MULTIFRAME, "2.3": "1.2.840.10008.5.1.4.1.1.88.33"}
    cases = plan_cases(Headers(), "1.2", {"2": StoredSeries("2", "US", kinds)}, thyroid, {})
    assert [case.sources for case in cases] == [("2.1",), ("2.2",)]
    assert all(list(case.series[0].instances) == ["2.1", "2.2"] for case in cases)


@pytest.fixture
def segmenter(brain: BundleCodes) -> Any:
    """What tells a segmenter from another, without its network."""
    made_by = Equipment("a_bundle", "1.0.0", "weights-1")
    return SimpleNamespace(codes=brain, equipment=made_by, segmenter=SimpleNamespace(settings="4 steps"))


CASE = PlannedCase((), ("1.1.1", "1.1.2"))


def listed(
    uids: ResultUIDs, sizes: dict[int, int], leave_out: tuple[tuple[int, int], ...] = ()
) -> dict[str, StoredSeries]:
    """Results as a PACS lists them."""
    found = {}
    for number, size in sizes.items():
        kept = {str(uids.instance(number, i)): "" for i in range(1, size + 1) if (number, i) not in leave_out}
        if kept:
            found[str(uids.series(number))] = StoredSeries(str(uids.series(number)), "", kept)
    return found


def test_results_are_recognised_by_source_bundle_version_and_weights_whatever_the_settings(segmenter: Any) -> None:
    sizes = series_sizes(segmenter.codes)
    assert sizes == {901: 1, 902: 1, 903: 3, 904: 1}
    fresh = wanted_results(CASE, segmenter, {}, again=False)
    assert fresh is not None
    assert fresh.present == frozenset()
    stored = listed(fresh.uids, sizes)
    assert wanted_results(CASE, segmenter, stored, again=False) is None
    segmenter.segmenter.settings = "8 steps"
    assert wanted_results(CASE, segmenter, stored, again=False) is None
    made_by = segmenter.equipment
    for changed in (replace(made_by, model="b"), replace(made_by, bundle_version="2"), replace(made_by, serial="x")):
        segmenter.equipment = changed
        other = wanted_results(CASE, segmenter, stored, again=False)
        assert other is not None
        assert not {other.uids.series(n) for n in sizes} & stored.keys()
    segmenter.equipment = made_by
    assert wanted_results(PlannedCase((), ("1.1.1",)), segmenter, stored, again=False) is not None


def test_each_further_run_that_is_asked_for_has_uids_of_its_own(segmenter: Any) -> None:
    sizes = series_sizes(segmenter.codes)
    stored: dict[str, StoredSeries] = {}
    for run in range(3):
        wanted = wanted_results(CASE, segmenter, stored, again=True)
        assert wanted is not None
        stored |= listed(wanted.uids, sizes)
        assert len(stored) == 4 * (run + 1)


@pytest.mark.parametrize("again", [True, False])
def test_a_part_is_completed_by_a_run_with_the_same_settings_alone(segmenter: Any, again: bool) -> None:
    sizes = series_sizes(segmenter.codes)
    fresh = wanted_results(CASE, segmenter, {}, again=False)
    assert fresh is not None
    stored = listed(fresh.uids, sizes, leave_out=((903, 2), (904, 1)))
    rest = wanted_results(CASE, segmenter, stored, again)
    assert rest is not None
    assert rest.uids == fresh.uids
    lacking = {str(fresh.uids.instance(*which)) for which in ((903, 2), (904, 1))}
    everything = {str(fresh.uids.instance(n, i)) for n, size in sizes.items() for i in range(1, size + 1)}
    assert rest.present == everything - lacking
    segmenter.segmenter.settings = "8 steps"
    other = wanted_results(CASE, segmenter, stored, again)
    assert other is not None
    assert other.present == frozenset()
    assert other.uids.case != fresh.uids.case
