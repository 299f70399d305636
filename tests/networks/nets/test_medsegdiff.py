# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0


from __future__ import annotations

import pytest
import torch
from monai.inferers import DiffusionInferer

from medsegdiff_monai.inferers import DiffusionSegmentationInferer
from medsegdiff_monai.networks.nets import DCEUNet, ImageOnlyDenoiser, MedSegDiff
from medsegdiff_monai.networks.schedulers import (
    DDIMSubsequenceScheduler,
    DDPMSubsequenceScheduler,
    DPMSolverScheduler,
)

SCALE = 0.3
STEPS = 4
MEMBERS = 3
both_dims = pytest.mark.parametrize("dims", [2, 3], ids=["2d", "3d"])
forms = pytest.mark.parametrize("form", [lambda m: m, torch.jit.script], ids=["eager", "scripted"])
all_predictions = pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction", "sample"])
deterministic = pytest.mark.parametrize(
    "scheduler_class", [DPMSolverScheduler, DDIMSubsequenceScheduler], ids=["dpm_solver", "ddim"]
)


def denoiser(dims: int, seed: int = 0) -> DCEUNet:
    """A denoiser with random weights, whose answer depends on the noisy mask more than at initialisation."""
    torch.manual_seed(seed)
    net = DCEUNet(dims, 2, 2, 1, channels=(8, 16), num_res_blocks=1, fusion_levels=(False, True), spatial_size=8)
    for parameter in net.parameters():
        parameter.data += 0.2 * torch.randn(parameter.shape)
    return net.eval()


