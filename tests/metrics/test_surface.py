# Copyright (c) MedSegDiff-MONAI contributors
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#     http://www.apache.org/licenses/LICENSE-2.0
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.

from __future__ import annotations

import math
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.data import MetaTensor, list_data_collate
from monai.transforms import LoadImage
from PIL import Image
from scipy.ndimage import binary_erosion, distance_transform_edt
from scipy.spatial.distance import directed_hausdorff
from scipy.spatial.transform import Rotation

from medsegdiff_monai.metrics import RegionHausdorffDistance

SPACING = (0.5, 2.0, 3.0)


def point(*place: int, size: tuple[int, ...] = (9, 8, 7)) -> torch.Tensor:
    mask = torch.zeros(1, *size)
    mask[0][place] = 1
    return mask


def rotated(spacing: tuple[float, ...] = SPACING) -> np.ndarray:
    """The affine of a volume that is turned and moved in the world."""
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", [20, -35, 70], degrees=True).as_matrix() @ np.diag(spacing)
    affine[:3, 3] = 11, -12, 13
    return affine


def blobs(seed: int, shape: tuple[int, ...]) -> np.ndarray:
    """A rough mask with inner holes and parts at the border."""
    noise = np.random.default_rng(seed).random(shape)
    grid = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    return noise < 0.9 - sum(g**2 for g in grid)


def edge(mask: np.ndarray) -> np.ndarray:
    return mask & ~binary_erosion(mask)


def by_distance_transforms(pred: np.ndarray, label: np.ndarray, spacing: tuple[float, ...], percentile: float) -> float:
    edges = edge(pred), edge(label)
    to_other = [distance_transform_edt(~b, sampling=spacing)[a] for a, b in (edges, edges[::-1])]
    return max(np.percentile(d, percentile) for d in to_other)


def test_two_points_by_hand() -> None:
    pred, label = point(1, 2, 3), point(3, 3, 6)  # two, one and three voxels apart
    voxels, mm = math.sqrt(4 + 1 + 9), math.sqrt((2 * 0.5) ** 2 + (1 * 2) ** 2 + (3 * 3) ** 2)
    assert RegionHausdorffDistance()([pred], [label]).item() == pytest.approx(voxels)
    for affine in (np.diag([*SPACING, 1]), rotated(), np.diag([-0.5, -2, 3, 1])):
        reference = MetaTensor(label, affine=torch.as_tensor(affine))
        assert RegionHausdorffDistance()([pred], [reference]).item() == pytest.approx(mm)
        assert RegionHausdorffDistance()(pred[None], reference[None]).item() == pytest.approx(mm)


def test_spacing_is_the_references_alone() -> None:
    pred = MetaTensor(point(1, 2, 3), affine=torch.as_tensor(rotated()))
    assert RegionHausdorffDistance()([pred], [point(3, 2, 3)]).item() == pytest.approx(2)
    assert RegionHausdorffDistance()([pred], [MetaTensor(point(3, 2, 3))]).item() == pytest.approx(2)


def test_each_case_of_a_batch_has_its_own_spacing() -> None:
    affines = [np.diag([s, 1, 1, 1]) for s in (0.25, 1.5)]
    batch = list_data_collate([{"y": MetaTensor(point(5, 2, 3), affine=torch.as_tensor(a))} for a in affines])["y"]
    pred = point(1, 2, 3)[None].expand(2, -1, -1, -1, -1)
    torch.testing.assert_close(RegionHausdorffDistance()(pred, batch), torch.tensor([[1.0], [6.0]]))


def test_picture_is_measured_in_pixels(tmp_path: Path) -> None:
    for name, row in (("pred", 3), ("label", 8)):
        array = np.zeros((12, 10), np.uint8)
        array[row, 4] = 1
        Image.fromarray(array).save(tmp_path / f"{name}.png", dpi=(300, 300))
    load = LoadImage(image_only=True, ensure_channel_first=True)
    pred, label = (load(tmp_path / f"{name}.png") for name in ("pred", "label"))
    assert RegionHausdorffDistance()([pred], [label]).item() == 5


@pytest.mark.parametrize(("shape", "spacing"), [((24, 31), (1.0, 0.4)), ((13, 17, 11), SPACING)], ids=["2D", "3D"])
@pytest.mark.parametrize("percentile", [50, 95, 100])
def test_rough_masks_by_distance_transforms(
    shape: tuple[int, ...], spacing: tuple[float, ...], percentile: float
) -> None:
    pred = np.stack([blobs(s, shape) for s in (0, 1)])
    label = np.stack([blobs(s, shape) for s in (2, 3)])
    label[0] = np.roll(label[0], 4, axis=0)
    affine = torch.diag(torch.tensor([*spacing, 1.0], dtype=torch.float64))
    reference = MetaTensor(torch.from_numpy(label), affine=affine)
    values = RegionHausdorffDistance(percentile=percentile)([torch.from_numpy(pred)], [reference])
    expected = [[by_distance_transforms(p, r, spacing, percentile) for p, r in zip(pred, label)]]
    np.testing.assert_allclose(values, expected, rtol=1e-5)
    if percentile == 100:
        ends = [[np.argwhere(edge(m)) * spacing for m in pair] for pair in zip(pred, label)]
        pairs = [[max(directed_hausdorff(a, b)[0], directed_hausdorff(b, a)[0]) for a, b in ends]]
        np.testing.assert_allclose(values, pairs, rtol=1e-5)


def test_far_voxel_counts_only_in_the_largest_distance() -> None:
    label = torch.zeros(1, 40, 40)
    label[0, 5:15, 5:15] = 1
    pred = label.clone()
    pred[0, 35, 10] = 1
    assert RegionHausdorffDistance()([pred], [label]).item() == 0
    assert RegionHausdorffDistance(percentile=100)([pred], [label]).item() == 21


@pytest.mark.parametrize(
    ("shape", "spacing", "diagonal"),
    [((240, 240, 155), (1.0, 1.0, 1.0), 373.13), ((4, 6, 3), SPACING, math.sqrt(2**2 + 12**2 + 9**2))],
    ids=["BraTS", "anisotropic"],
)
def test_empty_masks(shape: tuple[int, ...], spacing: tuple[float, ...], diagonal: float) -> None:
    full, empty = torch.zeros(1, *shape, dtype=torch.bool), torch.zeros(1, *shape, dtype=torch.bool)
    full[0, 1:3, 1:3, 1:3] = True
    affine = torch.as_tensor(rotated(spacing))
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # what MONAI says of empty masks
        values = [
            RegionHausdorffDistance()([pred], [MetaTensor(label, affine=affine)]).item()
            for pred, label in ((full, full), (full, empty), (empty, full), (empty, empty))
        ]
    assert values == pytest.approx([0, diagonal, diagonal, 0], abs=5e-3)


@pytest.mark.parametrize("percentile", [0, -5, 100.5, float("nan")])
def test_percentile_out_of_range_is_refused(percentile: float) -> None:
    with pytest.raises(ValueError, match=r"percentile must be in \(0, 100\]"):
        RegionHausdorffDistance(percentile=percentile)
