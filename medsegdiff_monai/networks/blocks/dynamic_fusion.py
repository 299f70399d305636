# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from collections.abc import Sequence

import torch
from torch import nn

from medsegdiff_monai.networks.blocks.ff_parser import FFParser

__all__ = ["DynamicConditionalFusion", "NoFusion"]


class DynamicConditionalFusion(nn.Module):
    """Dynamic conditional encoding: re-weight image features by the current noisy mask's features.

    ``A(m_I, m_x) = (LN(m_I) * LN(FFParser(m_x))) * m_I``, element-wise (Eq. 3 of Wu et al., MIDL 2023,
    https://arxiv.org/abs/2211.00611, with the FF-Parser of Eqs. 4-6 on the mask path). Layer normalisation runs over
    the channels and the spatial axes of one case with a learned scale and shift for each channel, so it is the same
    at any spatial size.

    Args:
        channels: number of channels of both feature maps.
        spatial_size: native spatial size of the FF-Parser.
        spatial_dims: number of spatial dimensions, 2 or 3.
        use_ff_parser: whether the mask features are filtered (False is the paper's ablation "w/o FF-Parser").
        residual: whether the result is ``m_I + A``. The paper's Eq. 3 is ``A`` alone.
    """

    def __init__(
        self,
        channels: int,
        spatial_size: Sequence[int] | int,
        spatial_dims: int,
        use_ff_parser: bool = True,
        residual: bool = False,
    ) -> None:
        super().__init__()
        self.ff_parser = FFParser(channels, spatial_size, spatial_dims) if use_ff_parser else nn.Identity()
        self.norm_image = nn.GroupNorm(1, channels)
        self.norm_mask = nn.GroupNorm(1, channels)
        self.residual = residual

    def forward(self, image_features: torch.Tensor, mask_features: torch.Tensor) -> torch.Tensor:
        """
        Args:
            image_features: ``m_I``, of shape ``(B, C, *spatial)``.
            mask_features: ``m_x``, of the same shape.

        Returns:
            The condition features of the same shape.
        """
        attention = self.norm_image(image_features) * self.norm_mask(self.ff_parser(mask_features))
        fused = attention * image_features
        return image_features + fused if self.residual else fused


class NoFusion(nn.Module):
    """The levels at which image features pass unchanged."""

    def forward(self, image_features: torch.Tensor, mask_features: torch.Tensor) -> torch.Tensor:
        return image_features
