# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0


from __future__ import annotations

import pytest
import torch
from monai.networks.nets import BasicUNet

from medsegdiff_monai.inferers import DiffusionSegmentationInferer
from medsegdiff_monai.networks.nets import ContextDenoiser, DCEUNet, ImageOnlyDenoiser, MedSegDiff
from medsegdiff_monai.networks.schedulers import DPMSolverScheduler

both_dims = pytest.mark.parametrize("dims", [2, 3], ids=["2d", "3d"])


class Recording(torch.nn.Module):
    """A network of MONAI's calling convention that keeps what it is called with."""

    def __init__(self) -> None:
        super().__init__()
        self.in_channels = 2
        self.calls: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = []

    def forward(self, x: torch.Tensor, timesteps: torch.Tensor, context: torch.Tensor | None = None) -> torch.Tensor:
        self.calls.append((x, timesteps, context))
        return x * timesteps.view(-1, *[1] * (x.dim() - 1)) + context


@both_dims
def test_any_network_of_monais_convention_sees_mask_time_and_image(dims):
    network = Recording()
    denoiser = ContextDenoiser(network, divisor=4)
    assert (denoiser.in_channels, denoiser.divisor) == (2, 4)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(3, 2, *[4] * dims, generator=generator)
    image = torch.randn(3, 1, *[4] * dims, generator=generator)

    assert torch.equal(denoiser(x, torch.tensor([1, 2, 3]), image), network(x, torch.tensor([1, 2, 3]), image))
    assert torch.equal(denoiser.denoise(x, torch.tensor([5]), denoiser.encode_image(image)), 5 * x + image)
    seen_x, seen_timesteps, seen_image = network.calls[-1]
    assert torch.equal(seen_x, x)
    assert torch.equal(seen_timesteps, torch.tensor([5, 5, 5]))
    assert torch.equal(seen_image, image)


@both_dims
def test_a_wrapped_network_samples_as_the_bare_one(dims):
    torch.manual_seed(0)
    net = DCEUNet(dims, 2, 2, 1, channels=(8, 16), num_res_blocks=1, fusion_levels=(False, True)).eval()
    denoiser = ContextDenoiser(net)
    assert denoiser.divisor == net.divisor
    image = torch.randn(2, 1, *[8] * dims)
    inferer = DiffusionSegmentationInferer(DPMSolverScheduler(prediction_type="sample"), 3, 2, signal_scale=0.3)
    torch.testing.assert_close(inferer(image, denoiser), inferer(image, net), atol=1e-5, rtol=1e-5)


def basic_unet(dims: int) -> BasicUNet:
    torch.manual_seed(0)
    return BasicUNet(dims, in_channels=1, out_channels=2, features=(4, 4, 4, 4, 4, 4)).eval()


@both_dims
def test_a_segmentation_network_gives_its_own_probability(dims):
    network = basic_unet(dims)
    denoiser = ImageOnlyDenoiser(network, out_channels=2, divisor=16)
    scheduler = DPMSolverScheduler(prediction_type="sample")
    image = torch.randn(1, 1, *[32] * dims, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = torch.sigmoid(network(image))
        one_step = MedSegDiff(denoiser, scheduler, num_inference_steps=1, num_ensemble=1, signal_scale=0.3)
        torch.testing.assert_close(one_step(image), expected, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(torch.jit.script(one_step)(image), expected, atol=1e-5, rtol=1e-5)
        five_steps = DiffusionSegmentationInferer(scheduler, num_inference_steps=5, num_ensemble=2)
        torch.testing.assert_close(five_steps(image, denoiser), expected, atol=1e-5, rtol=1e-5)


def test_a_segmentation_network_does_not_see_the_mask_and_the_time():
    network = basic_unet(2)
    denoiser = ImageOnlyDenoiser(network, out_channels=2)
    image, x = torch.randn(1, 1, 32, 32), torch.randn(1, 2, 32, 32)
    with torch.no_grad():
        logits = network(image)
        for noisy, t in ((x, 3), (2 * x, 900)):
            assert torch.equal(denoiser(noisy, torch.tensor([t]), image), logits)
            assert torch.equal(denoiser.denoise(noisy, torch.tensor([t]), denoiser.encode_image(image)), logits)
    with pytest.raises(ValueError, match="needs the image"):
        denoiser(x, torch.tensor([3]))


def test_a_segmentation_network_trains_in_place_of_a_denoiser():
    denoiser = ImageOnlyDenoiser(basic_unet(2), out_channels=2).train()
    image = torch.randn(1, 1, 32, 32)
    denoiser(torch.zeros(1, 2, 32, 32), torch.tensor([0]), image).square().sum().backward()
    assert all(p.grad is not None for p in denoiser.parameters())
