# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0


from __future__ import annotations

from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import pydicom
import pytest
from apps.dicom import objects

from medsegdiff_monai.apps.bundle import SegmentationResult
from medsegdiff_monai.apps.dicom import (
    Privacy,
    Series,
    make_objects,
    read_codes,
    read_headers,
)
from medsegdiff_monai.apps.dicom.reading.images import read_picture, read_volume
from medsegdiff_monai.apps.dicom.writing.segmentation import Equipment

EQUIPMENT = Equipment("some_bundle", "1.2.3", "weights-0123")
LONG_AXIS, PERPENDICULAR, AREA, VOLUME, HEIGHT = "103339001", "131189007", "42798000", "118565006", "121207"


def groups(path: Path) -> dict[tuple[str, int], dict[str, tuple[float, str]]]:
    """Measurements of a report by tracking identifier and frame of the source: value and unit by code.

    Read with pydicom alone: TID 1500, imaging measurements (126010), measurement groups (125007).
    """
    report = pydicom.dcmread(path)
    (container,) = [c for c in report.ContentSequence if concept(c) == "126010"]
    found = {}
    for group in container.ContentSequence:
        assert concept(group) == "125007"
        items = list(group.ContentSequence)
        (name,) = [i.TextValue for i in items if concept(i) == "112039"]
        frames = [
            int(i.ReferencedSOPSequence[0].ReferencedFrameNumber)
            for i in items
            if i.ValueType == "IMAGE"
            and i.ReferencedSOPSequence[0].ReferencedSOPClassUID != pydicom.uid.SegmentationStorage
            and "ReferencedFrameNumber" in i.ReferencedSOPSequence[0]
        ]
        found[name, frames[0] if frames else 1] = {concept(i): number(i) for i in items if i.ValueType == "NUM"}
    return found


def concept(item: Any) -> str:
    return str(item.ConceptNameCodeSequence[0].CodeValue)


def number(item: Any) -> tuple[float, str]:
    value = item.MeasuredValueSequence[0]
    return float(value.NumericValue), str(value.MeasurementUnitsCodeSequence[0].CodeValue)


