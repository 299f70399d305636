# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0


from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from pydicom.dataset import Dataset
from support.bundle_run import bundle_run

from medsegdiff_monai.apps.dicom import DicomSegmenter, Privacy, find_dicom_cases, read_headers

SETTINGS = {"num_inference_steps": 1, "num_ensemble": 2}


def test_a_dicom_study_gets_the_mask_and_the_measurements_that_monai_bundle_writes(
    bundles: Path,
    segmenter_of: Callable[[str], DicomSegmenter],
    brain_folder: Path,
    tmp_path: Path,
) -> None:
    """The same voxels as a NIfTI file; that they lie where they should is tested with the reader."""
    name = "brats_mri_medsegdiff"
    segmenter = segmenter_of(name)
    privacy = Privacy()
    (case,), _ = find_dicom_cases(read_headers([brain_folder], privacy)[0], segmenter.codes, privacy)
    image = segmenter.read(case).image
    (tmp_path / "data").mkdir()
    channels_last = np.moveaxis(image.numpy(), 0, -1)
    nib.save(nib.Nifti1Image(channels_last, image.affine.numpy()), tmp_path / "data" / "a.nii.gz")
    small = {"patch_size": [32, 32, 32], "spacing": [6.0, 6.0, 6.0]}
    bundle_run(bundles / name, tmp_path / "data", tmp_path / "out", ["details.json"], **SETTINGS, **small)
    segmented = segmenter.segment(segmenter.read(case))
    (result,) = segmented.results
    written: Any = nib.load(tmp_path / "out" / "a_seg.nii.gz")
    np.testing.assert_allclose(written.affine, image.affine.numpy(), atol=1e-4)
    np.testing.assert_array_equal(result.label_map, np.asarray(written.dataobj))
    assert np.count_nonzero(result.label_map) > 0
    table = json.loads((tmp_path / "out" / "measurements.json").read_text(encoding="utf-8"))
    stated = _stated(segmented.made["sr"])
    assert {name for name, _ in stated} == {"NCR", "ED", "ET", "TC", "WT"}
    checked = 0
    for entry in table:
        if entry["quantity"] == "lesions" or (entry["quantity"] != "volume" and not entry["value"]):
            continue
        value, above, below, units = stated[entry["region"], entry["quantity"]]
        assert value == pytest.approx(entry["value"], rel=1e-4, abs=1e-6)
        assert above == pytest.approx(max(0.0, entry["high_90"] - entry["value"]), rel=1e-3, abs=1e-3)
        assert below == pytest.approx(max(0.0, entry["value"] - entry["low_90"]), rel=1e-3, abs=1e-3)
        assert units == {entry["unit"]}
        checked += above > 0 or below > 0
    assert checked
    assert stated["ED", "volume"][1:3] == (None, None)  # no member has a probability of it


def _stated(report: Dataset) -> dict[tuple[str, str], tuple[Any, ...]]:
    """Value, range above and below it (PS3.16 TID 310) and their units, by segment and quantity of a report."""
    names = {"Volume": "volume", "Long axis": "longest diameter", "Perpendicular Axis": "perpendicular diameter"}
    (container,) = [c for c in report.ContentSequence if c.ConceptNameCodeSequence[0].CodeValue == "126010"]
    stated = {}
    for group in container.ContentSequence:
        (segment,) = [i.TextValue for i in group.ContentSequence if i.ConceptNameCodeSequence[0].CodeValue == "112039"]
        for item in group.ContentSequence:
            if item.ValueType == "NUM":
                inner = {i.ConceptNameCodeSequence[0].CodeValue: i for i in item.get("ContentSequence", [])}
                numbers = [
                    i and i.MeasuredValueSequence[0] for i in (item, *map(inner.get, ("371886008", "371885007")))
                ]
                units = {n.MeasurementUnitsCodeSequence[0].CodeValue for n in numbers if n is not None}
                values = (None if n is None else float(n.NumericValue) for n in numbers)
                stated[segment, names[item.ConceptNameCodeSequence[0].CodeMeaning]] = (*values, units)
    return stated
