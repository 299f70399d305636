# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0


from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from PIL import Image

from medsegdiff_monai.apps.dicom import BundleSegmenter, DicomSegmenter, Privacy, find_dicom_cases, read_headers
from medsegdiff_monai.utils import InputError

SETTINGS = {"num_inference_steps": 1, "num_ensemble": 2}
THYROID = "thyroid_ultrasound_medsegdiff"


def bundle_run(bundle: Path, data: Path, out: Path, **settings: Any) -> None:
    """``python -m monai.bundle run`` on the files of a folder, as the READMEs show it."""
    given = {"bundle_root": bundle, "dataset_dir": data, "output_dir": out, **settings}
    options = [text for key, value in given.items() for text in (f"--{key}", str(value))]
    command = [sys.executable, "-m", "monai.bundle", "run", "--config_file", str(bundle / "configs" / "inference.json")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*command, *options], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr


def picture_tensor(array: np.ndarray) -> MetaTensor:
    channels = array[None] if array.ndim == 2 else np.moveaxis(array, -1, 0)
    return MetaTensor(torch.as_tensor(np.ascontiguousarray(channels.swapaxes(1, 2)), dtype=torch.float32))


@pytest.mark.parametrize("name", [THYROID, "fundus_optic_medsegdiff"])
def test_pictures_get_the_mask_that_monai_bundle_writes(
    bundles: Path, name: str, ultrasound_image: np.ndarray, fundus_image: np.ndarray, tmp_path: Path
) -> None:
    image = ultrasound_image if name == THYROID else fundus_image
    (tmp_path / "data").mkdir()
    Image.fromarray(image).save(tmp_path / "data" / "a.png")
    bundle_run(bundles / name, tmp_path / "data", tmp_path / "out", **SETTINGS)
    result = BundleSegmenter(bundles / name, **SETTINGS).segment(picture_tensor(image))
    written = np.asarray(Image.open(tmp_path / "out" / "a_seg.png"))
    np.testing.assert_array_equal(result.label_map.T, written)
    assert 0 < np.count_nonzero(written) < written.size
    region = "" if name == THYROID else "_disc"
    probability = np.asarray(Image.open(tmp_path / "out" / f"a_probability{region}.png")) / 65535.0
    np.testing.assert_allclose(result.probability[0].T, probability, atol=1e-5)
    uncertainty = np.asarray(Image.open(tmp_path / "out" / f"a_uncertainty{region}.png")) / 65535.0
    np.testing.assert_allclose(result.uncertainty[0].T, uncertainty, atol=1e-5)


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


def test_members_lie_on_the_grid_and_their_mean_is_near_the_probability(
    segmenter_of: Callable[[str], DicomSegmenter], ultrasound_image: np.ndarray
) -> None:
    result = segmenter_of(THYROID).segmenter.segment(picture_tensor(ultrasound_image), members=True)
    assert result.members is not None
    assert result.members.shape == (2, 1, *ultrasound_image.T.shape)
    np.testing.assert_allclose(result.members.mean(axis=0), result.probability, atol=1e-5)
    assert np.ptp(result.members, axis=0).max() > 0


def test_a_datalist_in_the_bundle_does_not_change_the_labels(bundles: Path, tmp_path: Path) -> None:
    """The regions of other data have nothing to say about a patient's images."""
    bundle = tmp_path / THYROID
    (bundle / "data").mkdir(parents=True)
    for part in ("configs", "models"):
        (bundle / part).symlink_to(bundles / THYROID / part)
    stated = {"regions": {"nodule": [7]}, "test": ["a.png"]}
    (bundle / "data" / "datalist.json").write_text(json.dumps(stated), encoding="utf-8")
    regions = BundleSegmenter(bundle, **SETTINGS, device="cpu").regions
    assert regions == BundleSegmenter(bundles / THYROID, **SETTINGS, device="cpu").regions != {"nodule": [7]}


def test_a_constant_image_is_refused(segmenter_of: Callable[[str], DicomSegmenter]) -> None:
    with pytest.raises(InputError, match="constant"):
        segmenter_of(THYROID).segmenter.segment(picture_tensor(np.full((40, 50), 7, dtype=np.uint8)))


@pytest.mark.parametrize(
    ("settings", "fragment"),
    [
        ({"num_ensemble": 0}, "num_ensemble must be at least 1"),
        ({"num_inference_steps": 5000}, "num_inference_steps"),
        ({"device": "tea"}, "There is no device tea"),
        ({"checkpoint": "nowhere.pt"}, "nowhere.pt"),
    ],
)
def test_wrong_settings_are_refused_with_a_sentence(bundles: Path, settings: dict[str, Any], fragment: str) -> None:
    with pytest.raises(InputError, match=fragment):
        BundleSegmenter(bundles / THYROID, **{"device": "cpu", **settings})


def test_a_missing_bundle_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="There is no bundle in"):
        BundleSegmenter(tmp_path)
