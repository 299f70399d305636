# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from harness.networks import ConcatenationDenoiser, ConcatenationUNet, FixedTimestep
from monai.networks.nets import DiffusionModelUNet
from torch import nn

from medsegdiff_monai.networks.nets import MedSegDiff
from medsegdiff_monai.networks.schedulers import DPMSolverScheduler

SIZES = {2: (16, 24), 3: (8, 16, 8)}


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def trained(network: nn.Module) -> nn.Module:
    """The network with all weights drawn: none starts at zero, which would hide an input from the output."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in network.parameters():
            p.copy_(0.2 * torch.randn(p.shape, generator=generator))
    return network.eval()


def monai_network() -> nn.Module:
    return trained(
        DiffusionModelUNet(
            spatial_dims=2,
            in_channels=5,
            out_channels=2,
            channels=(8, 16),
            attention_levels=(False, False),
            num_res_blocks=1,
            norm_num_groups=4,
        )
    )


def untrained(
    spatial_dims: int = 2, in_channels: int = 3, factor: int = 1, additive: bool = True, supervised: int = 0
) -> ConcatenationUNet:
    """A small network of two masks."""
    torch.manual_seed(0)
    widths, blocks = (8, 8, 16), (0, 1, 1)
    return ConcatenationUNet(spatial_dims, in_channels, 2, widths, blocks, factor, additive, supervised)


def plain_network(*settings: Any, **more: Any) -> nn.Module:
    return trained(untrained(*settings, **more))


@pytest.mark.parametrize("build", [monai_network, lambda: plain_network(in_channels=5)], ids=["MONAI's", "plain"])
@torch.no_grad()
def test_denoiser_is_the_network_on_mask_and_image(build: Callable[[], nn.Module]) -> None:
    network = build()
    denoiser = ConcatenationDenoiser(network, in_channels=2, divisor=4)
    x, image = noise(3, 2, 16, 24), noise(3, 3, 16, 24, seed=1)
    timesteps = torch.tensor([3, 500, 999])
    expected = network(torch.cat([x, image], 1), timesteps)
    assert torch.equal(denoiser(x, timesteps, image), expected)
    assert torch.equal(denoiser(x=x, timesteps=timesteps, context=image), expected)
    assert torch.equal(denoiser.denoise(x, timesteps, denoiser.encode_image(image)), expected)
    assert (denoiser.in_channels, denoiser.divisor) == (2, 4)


@pytest.mark.parametrize("build", [monai_network, lambda: plain_network(in_channels=5)], ids=["MONAI's", "plain"])
@torch.no_grad()
def test_one_timestep_holds_for_all_cases(build: Callable[[], nn.Module]) -> None:
    denoiser = ConcatenationDenoiser(build(), in_channels=2, divisor=4)
    x, image = noise(3, 2, 16, 16), noise(3, 3, 16, 16, seed=1)
    one = denoiser(x, torch.tensor([700]), image)
    torch.testing.assert_close(one, denoiser(x, torch.tensor([700] * 3), image), atol=1e-5, rtol=1e-5)
    assert (one - denoiser(x, torch.tensor([100]), image)).abs().max() > 1e-3


@torch.no_grad()
def test_denoiser_runs_in_the_sampler() -> None:
    denoiser = ConcatenationDenoiser(plain_network(in_channels=5), in_channels=2, divisor=4)
    scheduler = DPMSolverScheduler(num_train_timesteps=1000, schedule="linear_beta", prediction_type="sample")
    network = MedSegDiff(denoiser, scheduler, num_inference_steps=2, num_ensemble=3, signal_scale=0.3)
    image, start = noise(2, 3, 16, 16), noise(2, 3, 2, 16, 16, seed=1)
    probability = network(image, start)
    assert probability.shape == (2, 2, 16, 16)
    assert 0.0 <= probability.min() < probability.max() <= 1.0
    alone = [network(image, start[:, [i]]) for i in range(3)]
    torch.testing.assert_close(probability, torch.stack(alone).mean(0), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("factor", [1, 2])
@pytest.mark.parametrize("spatial_dims", [2, 3])
@torch.no_grad()
def test_plain_network_depends_on_mask_image_and_time(spatial_dims: int, factor: int) -> None:
    network = ConcatenationDenoiser(plain_network(spatial_dims, factor=factor), in_channels=1, divisor=4)
    size = SIZES[spatial_dims]
    x, image, t = noise(2, 1, *size), noise(2, 2, *size, seed=1), torch.tensor([10, 900])
    output = network(x, t, image)
    assert output.shape == (2, 2, *size)
    changes = {
        "x": network(noise(2, 1, *size, seed=2), t, image),
        "first contrast": network(x, t, torch.cat([image[:, :1] + 1, image[:, 1:]], 1)),
        "second contrast": network(x, t, torch.cat([image[:, :1], image[:, 1:] + 1], 1)),
        "time": network(x, torch.tensor([400, 600]), image),
    }
    for name, other in changes.items():
        for case in range(2):
            assert (other[case] - output[case]).abs().max() > 1e-3, name


@pytest.mark.parametrize("factor", [1, 2])
@torch.no_grad()
def test_every_voxel_of_the_input_counts(factor: int) -> None:
    network, x, t = plain_network(factor=factor), noise(1, 3, 16, 16), torch.tensor([500])
    output = network(x, t)
    for voxel in ((5, 6), (5, 7), (4, 6), (4, 7)):  # each place within a patch
        changed = x.clone()
        changed[0, 2][voxel] += 1
        assert (network(changed, t) - output)[0][:, voxel[0], voxel[1]].abs().min() > 1e-4, voxel


@torch.no_grad()
def test_cases_of_a_batch_do_not_mix() -> None:
    network, x, t = plain_network(), noise(2, 3, 16, 16), torch.tensor([10, 900])
    together = network(x, t)
    alone = torch.cat([network(x[i : i + 1], t[i : i + 1]) for i in range(2)])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("factor", [1, 2])
@pytest.mark.parametrize("spatial_dims", [2, 3])
@torch.no_grad()
def test_training_adds_the_predictions_of_coarser_resolutions(spatial_dims: int, factor: int) -> None:
    size, t = SIZES[spatial_dims], torch.tensor([10, 900])
    network, x = plain_network(spatial_dims, factor=factor, supervised=2), noise(2, 3, *size)
    finest = network(x, t)
    stacked = network.train()(x, t)
    assert (finest.shape, stacked.shape) == ((2, 2, *size), (2, 3, 2, *size))
    torch.testing.assert_close(stacked[:, 0], finest, atol=1e-5, rtol=1e-5)
    assert all((stacked[:, 0] - stacked[:, level]).abs().max() > 1e-3 for level in (1, 2))
    alone = plain_network(spatial_dims, factor=factor).train()
    assert alone(x, t).shape == finest.shape


@pytest.mark.parametrize("additive", [True, False], ids=["added skips", "concatenated skips"])
@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_gradients_reach_all_of_the_plain_network(spatial_dims: int, additive: bool) -> None:
    network = untrained(spatial_dims, additive=additive, supervised=1)
    network(noise(2, 3, *SIZES[spatial_dims]), torch.tensor([10, 900])).square().mean().backward()
    assert all(p.grad is not None for p in network.parameters())
    assert network.encoder.stem.weight.grad.abs().max() > 0


@torch.no_grad()
def test_fixed_timestep_is_the_network_at_0() -> None:
    network, x = plain_network(), noise(2, 3, 16, 16)
    output = FixedTimestep(network)(x)
    assert torch.equal(output, network(x, torch.tensor([0, 0])))
    assert (output - network(x, torch.tensor([1, 1]))).abs().max() > 1e-4
