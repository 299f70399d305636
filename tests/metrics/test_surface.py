# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

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

from medsegdiff_monai.metrics import RegionHausdorffDistance, RegionSurfaceDice

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


def square(top: int, left: int = 2, side: int = 4) -> torch.Tensor:
    mask = torch.zeros(1, 10, 10)
    mask[0, top : top + side, left : left + side] = 1
    return mask


@pytest.mark.parametrize(
    ("shift", "tolerance", "met"),
    [
        (0, 0, 12),
        (1, 0, 6),  # rows 3 and 4 of the sides, and the two lower corners
        (1, 1, 12),
        (2, 0, 4),
        (2, 1, 8),  # all but the row that is two pixels away
        (2, 1.99, 8),
        (2, 2, 12),
        (5, 1, 0),
        (5, 2, 4),  # the rows that face each other
    ],
)
def test_share_of_shifted_squares_by_hand(shift: int, tolerance: float, met: int) -> None:
    share = RegionSurfaceDice(tolerance)([square(0)], [square(shift)]).item()
    assert share == pytest.approx(2 * met / (2 * 12))  # a square of 4 x 4 pixels has an edge of 12


def test_edges_are_pooled_by_their_lengths() -> None:
    pred, label = torch.zeros(1, 6, 9), torch.zeros(1, 6, 9)
    pred[0, 2, 2:7] = 1  # five edge pixels, of which two are near
    label[0, 2, 2] = 1  # one, which is met
    assert RegionSurfaceDice(1.0)([pred], [label]).item() == pytest.approx((2 + 1) / (5 + 1))
    assert RegionSurfaceDice(1.0)([label], [pred]).item() == pytest.approx((2 + 1) / (5 + 1))


def test_inside_of_a_mask_does_not_count() -> None:
    full, hollow = square(1, 1, 6), square(1, 1, 6) - square(3, 3, 2)
    # Edge of 20 pixels each, and around the hole the eight that share a side with it, two pixels off the outer edge.
    values = [RegionSurfaceDice(t)([hollow], [full]).item() for t in (0.0, 1.0)]
    assert values == pytest.approx([(20 + 20) / (28 + 20), 1.0])


def test_share_is_measured_in_mm_of_the_reference() -> None:
    pred, label = point(1, 2, 3), point(3, 3, 6)  # 3.74 voxels and 9.27 mm apart
    placed = MetaTensor(label, affine=torch.as_tensor(rotated()))
    moved = MetaTensor(pred, affine=torch.as_tensor(rotated()))
    for tolerance, plain, in_mm in ((3.7, 0.0, 0.0), (3.8, 1.0, 0.0), (9.2, 1.0, 0.0), (9.3, 1.0, 1.0)):
        metric = RegionSurfaceDice(tolerance)
        assert metric([pred], [label]).item() == metric([moved], [label]).item() == plain
        assert metric([pred], [placed]).item() == metric(pred[None], placed[None]).item() == in_mm


def test_share_of_each_case_has_its_own_spacing() -> None:
    affines = [np.diag([s, 1, 1, 1]) for s in (0.25, 1.5)]
    batch = list_data_collate([{"y": MetaTensor(point(5, 2, 3), affine=torch.as_tensor(a))} for a in affines])["y"]
    pred = point(1, 2, 3)[None].expand(2, -1, -1, -1, -1)
    assert RegionSurfaceDice(2.0)(pred, batch).tolist() == [[1.0], [0.0]]  # 1 and 6 mm apart


@pytest.mark.parametrize(("shape", "spacing"), [((24, 31), (1.0, 0.4)), ((13, 17, 11), SPACING)], ids=["2D", "3D"])
@pytest.mark.parametrize("tolerance", [0.0, 0.45, 1.1])
def test_shares_of_rough_masks_by_distance_transforms(
    shape: tuple[int, ...], spacing: tuple[float, ...], tolerance: float
) -> None:
    pred, label = (np.stack([blobs(s, shape) for s in seeds]) for seeds in ((0, 1), (2, 3)))
    label[0] = np.roll(label[0], 4, axis=0)
    expected = []
    for p, r in zip(pred, label):
        edges = edge(p), edge(r)
        to_other = [distance_transform_edt(~b, sampling=spacing)[a] for a, b in (edges, edges[::-1])]
        expected.append((np.concatenate(to_other) <= tolerance).mean())
    affine = torch.diag(torch.tensor([*spacing, 1.0], dtype=torch.float64))
    reference = MetaTensor(torch.from_numpy(label), affine=affine)
    values = RegionSurfaceDice(tolerance)([torch.from_numpy(pred)], [reference])
    np.testing.assert_allclose(values, [expected], rtol=1e-6)
    assert all(0.05 < e < 1 for e in expected)


def test_shares_of_empty_masks() -> None:
    full, empty = square(2), torch.zeros(1, 10, 10)
    metric = RegionSurfaceDice()
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # what MONAI says of empty masks
        pairs = ((full, full), (full, empty), (empty, full), (empty, empty))
        values = metric([p for p, _ in pairs], [r for _, r in pairs])
    assert values.tolist() == [[1.0], [0.0], [0.0], [1.0]]
    assert metric.aggregate().item() == 0.5


@pytest.mark.parametrize("tolerance", [-1, -1e-6])
def test_negative_tolerance_is_refused(tolerance: float) -> None:
    with pytest.raises(ValueError, match="tolerance must be a number from 0 on, got -"):
        RegionSurfaceDice(tolerance)
