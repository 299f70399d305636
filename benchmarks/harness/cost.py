# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0


"""What a cell's network costs: parameters, operations, and the time of its answers."""

from __future__ import annotations

from typing import Any

import torch
from monai.bundle import ConfigParser
from monai.inferers import Inferer
from torch.utils.flop_counter import FlopCounterMode

from .budget import seconds_now

__all__ = ["TimedInferer", "network_size"]


class TimedInferer(Inferer):
    """An inferer whose time is taken: from an image at the network's input size to its probability.

    Args:
        inferer: a ``DiffusionSegmentationInferer``.
        device: device that it runs on.

    Attributes:
        seconds: time of all calls so far.
    """

    def __init__(self, inferer: Any, device: torch.device) -> None:
        super().__init__()
        self.inferer = inferer
        self.device = device
        self.seconds = 0.0

    def __call__(self, inputs: torch.Tensor, network: Any, *args: Any, **kwargs: Any) -> torch.Tensor:
        """The probability alone, see ``DiffusionSegmentationInferer``; not timed."""
        return self.inferer(inputs, network, *args, **kwargs)

    def predict(self, inputs: torch.Tensor, network: Any, *args: Any, **kwargs: Any) -> Any:
        """Probability, uncertainty and members, see ``DiffusionSegmentationInferer``."""
        started = seconds_now(self.device)
        prediction = self.inferer.predict(inputs, network, *args, **kwargs)
        self.seconds += seconds_now(self.device) - started
        return prediction


def network_size(parser: ConfigParser, context_channels: int, size: tuple[int, ...]) -> dict[str, float]:
    """Parameters in millions, and GFLOP at an input size that a case costs once and in each evaluation.

    Args:
        parser: a bundle's configuration of inference.
        context_channels: number of channels of the image.
        size: input size.
    """
    device = parser["device"]
    denoiser = parser.get_parsed_content("denoiser").to(device).eval()
    image = torch.zeros(1, context_channels, *size, device=device)
    x = torch.zeros(1, denoiser.in_channels, *size, device=device)
    with torch.no_grad():
        with FlopCounterMode(display=False) as once:
            features = denoiser.encode_image(image)
        with FlopCounterMode(display=False) as each:
            denoiser.denoise(x, torch.tensor([500], device=device), features)
    return {
        "parameters_m": sum(p.numel() for p in denoiser.parameters()) / 1e6,
        "gflop_once": once.get_total_flops() / 1e9,
        "gflop_each": each.get_total_flops() / 1e9,
    }
