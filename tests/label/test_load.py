# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from PIL import Image
from support.label_studies import AFFINE, BRATS, FUNDUS

from medsegdiff_monai.apps.label import LoadStudyd
from medsegdiff_monai.transforms import LabelToRegionsd, LoadCased
from medsegdiff_monai.utils import InputError

CONTRASTS = ["FLAIR", "T1w", "T1gd", "T2w"]


@pytest.mark.parametrize(
    "names",
    [
        ("BraTS2021_00001_flair", "BraTS2021_00001_t1", "BraTS2021_00001_t1ce", "BraTS2021_00001_t2"),
        ("BraTS-GLI-00001-000-t2f", "BraTS-GLI-00001-000-t1n", "BraTS-GLI-00001-000-t1c", "BraTS-GLI-00001-000-t2w"),
    ],
)
@pytest.mark.parametrize("given", [0, 2])
def test_one_contrast_brings_the_others_in_their_order(tmp_path: Path, names: tuple[str, ...], given: int) -> None:
    for value, name in enumerate(names):
        volume = np.full((4, 5, 6), value, dtype=np.int16)
        nib.save(nib.Nifti1Image(volume, AFFINE), tmp_path / f"{name}.nii.gz")
    loaded = LoadStudyd("image", contrasts=CONTRASTS)({"image": str(tmp_path / f"{names[given]}.nii.gz")})
    assert loaded["image"].shape == (4, 4, 5, 6)
    assert loaded["image"].flatten(1).unique(dim=1).flatten().tolist() == [0, 1, 2, 3]
    np.testing.assert_allclose(loaded["image"].affine, AFFINE)


def test_a_missing_contrast_is_named(tmp_path: Path) -> None:
    for contrast in ("flair", "t1", "t2"):
        nib.save(nib.Nifti1Image(np.zeros((4, 4, 4), np.int16), AFFINE), tmp_path / f"P_{contrast}.nii.gz")
    with pytest.raises(InputError, match=r"P_flair\.nii\.gz lacks P_t1ce\.nii\.gz"):
        LoadStudyd("image", contrasts=CONTRASTS)({"image": str(tmp_path / "P_flair.nii.gz")})


def test_a_4d_file_and_four_files_are_loaded_as_by_the_bundle(draw_studies: Any) -> None:
    _, _, cases = draw_studies(BRATS)
    for image in cases.values():
        found = LoadStudyd("image", contrasts=CONTRASTS)({"image": image[0] if isinstance(image, list) else image})
        expected = LoadCased("image", contrasts=CONTRASTS)({"image": image})
        assert torch.equal(found["image"].as_tensor(), expected["image"].as_tensor())
        assert torch.equal(found["image"].affine, expected["image"].affine)


def test_a_label_from_a_volume_viewer_lies_on_the_picture(draw_studies: Any, tmp_path: Path) -> None:
    """3D Slicer saves the label of a picture as a volume of one slice, in its own frame, and columns first."""
    _, labels, cases = draw_studies(FUNDUS)
    for case, image in cases.items():
        truth = np.asarray(Image.open(labels / f"{case}.png"))
        nib.save(nib.Nifti1Image(truth.T[..., None], np.diag([-1.0, -1.0, 1.0, 1.0])), tmp_path / f"{case}.nii.gz")
        loaded = LoadStudyd(["image", "label"])({"image": image, "label": str(tmp_path / f"{case}.nii.gz")})
        masks = LabelToRegionsd("label", regions={"disc": [1, 2], "cup": [2]})(loaded)["label"]
        np.testing.assert_array_equal(masks[0].numpy(), (truth > 0).T)
        np.testing.assert_array_equal(masks[1].numpy(), (truth == 2).T)


@pytest.mark.parametrize(("kind", "suffix"), [(FUNDUS, ".png"), (BRATS, ".nii.gz")])
def test_the_suffix_of_the_label_follows_from_the_image(draw_studies: Any, kind: str, suffix: str) -> None:
    _, _, cases = draw_studies(kind)
    image = cases["case0"]
    request = {"image": image, "image_path": image}
    loaded = LoadStudyd("image")(request)
    assert loaded["result_extension"] == suffix
    assert "image_path" not in loaded
    assert LoadStudyd("image")({**request, "result_extension": ".nrrd"})["result_extension"] == ".nrrd"


def test_a_label_from_a_volume_viewer_lies_on_the_picture_as_it_is_shown(tmp_path: Path) -> None:
    """Volume viewers pass over the EXIF orientation, so their labels lie on the stored picture."""
    stored = np.random.default_rng(0).integers(0, 2, (5, 7)).astype(np.uint8)
    tags = Image.Exif()
    tags[0x0112] = 6
    Image.fromarray(stored * 255).save(tmp_path / "a.png", exif=tags)
    nib.save(nib.Nifti1Image(stored.T[..., None], np.diag([-1.0, -1.0, 1.0, 1.0])), tmp_path / "b.nii.gz")
    case = {"image": str(tmp_path / "a.png"), "label": str(tmp_path / "b.nii.gz")}
    loaded = LoadStudyd(["image", "label"])(case)
    np.testing.assert_array_equal(loaded["label"].numpy() * 255, loaded["image"].numpy())
    assert loaded["image"].shape == (1, 5, 7)
