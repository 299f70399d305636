# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import torch
from torch import nn

from medsegdiff_monai.networks.blocks.residual import conv, norm_groups

__all__ = ["SelfAttentionBlock"]


class SelfAttentionBlock(nn.Module):
    """Self-attention over all positions of a feature map, beside a skip path.

    One head, by PyTorch's fused ``scaled_dot_product_attention``. (MONAI's ``SpatialAttentionBlock`` needs ``einops``,
    whose layers do not script.)

    Args:
        spatial_dims: number of spatial dimensions, 2 or 3.
        channels: number of channels.
    """

    def __init__(self, spatial_dims: int, channels: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(norm_groups(channels), channels)
        self.qkv = conv(spatial_dims, channels, 3 * channels, 1)
        self.out = conv(spatial_dims, channels, channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Feature map of shape ``(B, C, *spatial)`` to one of the same shape."""
        q, k, v = self.qkv(self.norm(x)).flatten(2).transpose(1, 2).unsqueeze(1).chunk(3, dim=3)
        attended = nn.functional.scaled_dot_product_attention(q, k, v).squeeze(1)  # the axis of heads, for ONNX
        return x + self.out(attended.transpose(1, 2).reshape(x.shape))
