# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

"""Whatever grid an image comes on, its mask comes back on it (section S6 of the design)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser
from monai.data import DataLoader
from monai.transforms import AsDiscreted, Compose, CopyItemsd, Invertd, Orientationd, Spacingd
from PIL import Image
from scipy import ndimage
from torch import nn

from medsegdiff_monai.data import ScreenedDataset
from medsegdiff_monai.engines import DiffusionSegmentationEvaluator
from medsegdiff_monai.inferers import DiffusionSegmentationInferer
from medsegdiff_monai.networks.schedulers import DPMSolverScheduler
from medsegdiff_monai.transforms import AntialiasedResized, CheckImaged, LoadCased, SaveSegmentationd


class ThresholdDenoiser(nn.Module):
    """Knows the object without training: the pixels above the middle of the image's range."""

    divisor = 16

    def forward(self, x: torch.Tensor, timesteps: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
        low, high = context.amin(), context.amax()
        return 20 * ((context - low) / (high - low) - 0.5)


def known_object(*shape: int) -> np.ndarray:
    """A tilted ellipsoid away from the middle: no flip, permutation or shift of it is the same mask."""
    position = np.stack(np.meshgrid(*(np.arange(s) / s for s in shape), indexing="ij"), axis=-1)
    centre, radii = np.array([0.42, 0.57, 0.46])[: len(shape)], np.array([0.24, 0.3, 0.27])[: len(shape)]
    offset = (position - centre) / radii
    offset[..., 0] += 0.4 * offset[..., 1]
    return (offset**2).sum(-1) < 1


def picture(mask: np.ndarray, seed: int = 0) -> np.ndarray:
    """A bright object on a dark ground, with a little noise."""
    noise = np.random.default_rng(seed).uniform(-0.05, 0.05, mask.shape)
    return 0.2 + 0.6 * mask + noise


def save_png(folder: Path, rows_and_columns: np.ndarray) -> str:
    Image.fromarray(np.rint(255 * rows_and_columns).astype(np.uint8)).save(folder / "case.png")
    return str(folder / "case.png")


def save_nifti(folder: Path, voxels: np.ndarray, affine: np.ndarray) -> str:
    nib.save(nib.Nifti1Image(voxels.astype(np.float32), affine), folder / "case.nii.gz")
    return str(folder / "case.nii.gz")


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return 2 * float((a & b).sum()) / float(a.sum() + b.sum())


def run(image: str, output: Path, *resampling: Any, dims: int, **settings: Any) -> None:
    """The bundles' flow with a network that needs no weights."""
    preprocessing = Compose([LoadCased("image"), CheckImaged("image", 1, dims), *resampling])
    invert = Invertd("pred", preprocessing, orig_keys="image", nearest_interp=False, to_tensor=True)
    results = ["pred", "probability"]
    postprocessing = [invert, CopyItemsd("pred", names="probability"), AsDiscreted("pred", threshold=0.5)]
    evaluate(
        ScreenedDataset([{"image": image}], preprocessing, progress=False),
        Compose([*postprocessing, SaveSegmentationd(results, ["seg", "probability"], output, "pred")]),
        DiffusionSegmentationInferer(
            DPMSolverScheduler(prediction_type="sample"), 3, 2, signal_scale=0.3, **{"roi_size": None, **settings}
        ),
    )


def evaluate(dataset: ScreenedDataset, postprocessing: Compose, inferer: DiffusionSegmentationInferer) -> None:
    dataset.report()
    DiffusionSegmentationEvaluator(
        device=torch.device("cpu"),
        val_data_loader=DataLoader(dataset, batch_size=1),
        network=ThresholdDenoiser(),
        inferer=inferer,
        postprocessing=postprocessing,
    ).run()


def mask_of(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


SIZES = [(64, 96), (61, 130), (97, 50), (33, 47)]  # rows and columns


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("resized", [None, (64, 64), (48, 80)], ids=str)
def test_png(tmp_path: Path, size: tuple[int, int], resized: tuple[int, int] | None) -> None:
    truth = known_object(*size)
    resampling = [AntialiasedResized("image", resized)] if resized else []
    run(save_png(tmp_path, picture(truth)), tmp_path / "out", *resampling, dims=2)
    mask = mask_of(tmp_path / "out" / "case_seg.png")
    probability = mask_of(tmp_path / "out" / "case_probability.png") / 65535
    assert mask.shape == probability.shape == size
    assert set(np.unique(mask)) == {0, 1}
    np.testing.assert_array_equal(mask == 1, probability > 0.5)
    if resized is None:
        np.testing.assert_array_equal(mask, truth)
    assert dice(mask == 1, truth) > 0.95


def rotation(degrees: float, first: int, second: int) -> np.ndarray:
    angle = np.deg2rad(degrees)
    matrix = np.eye(3)
    matrix[[first, second], [first, second]] = np.cos(angle)
    matrix[first, second], matrix[second, first] = -np.sin(angle), np.sin(angle)
    return matrix


def affine(directions: np.ndarray, spacing: tuple[float, ...], origin: tuple[float, ...] = (7.5, -20.25, 3.0)) -> Any:
    """Voxel to world (RAS, mm), of numbers that a NIfTI header holds exactly."""
    matrix = np.eye(4)
    matrix[:3, :3] = directions @ np.diag(spacing)
    matrix[:3, 3] = origin
    return matrix.astype(np.float32).astype(np.float64)


IDENTITY = np.eye(3)
AFFINES = {
    "ras": affine(IDENTITY, (1.0, 1.0, 1.0)),
    "flipped": affine(np.diag([-1.0, -1.0, 1.0]), (1.0, 1.0, 1.0)),
    "left-handed": affine(np.diag([1.0, 1.0, -1.0]), (1.0, 1.0, 1.0)),
    "permuted": affine(IDENTITY[[2, 0, 1]], (1.0, 1.0, 1.0)),
    "permuted and flipped": affine(np.diag([1.0, -1.0, -1.0])[[1, 2, 0]], (1.0, 1.0, 1.0)),
    "anisotropic": affine(IDENTITY, (0.75, 1.25, 3.0)),
    "permuted anisotropic": affine(np.diag([-1.0, 1.0, 1.0])[[1, 0, 2]], (0.7, 1.3, 2.1)),
    "oblique": affine(rotation(20, 0, 1) @ rotation(-12, 1, 2), (1.0, 1.0, 1.0)),
    "oblique, flipped, anisotropic": affine(rotation(25, 0, 2) @ np.diag([-1.0, 1.0, -1.0]), (0.9, 1.1, 2.3)),
}
SHAPE = (30, 37, 22)
every_affine = pytest.mark.parametrize("name", AFFINES)


def check_nifti(folder: Path, truth: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """The saved mask, after checking that it lies exactly on the input's grid."""
    mask, probability = (nib.load(folder / "out" / f"case_{n}.nii.gz") for n in ("seg", "probability"))
    for image in (mask, probability):
        assert image.shape == truth.shape
        np.testing.assert_array_equal(image.affine, nib.load(folder / "case.nii.gz").affine)
        np.testing.assert_array_equal(image.affine, expected)
    values = np.asanyarray(mask.dataobj)
    np.testing.assert_array_equal(values, np.asanyarray(probability.dataobj) > 0.5)
    return values == 1


@every_affine
def test_volume_is_voxel_exact_where_axes_are_only_flipped_and_permuted(tmp_path: Path, name: str) -> None:
    truth = known_object(*SHAPE)
    orientation = Orientationd("image", axcodes="RAS", labels=(("L", "R"), ("P", "A"), ("I", "S")))
    run(save_nifti(tmp_path, picture(truth), AFFINES[name]), tmp_path / "out", orientation, dims=3)
    np.testing.assert_array_equal(check_nifti(tmp_path, truth, AFFINES[name]), truth)


@every_affine
def test_resampled_volume_comes_back_on_its_grid(tmp_path: Path, name: str) -> None:
    truth = known_object(*SHAPE)
    orientation = Orientationd("image", axcodes="LPS", labels=(("L", "R"), ("P", "A"), ("I", "S")))
    spacing = Spacingd("image", pixdim=(1.2, 1.2, 1.2), mode="bilinear")
    run(save_nifti(tmp_path, picture(truth), AFFINES[name]), tmp_path / "out", orientation, spacing, dims=3)
    assert dice(check_nifti(tmp_path, truth, AFFINES[name]), truth) > 0.95


def test_volume_in_windows_is_the_same(tmp_path: Path) -> None:
    truth, name = known_object(*SHAPE), "oblique, flipped, anisotropic"
    path = save_nifti(tmp_path, picture(truth), AFFINES[name])
    spacing = Spacingd("image", pixdim=(1.2, 1.2, 1.2), mode="bilinear")
    for folder, roi in ((tmp_path, (16, 32, 48)), (tmp_path / "whole", None)):
        folder.mkdir(exist_ok=True)
        run(path, folder / "out", spacing, dims=3, roi_size=roi)
    windows = check_nifti(tmp_path, truth, AFFINES[name])
    assert dice(windows, truth) > 0.95
    whole = np.asanyarray(nib.load(tmp_path / "whole" / "out" / "case_seg.nii.gz").dataobj) == 1
    assert dice(windows, whole) > 0.95


@pytest.mark.parametrize("size", [(40, 70), (61, 50)], ids=str)
@pytest.mark.parametrize("name", ["flipped", "anisotropic", "oblique"])
def test_slice_as_nifti(tmp_path: Path, name: str, size: tuple[int, int]) -> None:
    truth = known_object(*size)
    resized = AntialiasedResized("image", (48, 64))
    run(save_nifti(tmp_path, picture(truth), AFFINES[name]), tmp_path / "out", resized, dims=2)
    assert dice(check_nifti(tmp_path, truth, AFFINES[name]), truth) > 0.95


def bundle_run(bundle: Path, folder: Path, **overrides: Any) -> Path:
    """The thyroid bundle's own inference on the images of a folder, but for the network and its temperature."""
    parser = ConfigParser()
    parser.read_config(str(bundle / "configs" / "inference.json"))
    parser.update({"bundle_root": str(bundle), "dataset_dir": str(folder), "output_dir": str(folder / "out")})
    parser.update({"device": "$torch.device('cpu')", "temperature": 1.0, **overrides})
    evaluate(*(parser.get_parsed_content(key) for key in ("dataset", "postprocessing", "inferer")))
    return folder / "out"


@pytest.mark.parametrize("size", [(150, 90), (61, 97), (96, 200), (333, 250)], ids=str)
def test_thyroid_bundle_does_not_shift_the_mask(tmp_path: Path, thyroid_bundle: Path, size: tuple[int, int]) -> None:
    truth = known_object(*size)
    save_png(tmp_path, picture(truth))
    output = bundle_run(thyroid_bundle, tmp_path)
    mask = mask_of(output / "case_seg.png")
    assert mask.shape == size
    shift = np.subtract(ndimage.center_of_mass(mask), ndimage.center_of_mass(truth))
    assert np.abs(shift).max() < 0.5
    assert dice(mask == 1, truth) > 0.95
    probability, uncertainty = (mask_of(output / f"case_{n}.png") / 65535 for n in ("probability", "uncertainty"))
    np.testing.assert_array_equal(mask == 1, probability > 0.5)
    # An edge is uncertain, the rest is not.
    edge = ndimage.binary_dilation(truth, iterations=2) & ~ndimage.binary_erosion(truth, iterations=2)
    assert uncertainty[edge].mean() > 5 * uncertainty[~ndimage.binary_dilation(edge, iterations=3)].mean()


def test_thyroid_bundle_on_nifti_and_grey_jpeg(tmp_path: Path, thyroid_bundle: Path) -> None:
    truth = known_object(70, 110)
    save_nifti(tmp_path, picture(truth), AFFINES["anisotropic"])
    grey = np.rint(255 * picture(truth)).astype(np.uint8)
    Image.fromarray(grey).convert("RGB").save(tmp_path / "colour.JPG", quality=95)
    output = bundle_run(thyroid_bundle, tmp_path)
    assert dice(check_nifti(tmp_path, truth, AFFINES["anisotropic"]), truth) > 0.95
    assert dice(mask_of(output / "colour_seg.png") == 1, truth) > 0.95
