# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

"""Cases in several files, one for each contrast."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from PIL import Image
from scipy.ndimage import map_coordinates
from scipy.spatial.transform import Rotation

from medsegdiff_monai.transforms import LoadCased, grid_difference
from medsegdiff_monai.utils import InputError, hardware

CONTRASTS = ("FLAIR", "T1w", "T2w")
SHAPE = (6, 7, 8)


def affine(spacing: Any = 1.0, origin: Any = 0.0, angles: tuple[float, ...] = (0.0, 0.0, 0.0)) -> np.ndarray:
    """Voxels to mm, rotated by Euler angles in degrees."""
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("xyz", angles, degrees=True).as_matrix() * np.broadcast_to(spacing, 3)
    matrix[:3, 3] = origin
    return matrix


AFFINE = affine((1.0, 1.2, 2.0), (-3.0, 4.0, 10.0), (10.0, -20.0, 30.0))


def volume(seed: int, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def save(folder: Path, name: str, voxels: np.ndarray, matrix: np.ndarray = AFFINE) -> str:
    path = folder / f"p1_{name}.nii.gz"
    nib.save(nib.Nifti1Image(voxels, matrix), path)
    return str(path)


def load(files: list[str], **settings: Any) -> Any:
    return LoadCased("image", contrasts=CONTRASTS[: len(files)], **settings)({"image": files})["image"]


def world(shape: tuple[int, ...], matrix: np.ndarray) -> np.ndarray:
    """The place in mm of each voxel, of shape ``(*shape, 3)``."""
    places = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    return places @ matrix[:3, :3].T + matrix[:3, 3]


def test_files_become_channels_in_their_order(tmp_path: Path) -> None:
    volumes = [volume(seed) for seed in range(3)]
    files = [save(tmp_path, name, v) for name, v in zip("cab", volumes)]
    for settings in ({}, {"resample": True}):
        image = load(files, **settings)
        np.testing.assert_array_equal(image.numpy(), volumes)
        np.testing.assert_allclose(image.affine.numpy(), AFFINE, atol=1e-6)
        assert image.meta["filename_or_obj"] == files[0]
        assert image.meta["case"] == "p1"
    assert LoadCased("image")({"image": files})["image"].shape == (3, *SHAPE)


def test_pictures_of_one_case_become_channels(tmp_path: Path) -> None:
    arrays = np.random.default_rng(0).integers(0, 256, (2, 5, 9)).astype(np.uint8)
    files = [str(tmp_path / f"p1_{name}.png") for name in "ab"]
    for array, file in zip(arrays, files):
        Image.fromarray(array).save(file)
    image = load(files)
    np.testing.assert_array_equal(image.numpy(), arrays.transpose(0, 2, 1))
    assert image.meta["case"] == "p1"


@pytest.mark.parametrize("count", [1, 2, 4])
def test_other_number_of_files_is_refused_with_the_contrasts(tmp_path: Path, count: int) -> None:
    files = [save(tmp_path, str(i), volume(i)) for i in range(count)]
    message = f"case {'p1' if count > 1 else 'p1_0'} has {count} files, 3 contrasts are expected (FLAIR, T1w, T2w)"
    with pytest.raises(InputError, match=re.escape(message)):
        LoadCased("image", contrasts=CONTRASTS)({"image": files})


@pytest.mark.parametrize("contrast", [0, 1, 2])
@pytest.mark.parametrize(("kind", "message"), [("missing", "does not exist"), ("truncated", "cannot be read")])
def test_file_to_blame_is_named_with_its_case_and_contrast(
    tmp_path: Path, contrast: int, kind: str, message: str
) -> None:
    files = [save(tmp_path, name, volume(seed)) for seed, name in enumerate(("flair", "t1", "t2"))]
    path = Path(files[contrast])
    if kind == "missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(InputError, match=f"^The {CONTRASTS[contrast]} of case p1, {path}, {message}"):
        load(files)
    with pytest.raises(InputError, match=f"^The image {contrast} of case p1, {path}, {message}"):
        LoadCased("image")({"image": files})


@pytest.mark.parametrize(
    ("shape", "matrix", "difference"),
    [
        ((5, 7, 8), np.eye(4), "(5, 7, 8) voxels against (6, 7, 8)"),
        (SHAPE, affine(origin=(0.3, 0.0, -0.4)), "its corners lie up to 0.5 mm apart"),
        (SHAPE, affine((1.0, 1.0, 1.1)), "its corners lie up to 0.7 mm apart"),
        (SHAPE, np.diag([1.0, -1.0, 1.0, 1.0]), "its corners lie up to 12 mm apart"),
    ],
    ids=["size", "shift", "spacing", "flip"],
)
def test_contrast_on_another_grid_is_refused_with_by_how_much(
    tmp_path: Path, shape: tuple[int, ...], matrix: np.ndarray, difference: str
) -> None:
    files = [save(tmp_path, name, volume(0), np.eye(4)) for name in ("flair", "t1")]
    files.append(save(tmp_path, "t2", volume(1, shape), matrix))
    message = f"The T2w of case p1 is on another grid than its FLAIR: {difference}; resample it"
    with pytest.raises(InputError, match=re.escape(message)):
        load(files)


@pytest.mark.parametrize(("shift", "same"), [(0.0, True), (0.009, True), (0.011, False)])
@pytest.mark.parametrize("dims", [2, 3])
def test_rounding_of_affines_makes_no_other_grid(dims: int, shift: float, same: bool) -> None:
    first = MetaTensor(torch.zeros(1, *SHAPE[:dims]), affine=torch.eye(4))
    second = MetaTensor(torch.zeros(2, *SHAPE[:dims]), affine=torch.as_tensor(affine(origin=(0.0, shift, 0.0))))
    assert grid_difference(first, second) == (None if same else "its corners lie up to 0.011 mm apart")


def test_rotation_moves_the_far_corner_most() -> None:
    """About the first voxel by a small angle: the corner in the plane of rotation moves by its distance times it."""
    first = MetaTensor(torch.zeros(1, *SHAPE), affine=torch.eye(4))
    turned = MetaTensor(torch.zeros(1, *SHAPE), affine=torch.as_tensor(affine(angles=(0.0, 0.0, 1.0))))
    distance = 2 * np.sin(np.radians(0.5)) * np.hypot(5, 6)
    assert grid_difference(first, turned) == f"its corners lie up to {distance:.3g} mm apart"


def test_ramp_is_resampled_to_its_own_values(tmp_path: Path) -> None:
    """A quantity that is linear in space has the same value at a place whatever the grid it was sampled on."""
    other = affine((1.5, 0.9, 1.7), (-12.0, -8.0, 0.0), (-5.0, 15.0, 20.0))
    ramps = [world(s, a) @ (2.0, -3.0, 0.5) + 7 for s, a in ((SHAPE, AFFINE), ((22, 30, 22), other))]
    inside = np.linalg.solve(other, AFFINE)  # first grid's voxels to the second's
    corners = inside @ np.stack([*(g.ravel() for g in np.meshgrid((0, 5), (0, 6), (0, 7))), np.ones(8)])
    assert (corners[:3] >= 0).all()
    assert (corners[:3] <= np.array([[21], [29], [21]])).all()
    files = [
        save(tmp_path, "t1", ramps[0].astype(np.float32)),
        save(tmp_path, "t2", ramps[1].astype(np.float32), other),
    ]
    image = load(files, resample=True)
    assert image.shape == (2, *SHAPE)
    assert image.dtype == torch.float32
    np.testing.assert_array_equal(image[0].numpy(), ramps[0].astype(np.float32))
    np.testing.assert_allclose(image[1].numpy(), ramps[0], atol=1e-3)
    np.testing.assert_allclose(image.affine.numpy(), AFFINE, atol=1e-6)


@pytest.mark.parametrize("shape", [(9, 5, 6), SHAPE], ids=["other size", "same size"])
def test_resampling_equals_scipys(tmp_path: Path, shape: tuple[int, ...]) -> None:
    """With zeros around, also where the second contrast covers the first in part only."""
    other = affine((0.8, 1.6, 1.9), (-2.0, 3.0, 11.0), (0.0, -15.0, 40.0))
    volumes = [volume(0), volume(1, shape), volume(2)]
    files = [save(tmp_path, *v) for v in zip(("flair", "t1", "t2"), volumes, (AFFINE, other, AFFINE))]
    image = load(files, resample=True)
    for c in (0, 2):
        np.testing.assert_array_equal(image[c].numpy(), volumes[c])
    inverse = np.linalg.inv(other)
    places = world(SHAPE, AFFINE) @ inverse[:3, :3].T + inverse[:3, 3]
    expected = map_coordinates(volumes[1], places.transpose(3, 0, 1, 2), order=1, mode="grid-constant")
    assert 0.1 < (expected == 0).mean() < 0.9
    np.testing.assert_allclose(image[1].numpy(), expected, atol=1e-4)


def test_what_lies_beyond_a_resampled_contrast_is_its_background(tmp_path: Path) -> None:
    wide, narrow = np.full((12, 12, 12), 0, np.float32), np.full((6, 6, 6), -1000, np.float32)
    wide[3:9, 3:9, 3:9], narrow[2:4, 2:4, 2:4] = 5, 300
    nib.save(nib.Nifti1Image(wide, np.eye(4)), tmp_path / "a.nii.gz")
    nib.save(nib.Nifti1Image(narrow, affine(origin=3.0)), tmp_path / "b.nii.gz")
    files = [str(tmp_path / name) for name in ("a.nii.gz", "b.nii.gz")]
    image = LoadCased("image", contrasts=["A", "B"], resample=True)({"image": files})["image"]
    expected = np.full((12, 12, 12), -1000, np.float32)
    expected[5:7, 5:7, 5:7] = 300
    np.testing.assert_allclose(image[1], expected)


def test_a_case_that_does_not_fit_into_the_memory_is_refused_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nib.save(nib.Nifti1Image(np.ones((50, 50, 40), np.int16), np.eye(4)), tmp_path / "p1_t1.nii.gz")
    monkeypatch.setattr(hardware, "free_memory", lambda: 2_300_000)
    with pytest.raises(InputError, match=r"The image of case p1_t1 is too large .* up to 0.0 GB"):
        LoadCased("image")({"image": str(tmp_path / "p1_t1.nii.gz")})
    monkeypatch.setattr(hardware, "free_memory", lambda: 2_400_000)
    assert LoadCased("image")({"image": str(tmp_path / "p1_t1.nii.gz")})["image"].shape == (1, 50, 50, 40)
