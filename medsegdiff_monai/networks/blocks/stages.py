# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

import itertools
from collections.abc import Sequence

import torch
from torch import nn

from medsegdiff_monai.networks.blocks.residual import ResidualBlock, conv, norm_groups

__all__ = ["Decoder", "Encoder", "SelfAttentionBlock", "Stage"]


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


class Stage(nn.Module):
    """Residual blocks of one resolution; with none the input passes.

    Args:
        spatial_dims: number of spatial dimensions, 2 or 3.
        in_channels: number of channels of the input.
        out_channels: number of channels of the output.
        num_blocks: number of residual blocks.
        time_channels: number of channels of the time embedding; None for blocks that do not see the time.
        attention: whether self-attention over all positions follows.
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        out_channels: int,
        num_blocks: int,
        time_channels: int | None,
        attention: bool = False,
    ) -> None:
        super().__init__()
        widths = [in_channels] + [out_channels] * num_blocks
        self.blocks = nn.ModuleList(
            [ResidualBlock(spatial_dims, widths[i], widths[i + 1], time_channels) for i in range(num_blocks)]
        )
        self.attention: nn.Module = nn.Identity()
        if attention:
            self.attention = SelfAttentionBlock(spatial_dims, out_channels)

    def forward(self, x: torch.Tensor, embedding: torch.Tensor | None) -> torch.Tensor:
        """``(B, in_channels, *spatial)`` and embedding ``(B, time_channels)`` to ``(B, out_channels, *spatial)``."""
        for block in self.blocks:
            x = block(x, embedding)
        return self.attention(x)


class Encoder(nn.Module):
    """Stem, then a stage for each resolution with strided convolutions between them.

    The parts are run by ``DCEUNet``, which fuses two encoders stage by stage.

    Args:
        spatial_dims: number of spatial dimensions, 2 or 3.
        in_channels: number of channels of the input.
        channels: number of channels at each resolution, the first at full resolution.
        num_res_blocks: number of residual blocks at each resolution.
        time_channels: number of channels of the time embedding at each resolution; None where it is not seen.
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        channels: Sequence[int],
        num_res_blocks: Sequence[int],
        time_channels: Sequence[int | None],
    ) -> None:
        super().__init__()
        self.stem = conv(spatial_dims, in_channels, channels[0])
        self.stages = nn.ModuleList(
            [Stage(spatial_dims, c, c, n, t) for c, n, t in zip(channels, num_res_blocks, time_channels)]
        )
        self.downs = nn.ModuleList([nn.Identity()])
        self.downs.extend([conv(spatial_dims, a, b, stride=2) for a, b in itertools.pairwise(channels)])


class Decoder(nn.Module):
    """From the deepest stage back to full resolution, a residual block at each, with skip connections.

    Args:
        spatial_dims: number of spatial dimensions, 2 or 3.
        channels: number of channels at each resolution, the first at full resolution.
        time_channels: number of channels of the time embedding.
        attention_levels: whether self-attention follows at each resolution.
        additive_skips: whether skip connections are added; else they are concatenated.
    """

    def __init__(
        self,
        spatial_dims: int,
        channels: Sequence[int],
        time_channels: int,
        attention_levels: Sequence[bool],
        additive_skips: bool = False,
    ) -> None:
        super().__init__()
        last = len(channels) - 1
        self.additive_skips = additive_skips
        widening = 1 if additive_skips else 2
        self.bottleneck = Stage(spatial_dims, channels[last], channels[last], 1, time_channels, attention_levels[last])
        self.ups = nn.ModuleList([conv(spatial_dims, channels[i + 1], channels[i], 1) for i in reversed(range(last))])
        self.stages = nn.ModuleList(
            [
                Stage(spatial_dims, widening * channels[i], channels[i], 1, time_channels, attention_levels[i])
                for i in reversed(range(last))
            ]
        )

    def forward(self, skips: list[torch.Tensor], embedding: torch.Tensor) -> list[torch.Tensor]:
        """Encodings of each resolution, finest first, and embedding ``(B, time_channels)`` to maps of their shapes."""
        x = self.bottleneck(skips[-1], embedding)
        decoded = [x]
        level = len(skips) - 2
        for up, stage in zip(self.ups, self.stages):
            # A 1x1 convolution commutes with nearest-neighbour up-sampling: at the small size it costs 1/2^dims.
            x = nn.functional.interpolate(up(x), scale_factor=2.0, mode="nearest")
            x = x + skips[level] if self.additive_skips else torch.cat([x, skips[level]], dim=1)
            x = stage(x, embedding)
            decoded.insert(0, x)
            level -= 1
        return decoded
