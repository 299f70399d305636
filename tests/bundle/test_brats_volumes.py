# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

"""Volumes through the whole inference of the brain bundle: grids, contrasts in files, empty and bad cases."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from medsegdiff_monai.data.phantoms import make_phantom
from medsegdiff_monai.utils import InputError, find_input_error

pytestmark = pytest.mark.slow

SHAPE = (30, 26, 22)
SPACING = [6.0, 7.0, 8.0]
CONTRASTS = ("flair", "t1", "t1ce", "t2")
SMALL: dict[str, Any] = {
    "patch_size": [16, 16, 16],
    "spacing": SPACING,
    "denoiser#channels": [8, 8, 8],
    "denoiser#num_res_blocks": 1,
    "denoiser#mask_channels": [8, 8, 8],
    "denoiser#mask_num_res_blocks": 1,
    "denoiser#fusion_levels": [False, True, False],
    "denoiser#spatial_size": [16, 16, 16],
    "num_inference_steps": 2,
    "num_ensemble": 2,
}


@pytest.fixture(scope="module")
def brats_bundle(thyroid_bundle: Path) -> Path:
    return thyroid_bundle.parent / "brats_mri_medsegdiff"


@pytest.fixture(scope="module")
def weights(brats_bundle: Path, parse: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(3)
    network = parse(brats_bundle, "inference.json", **SMALL).get_parsed_content("network_def")
    torch.nn.init.normal_(network.denoiser.heads.finest[-1].weight, std=2.0)
    path = tmp_path_factory.mktemp("weights") / "random.pt"
    torch.save(network.state_dict(), path)
    return path


@pytest.fixture(scope="module")
def case() -> tuple[np.ndarray, np.ndarray]:
    """A phantom of four contrasts ``(X, Y, Z, 4)`` with its label map."""
    return make_phantom("brain", np.random.default_rng(2), SHAPE)


def oblique(degrees: float) -> np.ndarray:
    """RAS affine of the test's spacing, turned about two axes."""
    a = np.deg2rad(degrees)
    about_z = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    about_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    affine = np.eye(4)
    affine[:3, :3] = about_z @ about_x @ np.diag(SPACING)
    affine[:3, 3] = -70.0, 33.0, 12.5
    return affine


def reoriented(array: np.ndarray, affine: np.ndarray, axes: Sequence[int], flips: Sequence[bool]) -> nib.Nifti1Image:
    """The same physical image with its voxel axes in another order and direction (nibabel does the affine)."""
    orientation = np.array([[axes.index(i), -1 if flips[i] else 1] for i in range(3)])
    return nib.Nifti1Image(array, affine).as_reoriented(orientation)


def segment(
    bundle: Path, parse: Any, weights: Path, data: Path, out: Path, *configs: str, **overrides: Any
) -> dict[str, nib.Nifti1Image]:
    settings = {**SMALL, "dataset_dir": str(data), "output_dir": str(out), "checkpoint": str(weights), **overrides}
    parser = parse(bundle, "inference.json", *configs, **settings)
    parser.get_parsed_content("initialize")
    parser.get_parsed_content("run")
    return {p.name.removesuffix(".nii.gz"): nib.load(p) for p in out.glob("*.nii.gz")}


@pytest.mark.parametrize("degrees", [0.0, 14.0], ids=["straight", "oblique"])
@pytest.mark.parametrize(
    ("axes", "flips"),
    [((0, 1, 2), (True, True, False)), ((2, 0, 1), (False, False, False)), ((1, 2, 0), (True, False, True))],
    ids=["flipped", "permuted", "both"],
)
def test_orientation_of_the_file_does_not_move_the_mask(
    brats_bundle: Path,
    parse: Any,
    weights: Path,
    case: tuple[np.ndarray, np.ndarray],
    tmp_path: Path,
    axes: tuple[int, ...],
    flips: tuple[bool, ...],
    degrees: float,
) -> None:
    image, affine = case[0], oblique(degrees)
    stored = reoriented(image, affine, axes, flips)
    assert stored.shape != image.shape or not np.allclose(stored.affine, affine)
    results = []
    for name, volume in (("canonical", nib.Nifti1Image(image, affine)), ("stored", stored)):
        (tmp_path / name).mkdir()
        nib.save(volume, tmp_path / name / "case.nii.gz")
        results.append(segment(brats_bundle, parse, weights, tmp_path / name, tmp_path / f"{name}_out"))
    for part, result in results[1].items():
        assert result.shape == stored.shape[:3]
        np.testing.assert_allclose(result.affine, stored.affine, atol=1e-5)
        back = result.as_reoriented(nib.io_orientation(result.affine))
        np.testing.assert_allclose(back.affine, results[0][part].affine, atol=1e-4)
        expected, voxels = (np.asanyarray(r.dataobj) for r in (results[0][part], back))
        if part == "case_seg":
            np.testing.assert_array_equal(voxels, expected)
            assert len(np.unique(voxels)) > 1
        else:
            np.testing.assert_allclose(voxels, expected, atol=1e-4)


