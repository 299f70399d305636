# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, Invertd, Orientationd, Resized, Spacingd

from medsegdiff_monai.transforms import LoadCased, SaveInvertedd, SaveSegmentationd
from medsegdiff_monai.transforms.save import groups_on_image_grid, on_image_grid

AFFINE = np.array([[-0.7, 0, 0, 10], [0, 0, 1.5, -20], [0, 1.2, 0, 5], [0, 0, 0, 1.0]])


def prepared(folder: Path) -> tuple[Compose, dict[str, Any]]:
    """A preprocessing that turns and resamples, and a case with two maps on its grid."""
    scan = np.random.default_rng(0).integers(0, 100, (20, 14, 10)).astype(np.int16)
    nib.save(nib.Nifti1Image(scan, AFFINE), folder / "p1.nii.gz")
    preprocessing = Compose(
        [
            LoadCased("image"),
            Orientationd("image", axcodes="RAS", labels=None),
            Spacingd("image", pixdim=(1.0, 1.0, 1.0)),
        ]
    )
    case = preprocessing({"image": str(folder / "p1.nii.gz")})
    generator = torch.Generator().manual_seed(1)
    for name in ("uncertainty", "expected_entropy"):
        case[name] = MetaTensor(torch.rand(2, *case["image"].shape[1:], generator=generator), meta=case["image"].meta)
    return preprocessing, case


def test_maps_are_written_as_if_they_had_been_inverted_and_the_case_keeps_the_networks_grid(tmp_path: Path) -> None:
    preprocessing, case = prepared(tmp_path)
    shapes = {name: case[name].shape for name in ("image", "uncertainty", "expected_entropy")}
    regions = {"TC": [1], "WT": [1, 2]}
    keys = ["uncertainty", "deviation", "expected_entropy"]
    settings: dict[str, Any] = {"regions": regions, "allow_missing_keys": True}
    made = SaveInvertedd(keys, keys, tmp_path / "made", preprocessing=preprocessing, **settings)(case)
    assert {name: made[name].shape for name in shapes} == shapes
    keys = ["uncertainty", "expected_entropy"]
    inverted = Invertd(keys, preprocessing, "image", nearest_interp=False, to_tensor=True)(case)
    SaveSegmentationd(keys, keys, tmp_path / "expected", **settings)(inverted)
    names = sorted(p.name for p in (tmp_path / "expected").iterdir())
    assert names == [f"p1_{key}_{region}.nii.gz" for key in ("expected_entropy", "uncertainty") for region in regions]
    assert sorted(p.name for p in (tmp_path / "made").iterdir()) == names
    for name in names:
        found, expected = (nib.load(tmp_path / folder / name) for folder in ("made", "expected"))
        np.testing.assert_array_equal(found.affine, nib.load(tmp_path / "p1.nii.gz").affine)
        np.testing.assert_array_equal(np.asarray(found.dataobj), np.asarray(expected.dataobj))


def test_without_a_folder_nothing_is_written(tmp_path: Path) -> None:
    preprocessing, case = prepared(tmp_path)
    before = sorted(tmp_path.iterdir())
    save = SaveInvertedd("uncertainty", ["uncertainty"], None, regions={"a": [1]}, preprocessing=preprocessing)
    assert save(case) == case  # not even looked at: the map has a channel more than there are regions
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("size", "unit", "groups"),
    [((8, 8), 2, [6]), ((2048, 2048), 1, [1] * 6), ((2048, 2048), 2, [2] * 3), ((1024, 1024), 2, [4, 2])],
)
def test_maps_go_onto_a_large_grid_a_few_at_a_time_and_onto_a_small_one_together(
    size: tuple[int, int], unit: int, groups: list[int]
) -> None:
    resize = Compose([Resized("image", [8, 8])])
    case = resize({"image": MetaTensor(torch.rand(1, *size))})
    case["members"] = MetaTensor(torch.rand(6, 8, 8))
    made = list(groups_on_image_grid(case, "members", resize, unit))
    assert [len(group) for group in made] == groups
    whole = Invertd("members", resize, "image", nearest_interp=False)(case)["members"]
    assert torch.equal(torch.cat(made), whole)
    assert torch.equal(on_image_grid(case, "members", resize), whole)
    assert on_image_grid(case, "members", resize).shape == (6, *size)
    assert case["members"].shape == (6, 8, 8)


def test_maps_that_are_on_the_images_grid_stay_as_they_are(tmp_path: Path) -> None:
    maps = MetaTensor(torch.rand(6, 8, 8))
    case = {"image": MetaTensor(torch.rand(1, 8, 8)), "members": maps}
    assert torch.equal(on_image_grid(case, "members", None), maps)
