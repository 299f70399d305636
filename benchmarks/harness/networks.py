# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0


"""Networks that the accuracy benchmark compares with, in the bundles' own configurations."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from monai.networks.nets.diffusion_model_unet import get_timestep_embedding
from torch import nn

from medsegdiff_monai.networks.blocks import (
    Decoder,
    Encoder,
    PredictionHeads,
    initialise_convolutions,
    per_level,
    space_to_patches,
)

__all__ = ["ConcatenationDenoiser", "ConcatenationUNet", "DropoutDenoiser", "FixedTimestep"]


class ConcatenationDenoiser(nn.Module):
    """A diffusion network conditioned by concatenation: the noisy mask and the image are the channels of one input.

    This is how MONAI's tutorial of segmentation by diffusion uses ``DiffusionModelUNet``. Nothing can be shared
    between steps or members.

    Args:
        network: called as ``network(x, timesteps)`` with ``x`` of shape ``(B, C + context_channels, *spatial)``.
        in_channels: number of channels ``C`` of the noisy mask.
        divisor: number by which the network needs spatial sizes to be divisible.
    """

    def __init__(self, network: nn.Module, in_channels: int, divisor: int) -> None:
        super().__init__()
        self.network = network
        self.in_channels = in_channels
        self.divisor = divisor

    def encode_image(self, context: torch.Tensor) -> list[torch.Tensor]:
        """The image of shape ``(B, context_channels, *spatial)`` itself."""
        return [context]

    def denoise(self, x: torch.Tensor, timesteps: torch.Tensor, features: list[torch.Tensor]) -> torch.Tensor:
        """The network's prediction, of the shape of ``x``, ``(B, C, *spatial)``."""
        return self.network(torch.cat([x, features[0]], dim=1), timesteps.expand(x.shape[0]))

    def forward(self, x: torch.Tensor, timesteps: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
        """Prediction of shape ``(B, C, *spatial)``; ``context`` is the image."""
        return self.denoise(x, timesteps, [context])


class ConcatenationUNet(nn.Module):
    """The blocks of ``DCEUNet`` with one encoder for the concatenated input: the paper's plain diffusion model.

    Args:
        spatial_dims: number of spatial dimensions, 2 or 3.
        in_channels: number of channels of the input, noisy mask and image together.
        out_channels: number of channels of the prediction.
        channels: number of channels at each resolution.
        num_res_blocks: number of residual blocks at each resolution.
        subpixel_factor: as in ``DCEUNet``.
        additive_skips: as in ``DCEUNet``.
        deep_supervision: as in ``DCEUNet``.
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        out_channels: int,
        channels: Sequence[int],
        num_res_blocks: Sequence[int],
        subpixel_factor: Sequence[int] | int,
        additive_skips: bool,
        deep_supervision: int,
    ) -> None:
        super().__init__()
        self.subpixel_factor: list[int] = list(per_level(subpixel_factor, spatial_dims))
        self.embedding_channels = channels[0]
        voxels = math.prod(self.subpixel_factor)
        time_channels = 4 * channels[0]
        self.time_embedding = nn.Sequential(nn.Linear(channels[0], time_channels), nn.SiLU())
        times = [time_channels] * len(channels)
        self.encoder = Encoder(spatial_dims, voxels * in_channels, channels, num_res_blocks, times)
        self.decoder = Decoder(spatial_dims, channels, time_channels, [False] * len(channels), additive_skips)
        self.heads = PredictionHeads(spatial_dims, channels, out_channels, self.subpixel_factor, deep_supervision)
        initialise_convolutions(self)

    def forward(self, x: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor:
        """The prediction, of the shapes of ``DCEUNet``'s, from ``x`` of shape ``(B, in_channels, *spatial)``."""
        embedding = self.time_embedding(get_timestep_embedding(timesteps, self.embedding_channels).to(x.dtype))
        h = self.encoder.stem(space_to_patches(x, self.subpixel_factor))
        skips = []
        for down, stage in zip(self.encoder.downs, self.encoder.stages):
            h = stage(down(h), embedding)
            skips.append(h)
        return self.heads(self.decoder(skips, embedding))


class FixedTimestep(nn.Module):
    """A network of an input and a timestep as a plain network of the input, at timestep 0.

    Args:
        network: called as ``network(x, timesteps)``.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The network's output for ``x`` of shape ``(B, in_channels, *spatial)``."""
        return self.network(x, torch.zeros(x.shape[0], dtype=torch.long, device=x.device))


class DropoutDenoiser(nn.Module):
    """A plain network whose dropout stays on when it answers: each member is another draw of it.

    Monte-Carlo dropout (Gal and Ghahramani, ICML 2016, arXiv 1506.02142) in the place of a denoiser, so that its
    members go through what those of a diffusion model do. With one step, a member is the sigmoid of the logits.

    Args:
        network: network with dropout layers, image ``(B, context_channels, *spatial)`` to logits ``(B, C, *spatial)``.
        out_channels: number of channels ``C`` of the logits.
        divisor: number by which the network needs spatial sizes to be divisible.
    """

    def __init__(self, network: nn.Module, out_channels: int, divisor: int = 16) -> None:
        super().__init__()
        self.network = network
        self.in_channels = out_channels
        self.divisor = divisor

    def encode_image(self, context: torch.Tensor) -> list[torch.Tensor]:
        """The image of shape ``(B, context_channels, *spatial)`` itself: each member has the network anew."""
        return [context]

    def denoise(self, x: torch.Tensor, timesteps: torch.Tensor, features: list[torch.Tensor]) -> torch.Tensor:
        """Logits of the shape of ``x``, ``(B, C, *spatial)``."""
        for module in self.network.modules():
            if isinstance(module, nn.modules.dropout._DropoutNd):
                module.train()
        return self.network(features[0].expand(x.shape[0], *features[0].shape[1:]))

    def forward(self, x: torch.Tensor, timesteps: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
        """Logits of shape ``(B, C, *spatial)``; ``context`` is the image."""
        return self.denoise(x, timesteps, [context])
