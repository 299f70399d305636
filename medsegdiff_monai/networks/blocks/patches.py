# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0


from __future__ import annotations

import torch

__all__ = ["patches_to_space", "space_to_patches"]


def _voxels(patch: list[int]) -> int:
    voxels = 1
    for edge in patch:
        voxels *= edge
    return voxels


def space_to_patches(x: torch.Tensor, patch: list[int]) -> torch.Tensor:
    """Move each patch of voxels into the channels: nothing is lost, and what follows works at a smaller size.

    The inverse of :func:`patches_to_space`, of the layout of ``torch.nn.PixelUnshuffle`` in 2D and 3D (MONAI's
    ``pixelunshuffle`` does not script).

    Args:
        x: map of shape ``(B, C, *spatial)``, whose spatial sizes are divisible by those of ``patch``.
        patch: size of a patch along each axis in voxels.

    Returns:
        Map of shape ``(B, C * prod(patch), *spatial / patch)``.
    """
    voxels = _voxels(patch)
    if voxels == 1:
        return x
    dims = x.dim() - 2
    split = [x.shape[0], x.shape[1]]
    merged = [x.shape[0], x.shape[1] * voxels]
    order = [0, 1]
    for i in range(dims):
        split += [x.shape[2 + i] // patch[i], patch[i]]
        merged += [x.shape[2 + i] // patch[i]]
        order += [3 + 2 * i]
    for i in range(dims):
        order += [2 + 2 * i]
    return x.reshape(split).permute(order).reshape(merged)


def patches_to_space(x: torch.Tensor, patch: list[int]) -> torch.Tensor:
    """Lay out patches that are held in the channels (sub-pixel convolution, https://arxiv.org/abs/1609.05158).

    Args:
        x: map of shape ``(B, C * prod(patch), *spatial)``.
        patch: size of a patch along each axis in voxels.

    Returns:
        Map of shape ``(B, C, *spatial * patch)``.
    """
    voxels = _voxels(patch)
    if voxels == 1:
        return x
    dims = x.dim() - 2
    channels = x.shape[1] // voxels
    split = [x.shape[0], channels]
    split += patch
    split += list(x.shape[2:])
    merged = [x.shape[0], channels]
    order = [0, 1]
    for i in range(dims):
        order += [2 + dims + i, 2 + i]
        merged += [x.shape[2 + i] * patch[i]]
    return x.reshape(split).permute(order).reshape(merged)