def write_files(folder: Path, image: np.ndarray, affine: np.ndarray, skip: str = "") -> list[str]:
    names = [f"BraTS20_Training_001_{c}.nii.gz" for c in CONTRASTS]
    for i, name in enumerate(names):
        if skip not in name or not skip:
            nib.save(nib.Nifti1Image(np.ascontiguousarray(image[..., i]), affine), folder / name)
    return names


def test_four_files_give_what_one_4d_file_gives_with_the_name_of_the_case(
    brats_bundle: Path, parse: Any, weights: Path, case: tuple[np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    image, affine = case[0], oblique(0.0)
    single, several = tmp_path / "single", tmp_path / "several"
    single.mkdir()
    several.mkdir()
    nib.save(nib.Nifti1Image(image, affine), single / "case.nii.gz")
    entry = {"image": write_files(several, image, affine)}
    (several / "datalist.json").write_text(json.dumps({"test": [entry]}))
    one = segment(brats_bundle, parse, weights, single, tmp_path / "one")
    four = segment(brats_bundle, parse, weights, several, tmp_path / "four")
    assert {k.replace("BraTS20_Training_001", "case") for k in four} == set(one)
    for name, result in one.items():
        other = four[name.replace("case", "BraTS20_Training_001")]
        np.testing.assert_array_equal(np.asanyarray(result.dataobj), np.asanyarray(other.dataobj))


@pytest.mark.parametrize(
    ("regions", "values"),
    [
        (None, {1, 2, 4}),
        ({"TC": [1, 3], "WT": [1, 2, 3], "ET": [3]}, {1, 2, 3}),
        ({"TC": [2, 3], "WT": [1, 2, 3], "ET": [3]}, {1, 2, 3}),
    ],
    ids=["BraTS 2018-2021", "BraTS 2023", "MSD"],
)
def test_label_map_is_in_the_convention_of_the_data_set(
    brats_bundle: Path,
    parse: Any,
    weights: Path,
    case: tuple[np.ndarray, np.ndarray],
    tmp_path: Path,
    regions: dict[str, list[int]] | None,
    values: set[int],
) -> None:
    nib.save(nib.Nifti1Image(case[0], oblique(0.0)), tmp_path / "case.nii.gz")
    content = {"test": [{"image": "case.nii.gz"}], **({"regions": regions} if regions else {})}
    (tmp_path / "datalist.json").write_text(json.dumps(content))
    results = segment(brats_bundle, parse, weights, tmp_path, tmp_path / "out")
    label = np.asanyarray(results["case_seg"].dataobj)
    assert set(np.unique(label)) == values | {0}
    used = regions or {"TC": [1, 4], "WT": [1, 2, 4], "ET": [4]}
    for region, members in used.items():
        probability = np.asanyarray(results[f"case_probability_{region}"].dataobj)
        np.testing.assert_array_equal(np.isin(label, members), probability >= 0.5)


def test_case_without_tumour_is_scored_and_not_nan(
    brats_bundle: Path, parse: Any, weights: Path, case: tuple[np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    affine = oblique(0.0)
    nib.save(nib.Nifti1Image(case[0], affine), tmp_path / "case.nii.gz")
    nib.save(nib.Nifti1Image(np.zeros(SHAPE, np.uint8), affine), tmp_path / "label.nii.gz")
    (tmp_path / "datalist.json").write_text(json.dumps({"test": [{"image": "case.nii.gz", "label": "label.nii.gz"}]}))
    segment(brats_bundle, parse, weights, tmp_path, tmp_path / "out", "evaluate.json")
    row = pd.read_csv(tmp_path / "out" / "metrics.csv").iloc[0]
    diagonal = float(np.linalg.norm(np.multiply(SHAPE, SPACING)))
    for region in ("TC", "WT", "ET"):
        assert row[f"dice_{region}"] == 0.0
        assert row[f"hd95_{region}"] == pytest.approx(diagonal, rel=1e-4)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("missing", r"The T1gd of case BraTS20_Training_001, .*_t1ce\.nii\.gz, does not exist"),
        ("three files", r"case BraTS20_Training_001 has 3 files, 4 contrasts are expected \(FLAIR, T1w, T1gd, T2w\)"),
        ("three channels", r"case\.nii\.gz has 3 channels, 4 expected \(FLAIR, T1w, T1gd, T2w\)"),
        ("2D", r"plain\.png has 2 spatial dimensions, 3 are expected"),
        ("constant", r"The T2w of case BraTS20_Training_001 is constant"),
        (
            "other grid",
            r"The T1w of case BraTS20_Training_001 is on another grid than its FLAIR: its corners lie up to 5 mm",
        ),
        ("value 4", r"holds the undeclared values 4 \(declared: 0, 1, 2, 3\)"),
    ],
)
def test_bad_case_is_named(
    brats_bundle: Path,
    parse: Any,
    weights: Path,
    case: tuple[np.ndarray, np.ndarray],
    tmp_path: Path,
    kind: str,
    message: str,
) -> None:
    image, label, affine = case[0].copy(), case[1], oblique(0.0)
    content: dict[str, Any] = {}
    configs: list[str] = []
    if kind == "constant":
        image[..., 3] = 7
    files: Any = write_files(tmp_path, image, affine, skip="t1ce" if kind == "missing" else "")
    if kind == "three files":
        files = files[:3]
    elif kind == "three channels":
        files = "case.nii.gz"
        nib.save(nib.Nifti1Image(image[..., :3], affine), tmp_path / files)
    elif kind == "2D":
        files = "plain.png"
        Image.fromarray(image[..., 0, 0].astype(np.uint8)).save(tmp_path / files)
    elif kind == "other grid":
        shifted = affine.copy()
        shifted[0, 3] += 5.0
        nib.save(nib.Nifti1Image(np.ascontiguousarray(image[..., 1]), shifted), tmp_path / files[1])
    elif kind == "value 4":
        nib.save(nib.Nifti1Image(label, affine), tmp_path / "label.nii.gz")
        content["regions"] = {"TC": [1, 3], "WT": [1, 2, 3], "ET": [3]}
        configs = ["evaluate.json"]
    entry = {"image": files, **({"label": "label.nii.gz"} if configs else {})}
    (tmp_path / "datalist.json").write_text(json.dumps({"test": [entry], **content}))
    with pytest.raises((RuntimeError, ValueError)) as caught:  # the configuration's parser wraps what it meets
        segment(brats_bundle, parse, weights, tmp_path, tmp_path / "out", *configs)
    error = find_input_error(caught.value)
    assert isinstance(error, InputError)
    assert re.search(message, str(error)), str(error)
    assert not list((tmp_path / "out").glob("*.nii.gz"))


def test_contrasts_on_another_grid_are_resampled_where_asked_for(
    brats_bundle: Path, parse: Any, weights: Path, case: tuple[np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    image, affine = case[0], oblique(0.0)
    files = write_files(tmp_path, image, affine)
    moved = reoriented(np.ascontiguousarray(image[..., 1]), affine, (1, 0, 2), (False, True, False))
    nib.save(moved, tmp_path / files[1])
    (tmp_path / "datalist.json").write_text(json.dumps({"test": [{"image": files}]}))
    results = segment(brats_bundle, parse, weights, tmp_path, tmp_path / "out", resample_contrasts=True)
    assert len(results) == 7
    for result in results.values():
        assert result.shape == SHAPE
        np.testing.assert_allclose(result.affine, affine, atol=1e-5)
