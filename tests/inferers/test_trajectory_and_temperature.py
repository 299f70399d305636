# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import numpy as np
import pytest
import torch

from medsegdiff_monai.inferers import DiffusionSegmentationInferer
from medsegdiff_monai.networks.nets import DCEUNet, MedSegDiff
from medsegdiff_monai.networks.schedulers import DDPMSubsequenceScheduler, DPMSolverScheduler
from medsegdiff_monai.utils import InputError

SCALE = 0.3
both_samplers = pytest.mark.parametrize("sampler", [DPMSolverScheduler, DDPMSubsequenceScheduler], ids=["dpm", "ddpm"])


def inferer(sampler: type = DPMSolverScheduler, **settings) -> DiffusionSegmentationInferer:
    arguments = {"num_inference_steps": 3, "num_ensemble": 5, "signal_scale": SCALE, **settings}
    return DiffusionSegmentationInferer(sampler(prediction_type="sample"), **arguments)


def denoiser(dims: int = 2) -> DCEUNet:
    torch.manual_seed(0)
    net = DCEUNet(dims, 2, 2, 1, channels=(8, 16), num_res_blocks=1, fusion_levels=(False, True), spatial_size=8)
    for parameter in net.parameters():
        parameter.data += 0.2 * torch.randn(parameter.shape)
    return net.eval()


def image(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


@both_samplers
def test_trajectory_ends_at_the_member(sampler):
    x, net = image(2, 1, 9, 8), denoiser()
    run = inferer(sampler)
    steps = run.trajectory(x, net, member=3)
    assert steps.shape == (2, 3, 2, 9, 8)
    torch.testing.assert_close(steps[:, -1], run.sample(x, net)[:, 3], atol=1e-5, rtol=0)
    assert (steps[:, 0] - steps[:, -1]).abs().max() > 1e-3


def test_trajectory_starts_with_the_answer_of_one_step():
    x, net = image(1, 1, 8, 8), denoiser()
    one_step = inferer(num_inference_steps=1).sample(x, net)
    torch.testing.assert_close(inferer().trajectory(x, net, member=1)[:, 0], one_step[:, 1], atol=1e-5, rtol=0)


@pytest.mark.parametrize("background_value", [None, 0.0])
def test_trajectory_of_windows_ends_at_the_member(background_value):
    x, net = image(1, 1, 20, 12), denoiser()
    x[..., :9, :] = 0.0  # a window of background
    run = inferer(roi_size=8, background_value=background_value)
    steps = run.trajectory(x, net, member=3)
    assert steps.shape == (1, 3, 2, 20, 12)
    torch.testing.assert_close(steps[:, -1], run.sample(x, net)[:, 3], atol=1e-5, rtol=0)
    assert (steps[:, 0] - steps[:, -1]).abs().max() > 1e-3


def test_trajectory_refuses_members_that_are_not_there():
    with pytest.raises(InputError, match="0 to 4"):
        inferer().trajectory(image(1, 1, 8, 8), denoiser(), 5)


@pytest.mark.parametrize("settings", [{}, {"roi_size": 8}, {"roi_size": 8, "member_batch_size": 2}])
def test_temperature_divides_the_logits_of_each_member(settings):
    x, net = image(1, 1, 8, 8), denoiser()
    members = inferer().sample(x, net).double().clamp(1e-6, 1 - 1e-6)
    odds = (members / (1 - members)) ** (1 / 1.7)
    prediction = inferer(temperature=1.7, **settings).predict(x, net)
    torch.testing.assert_close(prediction.members.double(), odds / (1 + odds), atol=1e-4, rtol=0)
    torch.testing.assert_close(prediction.probability.double(), (odds / (1 + odds)).mean(1), atol=1e-4, rtol=0)
    torch.testing.assert_close(inferer(temperature=1.7, **settings)(x, net), prediction.probability, atol=1e-6, rtol=0)


@pytest.mark.parametrize("form", [lambda m: m, torch.jit.script], ids=["eager", "scripted"])
def test_temperature_of_the_network_is_that_of_the_inferer(form):
    x, run = image(1, 1, 8, 8), inferer(temperature=0.6)
    network = MedSegDiff(denoiser(), run.scheduler, 3, 5, "mean", SCALE, temperature=0.6).eval()
    noise = torch.stack([torch.randn(2, 8, 8, generator=torch.Generator().manual_seed(m * 1_009)) for m in range(5)])
    with torch.no_grad():
        answer = form(network)(x, noise[None])
    np.testing.assert_allclose(answer.numpy(), run(x, network).numpy(), atol=1e-5)


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan"), float("inf")])
def test_temperature_must_be_positive(temperature):
    with pytest.raises(InputError, match="temperature"):
        inferer(temperature=temperature)
    with pytest.raises(InputError, match="temperature"):
        MedSegDiff(denoiser(), DPMSolverScheduler(prediction_type="sample"), temperature=temperature)
