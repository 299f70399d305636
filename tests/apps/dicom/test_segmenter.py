# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0


from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from support.bundle_run import bundle_run

from medsegdiff_monai.apps.dicom import DicomSegmenter, Privacy, find_dicom_cases, read_headers

SETTINGS = {"num_inference_steps": 1, "num_ensemble": 2}


def test_a_dicom_study_gets_the_mask_that_monai_bundle_writes(
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
    bundle_run(bundles / name, tmp_path / "data", tmp_path / "out", **SETTINGS, **small)
    result = segmenter.segmenter.segment(image)
    written: Any = nib.load(tmp_path / "out" / "a_seg.nii.gz")
    np.testing.assert_allclose(written.affine, image.affine.numpy(), atol=1e-4)
    np.testing.assert_array_equal(result.label_map, np.asarray(written.dataobj))
    assert np.count_nonzero(result.label_map) > 0
