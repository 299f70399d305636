# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from medsegdiff_monai.networks.nets import DCEUNet, MedSegDiff
from medsegdiff_monai.networks.schedulers import DPMSolverScheduler

SCALE = 0.3

# A program that cannot import this package nor MONAI: it runs a TorchScript file on images and keeps what comes back.
STRANGER = """
import sys

class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("medsegdiff_monai", "monai"):
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Hidden())
import torch

torch.set_num_threads(1)
network = torch.jit.load(sys.argv[1])
answers = []
for image, noise in torch.load(sys.argv[2]):
    try:
        with torch.no_grad():
            answers.append(network(image) if noise is None else network(image, noise))
    except Exception as e:
        answers.append(str(e))
torch.save(answers, sys.argv[3])
assert not any(name.split(".")[0] in ("medsegdiff_monai", "monai") for name in sys.modules)
"""


@pytest.fixture(scope="session")
def tiny_network() -> Callable[..., MedSegDiff]:
    """A small network with random weights, whose answer depends on the noisy mask more than at initialisation."""

    def build(dims: int, steps: int = 2, members: int = 2, fusion: str = "mean", **settings: Any) -> MedSegDiff:
        torch.manual_seed(dims)
        common = {"channels": (8, 8), "num_res_blocks": 1, "fusion_levels": (False, True), "spatial_size": 12}
        denoiser = DCEUNet(dims, 2, 2, 1, **{**common, **settings})
        for parameter in denoiser.parameters():
            parameter.data += 0.2 * torch.randn(parameter.shape)
        return MedSegDiff(denoiser, DPMSolverScheduler(prediction_type="sample"), steps, members, fusion, SCALE).eval()

    return build


@pytest.fixture(scope="session")
def image_and_noise() -> Callable[..., tuple[torch.Tensor, torch.Tensor]]:
    """Image and noise of a batch, for a network."""

    def draw(network: Any, batch: int, members: int, size: tuple[int, ...]) -> tuple[torch.Tensor, torch.Tensor]:
        generator = torch.Generator().manual_seed(sum(size))
        image = torch.randn(batch, network.denoiser.context_channels, *size, generator=generator)
        return image, torch.randn(batch, members, network.mask_channels, *size, generator=generator)

    return draw


@pytest.fixture
def ask_a_stranger(tmp_path: Path) -> Callable[..., list[Any]]:
    """What a TorchScript file answers, or the message of its error, in a process without this package or MONAI."""

    def ask(file: Path, questions: list[tuple[torch.Tensor, torch.Tensor | None]]) -> list[Any]:
        asked, answered = tmp_path / "asked.pt", tmp_path / "answered.pt"
        torch.save(questions, asked)
        command = [sys.executable, "-I", "-c", STRANGER, str(file), str(asked), str(answered)]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stderr
        return torch.load(answered)

    return ask


@pytest.fixture
def noise_of(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[torch.Tensor, torch.Tensor]]:
    """The answer of an inferer to images, and the noise that its members started from."""

    def run(inferer: Any, image: torch.Tensor, network: MedSegDiff) -> tuple[torch.Tensor, torch.Tensor]:
        noisy_masks = []
        denoise = DCEUNet.denoise

        def recording(self: Any, x: torch.Tensor, timesteps: torch.Tensor, features: Any) -> torch.Tensor:
            noisy_masks.append(x)
            return denoise(self, x, timesteps, features)

        with monkeypatch.context() as patch:
            patch.setattr(DCEUNet, "denoise", recording)
            probability = inferer(image, network)
        return probability, noisy_masks[0].unflatten(0, (len(image), inferer.num_ensemble))

    return run