@pytest.fixture(scope="module")
def volume_report(bundles: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Objects of a volume of 10 x 12 x 6 voxels, 5.5 mm between rows, 6 between columns, 7 between slices."""
    folder = tmp_path_factory.mktemp("volume")
    array = np.random.default_rng(0).integers(0, 900, (10, 12, 6)).astype(float)
    objects.mr_series(folder / "in", array, objects.OBLIQUE, objects.new_study())
    source = read_volume([Series(read_headers([folder / "in"], Privacy())[0])], ["T1w"])
    label = np.zeros((10, 12, 6), dtype=np.uint8)
    label[2:5, 3:7, 2] = 2  # edema: 3 columns of 6 mm and 4 rows of 5.5 mm in one slice
    label[2, 3, 1:4] = 1  # necrosis: a column of three voxels through the slices
    maps = np.zeros((3, 10, 12, 6), dtype=np.float32)
    codes = read_codes(bundles / "brats_mri_medsegdiff", {"TC": [1, 4], "WT": [1, 2, 4], "ET": [4]}, ["T1w"])
    made = make_objects(source, [SegmentationResult(label, maps, maps, None)], codes, EQUIPMENT)
    for name, ds in made.items():
        ds.save_as(folder / f"{name}.dcm", enforce_file_format=True)
    return folder


def test_volumes_are_in_ml_and_diameters_in_mm(volume_report: Path) -> None:
    found = groups(volume_report / "sr.dcm")
    voxel = 5.5 * 6.0 * 7.0 / 1000.0
    assert {name for name, _ in found} == {"NCR", "ED", "ET", "TC", "WT"}
    assert found["ED", 1][VOLUME] == (pytest.approx(11 * voxel, rel=1e-5), "mL")
    assert found["NCR", 1][VOLUME] == (pytest.approx(3 * voxel, rel=1e-5), "mL")
    assert found["WT", 1][VOLUME] == (pytest.approx(14 * voxel, rel=1e-5), "mL")
    assert found["ET", 1] == {VOLUME: (0.0, "mL")}
    assert found["WT", 1][LONG_AXIS] == (pytest.approx(np.hypot(18.0, 22.0), rel=1e-5), "mm")
    across = 2 * 18.0 * 22.0 / np.hypot(18.0, 22.0)
    assert found["WT", 1][PERPENDICULAR] == (pytest.approx(across, rel=1e-5), "mm")


def test_a_volume_report_refers_to_its_segments(volume_report: Path) -> None:
    read = hd.sr.srread(volume_report / "sr.dcm").content.get_volumetric_roi_measurement_groups()
    assert len(read) == 5
    seg, report = (pydicom.dcmread(volume_report / f"{name}.dcm") for name in ("seg", "sr"))
    labels = {int(s.SegmentNumber): s.TrackingID for s in seg.SegmentSequence}
    (container,) = [c for c in report.ContentSequence if concept(c) == "126010"]
    for group in container.ContentSequence:
        (name,) = [i.TextValue for i in group.ContentSequence if concept(i) == "112039"]
        (image,) = [i for i in group.ContentSequence if i.ValueType == "IMAGE"]
        reference = image.ReferencedSOPSequence[0]
        assert reference.ReferencedSOPInstanceUID == seg.SOPInstanceUID
        assert labels[int(reference.ReferencedSegmentNumber)] == name


def test_a_report_is_complete_but_nobody_verified_it(volume_report: Path) -> None:
    report = pydicom.dcmread(volume_report / "sr.dcm")
    assert (report.CompletionFlag, report.VerificationFlag) == ("COMPLETE", "UNVERIFIED")
    assert report.PreliminaryFlag == "PRELIMINARY"
    evidence = [
        instance.ReferencedSOPInstanceUID
        for study in report.CurrentRequestedProcedureEvidenceSequence
        for series in study.ReferencedSeriesSequence
        for instance in series.ReferencedSOPSequence
    ]
    assert pydicom.dcmread(volume_report / "seg.dcm").SOPInstanceUID in evidence
    assert len(evidence) == 7


def fundus_report(bundles: Path, folder: Path, **attributes: Any) -> dict[tuple[str, int], dict[str, Any]]:
    """Report of two frames: a disc of 8 rows and 6 columns with a cup of 2 rows and 3 columns; then nothing."""
    array = np.random.default_rng(0).integers(0, 256, (2, 20, 24, 3)).astype(np.uint8)
    settings = {"sop_class": objects.FUNDUS_8BIT, "photometric": "RGB", **attributes}
    path = objects.picture(folder / "in.dcm", array, objects.new_study(), **settings)
    codes = read_codes(bundles / "fundus_optic_medsegdiff", {"disc": [1, 2], "cup": [2]})
    source = read_picture(read_headers([path], Privacy())[0][0], codes.kind)
    label = np.zeros((24, 20), dtype=np.uint8)
    label[4:10, 5:13] = 1
    label[5:8, 7:9] = 2
    maps = np.zeros((2, 24, 20), dtype=np.float32)
    results = [SegmentationResult(m, maps, maps, None) for m in (label, np.zeros_like(label))]
    made = make_objects(source, results, codes, EQUIPMENT)
    made["sr"].save_as(folder / "sr.dcm", enforce_file_format=True)
    return groups(folder / "sr.dcm")


def test_pictures_with_a_spacing_are_measured_in_mm(bundles: Path, tmp_path: Path) -> None:
    found = fundus_report(bundles, tmp_path, PixelSpacing=["0.5", "0.25"])
    disc, cup = found["disc", 1], found["cup", 1]
    assert disc[AREA] == (pytest.approx(8 * 6 * 0.125), "mm2")
    assert disc[HEIGHT] == (pytest.approx(4.0), "mm")
    assert disc[LONG_AXIS] == (pytest.approx(np.hypot(4.0, 1.5), rel=1e-5), "mm")
    assert cup[AREA] == (pytest.approx(6 * 0.125), "mm2")
    assert disc["118586006"] == (pytest.approx(0.25), "{ratio}")


def test_pictures_without_spacing_are_measured_in_pixels(bundles: Path, tmp_path: Path) -> None:
    found = fundus_report(bundles, tmp_path)
    assert found["disc", 1][AREA] == (48.0, "{pixels}")
    assert found["disc", 1][HEIGHT] == (8.0, "{pixels}")
    assert found["cup", 1][LONG_AXIS] == (pytest.approx(np.hypot(2, 3), rel=1e-5), "{pixels}")


def test_an_empty_frame_has_no_area_and_no_ratio(bundles: Path, tmp_path: Path) -> None:
    found = fundus_report(bundles, tmp_path)
    assert found["disc", 2] == {AREA: (0.0, "{pixels}"), HEIGHT: (0.0, "{pixels}")}
