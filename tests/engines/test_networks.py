# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import pytest
import torch
from ignite.engine import Engine
from ignite.handlers import EMAHandler

from medsegdiff_monai.engines import averaged_network, trainable_denoiser
from medsegdiff_monai.networks.nets import DCEUNet, MedSegDiff
from medsegdiff_monai.networks.schedulers import DPMSolverScheduler

both_dims = pytest.mark.parametrize("dims", [2, 3], ids=["2d", "3d"])
CPU = torch.device("cpu")


def network(dims: int = 2, seed: int = 0) -> MedSegDiff:
    torch.manual_seed(seed)
    denoiser = DCEUNet(dims, 1, 1, 1, channels=(8, 16), num_res_blocks=1, fusion_levels=(False, True), spatial_size=8)
    for parameter in denoiser.parameters():
        parameter.data += 0.2 * torch.randn(parameter.shape)
    return MedSegDiff(denoiser, DPMSolverScheduler(prediction_type="sample"), 2, 2, signal_scale=0.3).eval()


def answer(net: MedSegDiff, dims: int = 2) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    image = torch.randn(1, 1, *[8] * dims, generator=generator)
    noise = torch.randn(1, 2, 1, *[8] * dims, generator=generator)
    with torch.no_grad():
        return net(image, noise)


@both_dims
def test_denoiser_in_training_is_the_networks_own(dims: int) -> None:
    net = network(dims)
    before, answered = {k: v.clone() for k, v in net.state_dict().items()}, answer(net, dims)
    denoiser = trainable_denoiser(net, CPU)
    torch.testing.assert_close(answer(net, dims), answered)
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    with torch.no_grad():
        next(iter(denoiser.parameters())).add_(1.0)
    assert not torch.allclose(answer(net, dims), answered)


def test_averaged_network_follows_the_weights_in_training() -> None:
    net = network()
    denoiser = trainable_denoiser(net, CPU)
    ema = EMAHandler(denoiser, momentum=0.25)
    averaged = averaged_network(net, ema)
    torch.testing.assert_close(answer(averaged), answer(net))
    expected = {k: v.clone() for k, v in denoiser.named_parameters()}

    def step(*_: object) -> None:
        with torch.no_grad():
            for name, weight in denoiser.named_parameters():
                weight.add_(0.1 * torch.randn(weight.shape))
                expected[name] = 0.75 * expected[name] + 0.25 * weight

    engine = Engine(step)
    ema.attach(engine)
    engine.run([0, 1, 2])
    assert averaged.state_dict().keys() == net.state_dict().keys()
    for name, weight in averaged.denoiser.named_parameters():
        torch.testing.assert_close(weight.data, expected[name].data)
    assert not torch.allclose(answer(averaged), answer(net))
    other = network(seed=5)
    other.load_state_dict(averaged.state_dict(), strict=True)
    torch.testing.assert_close(answer(other), answer(averaged))
