# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0


from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.inferers import Inferer

from medsegdiff_monai.inferers import DiffusionSegmentationInferer, SegmentationPrediction, member_noise
from medsegdiff_monai.networks.fusion import fuse_members
from medsegdiff_monai.networks.nets import DCEUNet, MedSegDiff
from medsegdiff_monai.networks.schedulers import (
    DDIMSubsequenceScheduler,
    DDPMSubsequenceScheduler,
    DPMSolverScheduler,
)

SCALE = 0.3
both_dims = pytest.mark.parametrize("dims", [2, 3], ids=["2d", "3d"])
stochastic_too = pytest.mark.parametrize(
    "scheduler_class", [DPMSolverScheduler, DDPMSubsequenceScheduler], ids=["dpm_solver", "ddpm"]
)


def scheduler(scheduler_class=DPMSolverScheduler, **settings):
    return scheduler_class(**{"prediction_type": "sample", **settings})


def inferer(**settings) -> DiffusionSegmentationInferer:
    arguments = {"num_inference_steps": 3, "num_ensemble": 3, "signal_scale": SCALE, **settings}
    return DiffusionSegmentationInferer(arguments.pop("scheduler", scheduler()), **arguments)


def denoiser(dims: int) -> DCEUNet:
    """A denoiser with random weights, whose answer depends on the noisy mask more than at initialisation."""
    torch.manual_seed(0)
    net = DCEUNet(dims, 2, 2, 1, channels=(8, 16), num_res_blocks=1, fusion_levels=(False, True), spatial_size=8)
    for parameter in net.parameters():
        parameter.data += 0.2 * torch.randn(parameter.shape)
    return net.eval()


