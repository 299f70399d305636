# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import pytest
import torch
from monai.inferers import DiffusionInferer
from monai.networks.schedulers import DDPMScheduler

from medsegdiff_monai.networks.nets import DCEUNet
from medsegdiff_monai.networks.schedulers import DPMSolverScheduler


def small_net(dims: int) -> DCEUNet:
    torch.manual_seed(0)
    return DCEUNet(
        dims, 2, 2, 4, channels=(8, 16, 16), num_res_blocks=1, fusion_levels=(False, True, False), spatial_size=16
    )


@pytest.mark.parametrize("dims", [2, 3], ids=["2d", "3d"])
@pytest.mark.parametrize("scheduler_class", [DDPMScheduler, DPMSolverScheduler], ids=["monai_ddpm", "dpm_solver"])
def test_monais_own_inferer_trains_and_samples_it(dims, scheduler_class):
    net = small_net(dims).train()
    scheduler = scheduler_class(num_train_timesteps=20, beta_start=1e-3, beta_end=0.3, prediction_type="epsilon")
    inferer = DiffusionInferer(scheduler)
    optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3)
    generator = torch.Generator().manual_seed(3)
    mask = torch.randn(2, 2, *(16,) * dims, generator=generator).sign()
    image = torch.randn(2, 4, *(16,) * dims, generator=generator)
    noise = torch.randn(mask.shape, generator=generator)
    timesteps = torch.tensor([5, 12])
    losses = []
    for _ in range(40):
        prediction = inferer(mask, net, noise, timesteps, condition=image)
        loss = (prediction - noise).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.7 * losses[0]

    net.eval()
    scheduler.set_timesteps(20)
    torch.manual_seed(4)
    sample = inferer.sample(noise, net, scheduler, conditioning=image, verbose=False)
    torch.manual_seed(4)
    other = inferer.sample(noise, net, scheduler, conditioning=image.flip(0), verbose=False)
    assert sample.shape == mask.shape
    assert torch.isfinite(sample).all()
    assert (sample - other).abs().max() > 1e-3
