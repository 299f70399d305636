# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0


from __future__ import annotations

import pytest
import torch
from monai.networks.utils import pixelshuffle, pixelunshuffle

from medsegdiff_monai.networks.blocks import patches_to_space, space_to_patches


@pytest.mark.parametrize(("shape", "patch"), [((2, 3, 8, 12), 2), ((1, 2, 9, 6), 3), ((2, 1, 4, 6, 8), 2)])
def test_agrees_with_pixel_shuffling(shape: tuple[int, ...], patch: int) -> None:
    x = torch.arange(float(torch.tensor(shape).prod())).reshape(shape)
    dims = len(shape) - 2
    patches = space_to_patches(x, [patch] * dims)
    assert torch.equal(patches, pixelunshuffle(x, dims, patch))
    assert torch.equal(patches_to_space(patches, [patch] * dims), x)
    assert torch.equal(patches_to_space(patches, [patch] * dims), pixelshuffle(patches, dims, patch))


def test_patches_in_plane_shuffle_each_slice_for_itself() -> None:
    x = torch.arange(2.0 * 3 * 4 * 6 * 5).reshape(2, 3, 4, 6, 5)
    patches = space_to_patches(x, [2, 3, 1])
    assert patches.shape == (2, 18, 2, 2, 5)
    assert torch.equal(patches_to_space(patches, [2, 3, 1]), x)
    square = space_to_patches(x[:, :, :, :4], [2, 2, 1])
    for depth in range(5):
        assert torch.equal(square[..., depth], pixelunshuffle(x[:, :, :, :4, depth], 2, 2))


def test_a_patch_by_hand() -> None:
    x = torch.tensor([[[[1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0]]]])
    expected = torch.tensor([[[[1.0, 3.0]], [[2.0, 4.0]], [[5.0, 7.0]], [[6.0, 8.0]]]])
    assert torch.equal(space_to_patches(x, [2, 2]), expected)


def test_a_patch_of_one_voxel_changes_nothing() -> None:
    x = torch.randn(1, 2, 3, 5, generator=torch.Generator().manual_seed(0))
    assert space_to_patches(x, [1, 1]) is x
    assert patches_to_space(x, [1, 1]) is x


@pytest.mark.parametrize("shape", [(2, 3, 8, 12), (2, 1, 4, 6, 8)], ids=["2d", "3d"])
def test_scripts(shape: tuple[int, ...]) -> None:
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    patch = [2] * (len(shape) - 2)
    patches = torch.jit.script(space_to_patches)(x, patch)
    assert torch.equal(patches, space_to_patches(x, patch))
    assert torch.equal(torch.jit.script(patches_to_space)(patches, patch), x)