def images(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


class PointwiseDenoiser(torch.nn.Module):
    """A denoiser that answers for each pixel from this pixel alone, and counts its calls."""

    def __init__(self, divisor: int = 1) -> None:
        super().__init__()
        self.in_channels = 1
        self.divisor = divisor
        self.encoded: list[tuple[int, ...]] = []
        self.denoised: list[tuple[int, ...]] = []

    def encode_image(self, context: torch.Tensor) -> list[torch.Tensor]:
        self.encoded.append(tuple(context.shape))
        return [context]

    def denoise(self, x: torch.Tensor, timesteps: torch.Tensor, features: list[torch.Tensor]) -> torch.Tensor:
        self.denoised.append(tuple(x.shape))
        return 2 * features[0] + torch.sin(20 * x) + timesteps / 1000


@both_dims
def test_is_a_monai_inferer_that_gives_a_probability(dims):
    assert isinstance(inferer(), Inferer)
    probability = inferer()(images(2, 1, *[8] * dims), denoiser(dims))
    assert probability.shape == (2, 2, *[8] * dims)
    assert 0 <= probability.min() < probability.max() <= 1
    assert not probability.requires_grad


@pytest.mark.parametrize("fusion", ["mean", "majority", "staple"])
@both_dims
def test_fuses_its_members(dims, fusion):
    image, net = images(2, 1, *[8] * dims), denoiser(dims)
    ensemble = inferer(fusion=fusion)
    members = ensemble.sample(image, net)
    assert members.shape == (2, 3, 2, *[8] * dims)
    assert members.std(1).max() > 0.01
    torch.testing.assert_close(ensemble(image, net), fuse_members(members, fusion), atol=1e-6, rtol=0)


@both_dims
def test_prediction_holds_probability_uncertainty_and_members(dims):
    image, net = images(2, 1, *[8] * dims), denoiser(dims)
    ensemble = inferer(fusion="staple")
    prediction = ensemble.predict(image, net)
    assert isinstance(prediction, SegmentationPrediction)
    assert torch.equal(prediction.members, ensemble.sample(image, net))
    assert torch.equal(prediction.probability, ensemble(image, net))

    p = prediction.members.double().numpy().mean(1)
    p = np.clip(p, 1e-12, 1 - 1e-12)
    entropy = -(p * np.log2(p) + (1 - p) * np.log2(1 - p))
    np.testing.assert_allclose(prediction.uncertainty.numpy(), entropy, atol=1e-5)


def test_entropy_of_certain_and_of_opposite_members():
    members = torch.tensor([[0.0, 1.0, 0.0, 0.5], [0.0, 1.0, 1.0, 0.5]]).reshape(1, 2, 1, 2, 2)
    expected = torch.tensor([[0.0, 0.0], [1.0, 1.0]]).reshape(1, 1, 2, 2)
    torch.testing.assert_close(SegmentationPrediction.from_members(members).uncertainty, expected)


@both_dims
@stochastic_too
def test_a_seed_makes_the_same_members_whatever_the_batch_sizes(dims, scheduler_class):
    image, net = images(3, 1, *[8] * dims), denoiser(dims)
    settings = {"scheduler": scheduler(scheduler_class), "num_ensemble": 5, "seed": 11}
    expected = inferer(**settings).sample(image, net)
    assert torch.equal(inferer(**settings).sample(image, net), expected)
    for member_batch_size in (1, 2, 3, 5, 100):
        members = inferer(**settings, member_batch_size=member_batch_size).sample(image, net)
        torch.testing.assert_close(members, expected, atol=1e-5, rtol=1e-5)
    for i in range(3):
        alone = inferer(**settings).sample(image[i : i + 1], net)
        torch.testing.assert_close(alone, expected[i : i + 1], atol=1e-5, rtol=1e-5)
    fewer = inferer(**{**settings, "num_ensemble": 2}).sample(image, net)
    torch.testing.assert_close(fewer, expected[:, :2], atol=1e-5, rtol=1e-5)


@stochastic_too
def test_members_seeds_and_unseeded_runs_differ(scheduler_class):
    image, net = images(1, 1, 8, 8), denoiser(2)
    settings = {"scheduler": scheduler(scheduler_class)}
    first, second = (inferer(**settings, seed=seed).sample(image, net) for seed in (0, 1))
    runs = [*first[0], *second[0]]
    unseeded = inferer(**settings, seed=None)
    runs += [*unseeded.sample(image, net)[0], *unseeded.sample(image, net)[0]]
    for i, a in enumerate(runs):
        for b in runs[:i]:
            assert (a - b).abs().max() > 0.01


def test_sampling_leaves_the_global_generator_alone():
    net = denoiser(2)
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    inferer(scheduler=scheduler(DDPMSubsequenceScheduler)).sample(images(1, 1, 8, 8), net)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("step", [0, 2])
def test_noise_of_a_member_and_a_step_is_its_own_whichever_members_are_drawn_with_it(step):
    for members in (range(5), range(2, 4), range(4, 5)):
        noise = member_noise(3, members, [2, 4], step)
        assert noise.shape == (len(members), 2, 4)
        for m, of_member in zip(members, noise, strict=True):
            generator = torch.Generator().manual_seed((3 * 1_000_003 + m) * 1_009 + step)
            assert torch.equal(of_member, torch.randn(2, 4, generator=generator))
    assert not torch.equal(member_noise(None, range(1), [2, 4], step), member_noise(None, range(1), [2, 4], step))


def test_starts_from_standard_normal_noise():
    """A denoiser that answers with the noisy mask itself shows the noise at a single step."""
    net = PointwiseDenoiser()
    net.denoise = lambda x, timesteps, features: x
    ensemble = DiffusionSegmentationInferer(scheduler(), 1, 8, signal_scale=1.0)
    members = ensemble.sample(images(1, 1, 64, 64), net)
    noise = torch.logit(members.double())
    assert float(noise.mean()) == pytest.approx(0, abs=0.02)
    assert float(noise.std()) == pytest.approx(1, abs=0.02)
    correlation = torch.corrcoef(noise[0].flatten(1))
    assert (correlation - torch.eye(8)).abs().max() < 0.06


@pytest.mark.parametrize(
    "scheduler_class",
    [DPMSolverScheduler, DDIMSubsequenceScheduler, DDPMSubsequenceScheduler],
    ids=["dpm_solver", "ddim", "ddpm"],
)
def test_members_follow_the_distribution_that_the_denoiser_knows(scheduler_class):
    """With the noise that is in a diffused ``N(0.1, 0.2^2)``, members of mean 0.55 and standard deviation 0.1."""
    mean, std = 0.1, 0.2
    sampler = scheduler(scheduler_class, prediction_type="epsilon")
    net = PointwiseDenoiser()

    def noise_in(x: torch.Tensor, timesteps: torch.Tensor, features: list[torch.Tensor]) -> torch.Tensor:
        abar = sampler.alphas_cumprod[timesteps].view(-1, 1, 1, 1)
        return (1 - abar).sqrt() * (x - abar.sqrt() * mean) / (abar * std**2 + 1 - abar)

    net.denoise = noise_in
    members = DiffusionSegmentationInferer(sampler, 200, 4, member_batch_size=3).sample(images(1, 1, 64, 64), net)
    assert float(members.mean()) == pytest.approx(0.55, abs=0.005)
    assert float(members.std()) == pytest.approx(0.1, rel=0.05)


def test_encodes_the_image_once_and_evaluates_the_network_once_a_step():
    net = PointwiseDenoiser()
    inferer(num_inference_steps=4, num_ensemble=5, member_batch_size=2).sample(images(3, 1, 6, 7), net)
    assert net.encoded == [(3, 1, 6, 7)]
    assert net.denoised == [(6, 1, 6, 7)] * 4 + [(6, 1, 6, 7)] * 4 + [(3, 1, 6, 7)] * 4


@pytest.mark.parametrize("size", [(9, 14), (7, 7), (5, 8, 9)])
@pytest.mark.parametrize("form", [lambda m: m, torch.jit.script], ids=["eager", "scripted"])
def test_a_size_that_the_stride_does_not_divide_is_padded_and_cropped(size, form):
    image, net = images(2, 1, *size), denoiser(len(size))
    model = form(MedSegDiff(net, scheduler(), 3, 3, signal_scale=SCALE))
    members = inferer().sample(image, model)
    assert members.shape == (2, 3, 2, *size)
    padding = [p for s in reversed(size) for p in (0, s % 2)]
    padded = torch.nn.functional.pad(image, padding, mode="replicate")
    expected = inferer().sample(padded, net)[(..., *(slice(s) for s in size))]
    torch.testing.assert_close(members, expected, atol=1e-5, rtol=1e-5)


@both_dims
def test_a_window_as_large_as_the_image_is_the_whole_image(dims):
    image, net = images(2, 1, *(8, 12, 10)[:dims]), denoiser(dims)
    expected = inferer().sample(image, net)
    windowed = inferer(roi_size=(8, 12, 10)[:dims]).sample(image, net)
    torch.testing.assert_close(windowed, expected, atol=1e-5, rtol=1e-5)


@both_dims
def test_windows_do_not_depend_on_their_batch(dims):
    image, net = images(2, 1, *(12, 16, 8)[:dims]), denoiser(dims)
    expected = inferer(roi_size=8).sample(image, net)
    assert expected.shape == (2, 3, 2, *(12, 16, 8)[:dims])
    for sw_batch_size in (2, 5):
        windowed = inferer(roi_size=8, sw_batch_size=sw_batch_size).sample(image, net)
        torch.testing.assert_close(windowed, expected, atol=1e-5, rtol=1e-5)
    assert (inferer().sample(image, net) - expected).abs().max() > 1e-3


@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.6])
@pytest.mark.parametrize(("size", "roi_size"), [((13, 22), (8, 8)), ((12, 9, 15), (6, 8, 10)), ((5, 20), (8, 6))])
def test_windows_start_from_the_noise_of_the_whole_image(size, roi_size, overlap):
    """For a denoiser without a receptive field, windows change nothing."""
    image = images(2, 1, *size)
    padded = [max(s, r) for s, r in zip(size, roi_size)]
    padding = [p for s, t in zip(reversed(size), reversed(padded)) for p in (0, t - s)]
    whole = inferer().sample(torch.nn.functional.pad(image, padding, mode="replicate"), PointwiseDenoiser())
    windowed = inferer(roi_size=roi_size, overlap=overlap).sample(image, PointwiseDenoiser())
    expected = whole[(..., *(slice(s) for s in size))]
    torch.testing.assert_close(windowed, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("overlap", [0.0, 0.4])
@pytest.mark.parametrize("logit", [-100.0, 100.0])
def test_windows_keep_certain_members_certain(overlap, logit):
    """Blending rounds; a probability above 1 would have no entropy."""
    net = PointwiseDenoiser()
    net.denoise = lambda x, timesteps, features: torch.full_like(x, logit)
    prediction = inferer(roi_size=16, overlap=overlap).predict(images(1, 1, 37, 41), net)
    for values in prediction:
        assert torch.isfinite(values).all()
        assert values.min() >= 0
        assert values.max() <= 1
    assert prediction.uncertainty.max() < 1e-4


@pytest.mark.parametrize("roi_size", [None, 8])
def test_reduced_precision_of_the_caller_stays_near_full_precision_and_answers_in_it(roi_size):
    image, net = images(1, 1, 16, 16), denoiser(2)
    full = inferer(roi_size=roi_size)(image, net)
    with torch.autocast("cpu", torch.bfloat16):
        reduced = inferer(roi_size=roi_size)(image, net)
    assert reduced.dtype == torch.float32
    assert 0 < (full - reduced).abs().max() < 0.05


@both_dims
@pytest.mark.parametrize("roi_size", [None, 8])
def test_metadata_passes_through(dims, roi_size):
    affine = torch.diag(torch.tensor([2.0, 3.0, 4.0, 1.0]))
    affine[:3, 3] = torch.tensor([5.0, -6.0, 7.0])
    image = MetaTensor(images(1, 1, *[12] * dims), affine=affine, meta={"filename_or_obj": "case"})
    net, ensemble = denoiser(dims), inferer(roi_size=roi_size)
    prediction = ensemble.predict(image, net)
    for output in (ensemble(image, net), prediction.probability, prediction.uncertainty):
        assert isinstance(output, MetaTensor)
        assert torch.equal(output.affine, image.affine)
        assert output.meta["filename_or_obj"] == "case"
    torch.testing.assert_close(ensemble(image, net).as_tensor(), ensemble(image.as_tensor(), net))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"scheduler": scheduler(prediction_type="epsilon")}, "prediction type: sample and epsilon"),
        ({"signal_scale": 1.0}, "signal scale: 0.3 and 1.0"),
        ({"scheduler": scheduler(beta_end=0.01)}, "noise schedule"),
        ({"scheduler": scheduler(num_train_timesteps=500)}, "noise schedule"),
    ],
)
@pytest.mark.parametrize("form", [lambda m: m, torch.jit.script], ids=["eager", "scripted"])
def test_refuses_a_network_of_another_diffusion(form, settings, message):
    model = form(MedSegDiff(denoiser(2), scheduler(), 3, 3, signal_scale=SCALE))
    with pytest.raises(ValueError, match=f"set to different values of the {message}"):
        inferer(**settings)(images(1, 1, 8, 8), model)


