# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

import torch
from torch import nn

__all__ = ["ContextDenoiser", "ImageOnlyDenoiser"]


class ContextDenoiser(nn.Module):
    """Any network of MONAI's ``DiffusionModelUNet`` calling convention as a denoiser with the image as its context.

    Args:
        network: called as ``network(x, timesteps=t, context=image)``.
        divisor: number by which the network needs spatial sizes to be divisible.
    """

    def __init__(self, network: nn.Module, divisor: int = 1) -> None:
        super().__init__()
        self.network = network
        self.divisor = int(getattr(network, "divisor", divisor))
        self.in_channels = int(getattr(network, "in_channels", 1))

    def encode_image(self, context: torch.Tensor) -> list[torch.Tensor]:
        """The image of shape ``(B, context_channels, *spatial)`` itself: nothing is known to be shared."""
        return [context]

    def denoise(self, x: torch.Tensor, timesteps: torch.Tensor, features: list[torch.Tensor]) -> torch.Tensor:
        """The network's prediction, of the shape of ``x``, ``(B, C, *spatial)``."""
        return self.network(x, timesteps=timesteps.expand(x.shape[0]), context=features[0])

    def forward(self, x: torch.Tensor, timesteps: torch.Tensor, context: torch.Tensor | None = None) -> torch.Tensor:
        """Prediction of shape ``(B, C, *spatial)``; ``context`` is the image."""
        return self.network(x, timesteps=timesteps, context=context)


class ImageOnlyDenoiser(nn.Module):
    """A plain segmentation network in the place of a denoiser: its logits do not depend on ``x`` and ``t``.

    It lets any MONAI segmentation network run through the very same configs as MedSegDiff, for a fair comparison.
    With ``prediction_type="sample"``, one step and one member, the fused probability is the sigmoid of its logits.

    Args:
        network: segmentation network, image ``(B, context_channels, *spatial)`` to logits ``(B, C, *spatial)``.
        out_channels: number of channels ``C`` of the logits.
        divisor: number by which the network needs spatial sizes to be divisible.
    """

    def __init__(self, network: nn.Module, out_channels: int = 1, divisor: int = 16) -> None:
        super().__init__()
        self.network = network
        self.in_channels = out_channels
        self.divisor = divisor

    @torch.jit.export
    def encode_image(self, context: torch.Tensor) -> list[torch.Tensor]:
        """The logits, of shape ``(B, C, *spatial)``: all of the network's work, once an image."""
        return [self.network(context)]

    @torch.jit.export
    def denoise(self, x: torch.Tensor, timesteps: torch.Tensor, features: list[torch.Tensor]) -> torch.Tensor:
        """The logits, of shape ``(B, C, *spatial)``."""
        return features[0]

    def forward(self, x: torch.Tensor, timesteps: torch.Tensor, context: torch.Tensor | None = None) -> torch.Tensor:
        """Logits of shape ``(B, C, *spatial)``; ``context`` is the image."""
        if context is None:
            raise ValueError("ImageOnlyDenoiser needs the image: give it as context.")
        return self.network(context)
