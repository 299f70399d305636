# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0


import math
from collections.abc import Sequence

import torch
from torch import nn

from medsegdiff_monai.networks.blocks.residual import conv, norm_groups

__all__ = ["PredictionHeads", "patches_to_space", "space_to_patches"]


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


def _head(spatial_dims: int, channels: int, out_channels: int, kernel_size: int) -> nn.Module:
    norm = nn.GroupNorm(norm_groups(channels), channels)
    return nn.Sequential(norm, nn.SiLU(), conv(spatial_dims, channels, out_channels, kernel_size))


class PredictionHeads(nn.Module):
    """From the maps of a decoder to the prediction, in training also to those of its coarser resolutions.

    Args:
        spatial_dims: number of spatial dimensions, 2 or 3.
        channels: number of channels of the decoder at each resolution, the finest first.
        out_channels: number of channels of the prediction.
        subpixel_factor: size along each axis of the patches that the finest map predicts at each position.
        deep_supervision: number of coarser resolutions that predict in training.

    Raises:
        ValueError: when there are not as many coarser resolutions.
    """

    def __init__(
        self,
        spatial_dims: int,
        channels: Sequence[int],
        out_channels: int,
        subpixel_factor: Sequence[int],
        deep_supervision: int,
    ) -> None:
        super().__init__()
        if not 0 <= deep_supervision < len(channels):
            raise ValueError(f"deep_supervision must be from 0 to {len(channels) - 1}, got {deep_supervision}.")
        self.subpixel_factor: list[int] = list(subpixel_factor)
        self.interpolation = "bilinear" if spatial_dims == 2 else "trilinear"
        self.finest = _head(spatial_dims, channels[0], math.prod(subpixel_factor) * out_channels, 3)
        supervised = channels[1 : deep_supervision + 1]
        self.coarser = nn.ModuleList([_head(spatial_dims, c, out_channels, 1) for c in supervised])

    def forward(self, decoded: list[torch.Tensor]) -> torch.Tensor:
        """
        Args:
            decoded: maps ``(B, channels[i], *spatial_i)``, the finest first.

        Returns:
            Prediction of shape ``(B, out_channels, *spatial)`` at ``subpixel_factor`` times the size of the finest
            map; in training under deep supervision ``(B, 1 + deep_supervision, out_channels, *spatial)``, the finest
            first.
        """
        prediction = patches_to_space(self.finest(decoded[0]), self.subpixel_factor)
        if not self.training or len(self.coarser) == 0:
            return prediction
        predictions = [prediction]
        for i, head in enumerate(self.coarser):
            coarse = head(decoded[i + 1])
            predictions.append(nn.functional.interpolate(coarse, prediction.shape[2:], mode=self.interpolation))
        return torch.stack(predictions, 1)