def test_the_sampler_may_differ_from_the_networks_own():
    model = MedSegDiff(denoiser(2), scheduler(), 3, 3, signal_scale=SCALE)
    image = images(1, 1, 8, 8)
    other = inferer(scheduler=scheduler(DDIMSubsequenceScheduler, timestep_spacing="uniform"), num_inference_steps=5)
    torch.testing.assert_close(other.sample(image, model), other.sample(image, model.denoiser))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_ensemble": 0}, "num_ensemble must be at least 1, got 0"),
        ({"member_batch_size": 0}, "member_batch_size must be at least 1, got 0"),
        ({"num_inference_steps": 0}, "between 1 and the schedule's 1000 trained timesteps, got 0"),
        ({"num_inference_steps": 1001}, "between 1 and the schedule's 1000 trained timesteps, got 1001"),
        ({"fusion": "median"}, "fusion must be one of mean, majority, staple, got 'median'"),
    ],
)
def test_refuses_impossible_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        inferer(**settings)


@pytest.mark.parametrize("roi_size", [None, 8])
def test_refuses_an_image_of_other_channels(roi_size):
    with pytest.raises(ValueError, match="image must have 1 channels, got 3"):
        inferer(roi_size=roi_size)(images(1, 3, 8, 8), denoiser(2))


def test_progress_is_shown_on_request(capsys):
    image, net = images(1, 1, 8, 8), PointwiseDenoiser()
    inferer()(image, net)
    assert capsys.readouterr().err == ""
    inferer(progress=True, num_inference_steps=4, num_ensemble=3, member_batch_size=2)(image, net)
    assert "/8" in capsys.readouterr().err
