# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

import math
from collections.abc import Sequence

import torch
from monai.networks.layers.factories import Conv
from torch import nn

__all__ = ["ResidualBlock", "conv", "initialise_convolutions", "norm_groups", "per_level"]


def per_level(value: Sequence[int] | int, levels: int) -> tuple[int, ...]:
    """One number for each level, from such a sequence or from one number for all."""
    return (value,) * levels if isinstance(value, int) else tuple(value)


def norm_groups(channels: int) -> int:
    """Number of groups for group normalisation: up to 8, of at least two channels each where they are even in number.

    Groups of one channel would normalise away what is the same at every position: the shift by the time.
    """
    return math.gcd(8, channels // 2) if channels % 2 == 0 else 1


def conv(spatial_dims: int, in_channels: int, out_channels: int, kernel_size: int = 3, stride: int = 1) -> nn.Module:
    """A convolution of 2 or 3 spatial dimensions that keeps the size, or divides it by ``stride``."""
    return Conv[Conv.CONV, spatial_dims](
        in_channels, out_channels, kernel_size=kernel_size, stride=stride, padding=kernel_size // 2
    )


def initialise_convolutions(module: nn.Module) -> None:
    """Initialise every convolution below ``module`` so that it keeps the variance of its input (LeCun normal).

    PyTorch's default shrinks the standard deviation by sqrt(3) at each linear convolution. Where a path has no
    normalisation (stem, skip and down-sampling convolutions) that adds up, and condition features vanish.
    """
    for m in module.modules():
        if isinstance(m, (nn.Conv2d, nn.Conv3d)):
            nn.init.kaiming_normal_(m.weight, nonlinearity="linear")
            if m.bias is not None:
                nn.init.zeros_(m.bias)


class ResidualBlock(nn.Module):
    """(GroupNorm, SiLU, convolution) twice beside a skip path, with the time embedding added between the two.

    Section 3 of Wu et al., MIDL 2023, https://arxiv.org/abs/2211.00611.

    Args:
        spatial_dims: number of spatial dimensions, 2 or 3.
        in_channels: number of channels of the input.
        out_channels: number of channels of the output.
        time_channels: number of channels of the time embedding; None for a block that does not see the time.
    """

    def __init__(self, spatial_dims: int, in_channels: int, out_channels: int, time_channels: int | None) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(norm_groups(in_channels), in_channels)
        self.conv1 = conv(spatial_dims, in_channels, out_channels)
        self.time = nn.Identity() if time_channels is None else nn.Linear(time_channels, out_channels)
        self.norm2 = nn.GroupNorm(norm_groups(out_channels), out_channels)
        self.conv2 = conv(spatial_dims, out_channels, out_channels)
        self.act = nn.SiLU()
        self.skip = nn.Identity() if in_channels == out_channels else conv(spatial_dims, in_channels, out_channels, 1)

    def forward(self, x: torch.Tensor, embedding: torch.Tensor | None) -> torch.Tensor:
        """
        Args:
            x: feature map of shape ``(B, in_channels, *spatial)``.
            embedding: time embedding of shape ``(B, time_channels)``, None for a block that does not see the time.

        Returns:
            Feature map of shape ``(B, out_channels, *spatial)``.
        """
        h = self.conv1(self.act(self.norm1(x)))
        if embedding is not None:
            shift = self.time(embedding)
            h = h + shift.reshape(list(shift.shape) + [1] * (x.dim() - 2))
        h = self.conv2(self.act(self.norm2(h)))
        return self.skip(x) + h