def start(dims: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Image and noise of the members."""
    generator = torch.Generator().manual_seed(1)
    image = torch.randn(2, 1, *[8] * dims, generator=generator)
    return image, torch.randn(2, MEMBERS, 2, *[8] * dims, generator=generator)


def record_noisy_masks(patch: pytest.MonkeyPatch) -> list[torch.Tensor]:
    """List that fills with each noisy mask that a ``DCEUNet`` gets."""
    noisy_masks: list[torch.Tensor] = []
    denoise = DCEUNet.denoise

    def recording(self, x, timesteps, features):
        noisy_masks.append(x)
        return denoise(self, x, timesteps, features)

    patch.setattr(DCEUNet, "denoise", recording)
    return noisy_masks


class MaskPrediction(torch.nn.Module):
    """The network as MONAI's inferer and our schedulers see it: its mask logits as the diffused variable itself."""

    def __init__(self, net: DCEUNet, prediction_type: str) -> None:
        super().__init__()
        self.net = net
        self.logits = prediction_type == "sample"

    def forward(self, x: torch.Tensor, timesteps: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
        output = self.net(x, timesteps, context)
        return SCALE * (2 * torch.sigmoid(output) - 1) if self.logits else output


@forms
@all_predictions
@deterministic
@both_dims
def test_equals_monais_sampling_loop(dims, scheduler_class, prediction_type, form):
    net = denoiser(dims)
    scheduler = scheduler_class(
        prediction_type=prediction_type, clip_sample=True, clip_sample_min=-SCALE, clip_sample_max=SCALE
    )
    image, noise = start(dims)
    scheduler.set_timesteps(STEPS)
    loop = DiffusionInferer(scheduler)
    members = [
        loop.sample(noise[:, m], MaskPrediction(net, prediction_type), scheduler, conditioning=image, verbose=False)
        for m in range(MEMBERS)
    ]
    expected = ((torch.stack(members) / SCALE + 1) / 2).clamp(0, 1)
    assert expected.std(0).max() > 0.01

    model = form(MedSegDiff(net, scheduler, STEPS, num_ensemble=1, signal_scale=SCALE))
    with torch.no_grad():
        torch.testing.assert_close(model(image, noise), expected.mean(0), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("fusion", ["mean", "majority", "staple"])
@forms
@both_dims
def test_forward_equals_the_inferer_from_the_same_noise(dims, form, fusion, monkeypatch):
    net = denoiser(dims)
    scheduler = DPMSolverScheduler(prediction_type="sample")
    image, _ = start(dims)
    model = MedSegDiff(net, scheduler, STEPS, MEMBERS, fusion, SCALE).eval()
    inferer = DiffusionSegmentationInferer(scheduler, STEPS, MEMBERS, fusion, signal_scale=SCALE)

    with monkeypatch.context() as patch:
        noisy_masks = record_noisy_masks(patch)
        expected = inferer(image, model)
    noise = noisy_masks[0].unflatten(0, (2, MEMBERS))
    with torch.no_grad():
        torch.testing.assert_close(form(model)(image, noise), expected, atol=1e-5, rtol=1e-5)
    assert expected.shape == (2, 2, *[8] * dims)


@all_predictions
@both_dims
def test_every_form_of_the_network_gives_the_same_members(dims, prediction_type, tmp_path):
    net = denoiser(dims)
    scheduler = DPMSolverScheduler(prediction_type=prediction_type)
    model = MedSegDiff(net, scheduler, STEPS, MEMBERS, "staple", SCALE).eval()
    torch.jit.save(torch.jit.script(model), tmp_path / "model.ts")
    inferer = DiffusionSegmentationInferer(scheduler, 3, 2, "majority", signal_scale=SCALE, seed=7)
    image, _ = start(dims)

    expected = inferer.sample(image, model)
    assert (expected[:, 0] - expected[:, 1]).abs().max() > 0.01
    for form in (
        torch.jit.script(model),
        torch.jit.load(tmp_path / "model.ts"),
        net,
        torch.jit.script(net),
        torch.nn.DataParallel(model),
    ):
        torch.testing.assert_close(inferer.sample(image, form), expected, atol=1e-5, rtol=1e-5)


@forms
@pytest.mark.parametrize(
    "scheduler_class",
    [DPMSolverScheduler, DDIMSubsequenceScheduler, DDPMSubsequenceScheduler],
    ids=lambda c: c.__name__,
)
@both_dims
def test_the_image_alone_gives_a_probability(dims, scheduler_class, form):
    model = form(MedSegDiff(denoiser(dims), scheduler_class(prediction_type="sample"), STEPS, 2, signal_scale=SCALE))
    image, _ = start(dims)
    answers = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        with torch.no_grad():
            answers.append(model(image))
    assert answers[0].shape == (2, 2, *[8] * dims)
    assert 0 <= answers[0].min() < answers[0].max() <= 1
    assert torch.equal(answers[0], answers[1])
    assert not torch.equal(answers[0], answers[2])


def test_the_number_of_members_is_that_of_construction(monkeypatch):
    noisy_masks = record_noisy_masks(monkeypatch)
    image, _ = start(2)
    with torch.no_grad():
        MedSegDiff(denoiser(2), DPMSolverScheduler(prediction_type="sample"), STEPS, 5)(image)
    assert [len(x) for x in noisy_masks] == [2 * 5] * STEPS


def test_one_state_dict_serves_every_setting():
    source = MedSegDiff(denoiser(2), DPMSolverScheduler(prediction_type="sample"), 3, 2, signal_scale=SCALE).eval()
    target = MedSegDiff(denoiser(2, 1), DDPMSubsequenceScheduler(prediction_type="sample"), 9, 4, "staple").eval()
    assert set(source.state_dict()) == {f"denoiser.{name}" for name in source.denoiser.state_dict()}
    target.load_state_dict(source.state_dict(), strict=True)

    inferer = DiffusionSegmentationInferer(DPMSolverScheduler(prediction_type="sample"), 3, 2, signal_scale=SCALE)
    image, _ = start(2)
    assert torch.equal(inferer(image, target.denoiser), inferer(image, source.denoiser))


class Certain(torch.nn.Module):
    """Logits that are sure of the first region everywhere and of the second nowhere."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return torch.cat([torch.full_like(image, 100.0), torch.full_like(image, -100.0)], 1)


@forms
def test_extreme_logits_give_extreme_probabilities(form):
    net = ImageOnlyDenoiser(Certain(), out_channels=2, divisor=1)
    model = form(MedSegDiff(net, DPMSolverScheduler(prediction_type="sample"), STEPS, 2, signal_scale=SCALE))
    image, noise = start(2)
    with torch.no_grad():
        probability = model(image, noise)
    assert torch.equal(probability[:, 0], torch.ones(2, 8, 8))
    assert torch.equal(probability[:, 1], torch.zeros(2, 8, 8))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"fusion": "median"}, "fusion must be one of mean, majority, staple, got 'median'"),
        ({"num_ensemble": 0}, "num_ensemble must be at least 1, got 0"),
        ({"num_inference_steps": 0}, "between 1 and the schedule's 1000 trained timesteps, got 0"),
        ({"num_inference_steps": 1001}, "between 1 and the schedule's 1000 trained timesteps, got 1001"),
        ({"signal_scale": 0.0}, "signal scale must be positive"),
    ],
)
def test_refuses_impossible_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        MedSegDiff(denoiser(2), DPMSolverScheduler(prediction_type="sample"), **settings)


def test_refuses_an_image_of_other_channels():
    model = MedSegDiff(denoiser(2), DPMSolverScheduler(prediction_type="sample"), 2, 1)
    with pytest.raises(ValueError, match="image must have 1 channels, got 3"):
        model(torch.zeros(1, 3, 8, 8))


@pytest.mark.parametrize("settings", [{}, {"roi_size": 8}], ids=["whole", "windows"])
@forms
@both_dims
def test_layout_with_the_channels_last_changes_no_answer(dims, form, settings):
    scheduler = DPMSolverScheduler(prediction_type="sample")
    image = torch.randn(1, 1, *(12, 16, 8)[:dims], generator=torch.Generator().manual_seed(1))
    run = DiffusionSegmentationInferer(scheduler, STEPS, MEMBERS, signal_scale=SCALE, **settings)
    plain = MedSegDiff(denoiser(dims), scheduler, STEPS, MEMBERS, signal_scale=SCALE)
    net = form(MedSegDiff(denoiser(dims), scheduler, STEPS, MEMBERS, signal_scale=SCALE, channels_last=True))
    torch.testing.assert_close(run(image, net), run(image, plain), atol=1e-5, rtol=0)
    weights = [p for p in net.denoiser.parameters() if p.dim() == dims + 2 and min(p.shape) > 1]
    assert len(weights) > 3
    net.load_state_dict(plain.state_dict())
    layout = torch.channels_last if dims == 2 else torch.channels_last_3d
    assert all(w.is_contiguous(memory_format=layout) for w in weights)
