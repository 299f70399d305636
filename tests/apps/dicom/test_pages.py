# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0


from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

pytest.importorskip("highdicom", reason="needs medsegdiff_monai[dicom]")

from apps.dicom import objects

from medsegdiff_monai.apps.dicom import DicomSegmenter, find_dicom_cases, read_headers, segment_folders
from medsegdiff_monai.apps.dicom.case import SegmentedCase
from medsegdiff_monai.apps.dicom.pages import case_pages
from medsegdiff_monai.apps.dicom.reading.identity import Privacy
from medsegdiff_monai.apps.dicom.reading.images import VolumeInput
from medsegdiff_monai.apps.report import ReportCase

THYROID, FUNDUS, BRAIN = "thyroid_ultrasound_medsegdiff", "fundus_optic_medsegdiff", "brats_mri_medsegdiff"
Segmenters = Callable[[str], DicomSegmenter]


def pages_of(segmenter: DicomSegmenter, folder: Path) -> tuple[dict[str, ReportCase], SegmentedCase]:
    """The pages of the one case in a folder, and the case."""
    instances, _ = read_headers([folder], Privacy())
    ((case,), _) = find_dicom_cases(instances, segmenter.codes, Privacy())
    segmented = segmenter.segment(segmenter.read(case))
    return case_pages(segmented, segmenter, "Case 1"), segmented


def test_volume_is_turned_to_the_patients_axes(
    segmenter_of: Segmenters, brain_folder: Path, brain_image: np.ndarray
) -> None:
    segmenter = segmenter_of(BRAIN)
    pages, segmented = pages_of(segmenter, brain_folder)
    page = pages["report.html"]
    assert (page.frame, list(page.images)) == ("RAS", ["FLAIR", "T1w", "T1gd", "T2w"])
    for i, shown in enumerate(page.images.values()):
        made_of = nib.as_closest_canonical(nib.Nifti1Image(brain_image[..., i].astype(np.float32), objects.OBLIQUE))
        assert np.corrcoef(shown.ravel(), made_of.get_fdata().ravel())[0, 1] > 0.999
        assert page.spacing == pytest.approx(made_of.header.get_zooms(), rel=1e-5)
    label_map = segmented.results[0].label_map
    assert isinstance(segmented.source, VolumeInput)
    turned = nib.as_closest_canonical(nib.Nifti1Image(label_map, segmented.source.image.affine.numpy()))
    values = segmenter.segmenter.regions
    for region in page.regions:
        np.testing.assert_array_equal(region.mask, np.isin(np.asarray(turned.dataobj), values[region.name]))
        assert region.probability is not None
        assert ((region.probability >= 0.5) == region.mask).mean() > 0.99
    whole = next(m for m in page.measurements if m.name == "WT volume")
    voxel = abs(np.linalg.det(objects.OBLIQUE[:3, :3]))
    count = np.isin(label_map, values["WT"]).sum()
    assert (whole.value, whole.unit) == (pytest.approx(count * voxel / 1000, rel=1e-4), "mL")
    assert whole.low is not None
    assert whole.high is not None
    assert whole.low < whole.value < whole.high


def test_picture_is_shown_as_it_was_taken(segmenter_of: Segmenters, fundus_image: np.ndarray, tmp_path: Path) -> None:
    scale = {"PixelSpacing": ["0.02", "0.01"]}  # between rows, between columns
    objects.picture(
        tmp_path / "a.dcm", fundus_image, objects.new_study(), objects.FUNDUS_8BIT, photometric="RGB", **scale
    )
    pages, segmented = pages_of(segmenter_of(FUNDUS), tmp_path)
    page = pages["report.html"]
    np.testing.assert_array_equal(page.images["image"], np.swapaxes(fundus_image, 0, 1))
    assert page.spacing == pytest.approx((0.01, 0.02))
    by_name = {r.name: r.mask for r in page.regions}
    np.testing.assert_array_equal(by_name["cup"], segmented.results[0].label_map == 2)
    assert {"disc area", "cup area", "cup / disc vertical ratio"} <= {m.name for m in page.measurements}


def test_each_frame_has_a_page(segmenter_of: Segmenters, ultrasound_image: np.ndarray, tmp_path: Path) -> None:
    frames = np.stack([ultrasound_image, ultrasound_image[::-1]])
    objects.picture(tmp_path / "a.dcm", frames, objects.new_study(), objects.ULTRASOUND_MULTIFRAME)
    pages, segmented = pages_of(segmenter_of(THYROID), tmp_path)
    assert list(pages) == ["report_001.html", "report_002.html"]
    for page, result, frame in zip(pages.values(), segmented.results, frames, strict=True):
        np.testing.assert_array_equal(page.regions[0].mask, result.label_map > 0)
        np.testing.assert_array_equal(page.images["image"], frame.T)
        assert {m.unit for m in page.measurements} == {"pixels", ""}
    assert [page.title for page in pages.values()] == ["Case 1, frame 1", "Case 1, frame 2"]


def test_report_lies_beside_the_objects(segmenter_of: Segmenters, ultrasound_image: np.ndarray, tmp_path: Path) -> None:
    objects.picture(tmp_path / "in" / "a.dcm", ultrasound_image, objects.new_study())
    said: list[str] = []
    (result,) = segment_folders(
        segmenter_of(THYROID), [tmp_path / "in"], tmp_path / "out", pages=True, report=said.append
    ).results
    assert result.files[-1] == "case_001/report.html"
    page = (tmp_path / "out" / "case_001" / "report.html").read_text(encoding="utf-8")
    assert "nodule area" in page
    assert not [s for s in ("Testmann", objects.PATIENT_ID, objects.BIRTH_DATE) if s in page]
