# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0


from __future__ import annotations

import pytest
import torch
from monai.inferers import DiffusionInferer
from scipy.stats import kstest

from medsegdiff_monai.engines import DiffusionSegmentationPrepareBatch
from medsegdiff_monai.inferers import DiffusionSegmentationInferer, DiffusionTrainingInferer
from medsegdiff_monai.losses import MaskDenoisingLoss
from medsegdiff_monai.networks.nets import DCEUNet, MedSegDiff
from medsegdiff_monai.networks.schedulers import DPMSolverScheduler

SCALE = 0.3
both_dims = pytest.mark.parametrize("dims", [2, 3], ids=["2d", "3d"])
all_predictions = pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction", "sample"])


class Recording(torch.nn.Module):
    """A denoiser that keeps what it is called with, and in which mode."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor(2.0))
        self.calls: list[dict] = []

    def forward(self, x: torch.Tensor, timesteps: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
        mode = {"grad": torch.is_grad_enabled(), "autocast": torch.is_autocast_enabled("cpu")}
        self.calls.append({"x": x, "timesteps": timesteps, "context": context, **mode})
        return self.weight * torch.sin(3 * x) + context


def batch(dims: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    shape = (4, 1, *[6] * dims)
    return {
        "inputs": SCALE * torch.randn(shape, generator=generator).sign(),
        "noise": torch.randn(shape, generator=generator),
        "timesteps": torch.tensor([0, 300, 700, 999]),
        "condition": torch.randn(shape, generator=generator),
    }


@all_predictions
@both_dims
def test_without_recycling_it_is_monais_inferer(dims, prediction_type):
    scheduler = DPMSolverScheduler(prediction_type=prediction_type)
    net = Recording()
    expected = DiffusionInferer(scheduler)(diffusion_model=net, **batch(dims))
    actual = DiffusionTrainingInferer(scheduler, SCALE)(diffusion_model=net, **batch(dims))
    assert torch.equal(actual, expected)
    assert len(net.calls) == 2


@both_dims
def test_with_recycling_the_network_sees_its_own_estimate(dims):
    scheduler = DPMSolverScheduler(prediction_type="sample")
    inferer = DiffusionTrainingInferer(scheduler, SCALE, recycling_probability=1.0)
    assert isinstance(inferer, DiffusionInferer)
    net = Recording()
    data = batch(dims)
    torch.manual_seed(0)
    prediction = inferer(diffusion_model=net, **data)
    first, second = net.calls

    assert torch.equal(first["timesteps"], torch.full((4,), 999))
    assert torch.equal(first["context"], data["condition"])
    assert float(first["x"].std()) == pytest.approx(1, abs=0.15)
    assert not first["grad"]

    with torch.no_grad():
        output = 2.0 * torch.sin(3 * first["x"]) + data["condition"]
    estimate = SCALE * (2 * torch.sigmoid(output) - 1)
    abar = scheduler.alphas_cumprod[second["timesteps"]].view(-1, *[1] * (dims + 1))
    noisy = abar.sqrt() * estimate + (1 - abar).sqrt() * data["noise"]
    torch.testing.assert_close(second["x"], noisy, atol=1e-5, rtol=1e-4)
    assert second["grad"]
    torch.testing.assert_close(prediction, 2.0 * torch.sin(3 * second["x"]) + data["condition"])
    assert prediction.requires_grad


def test_recycled_batches_draw_all_timesteps_alike():
    inferer = DiffusionTrainingInferer(DPMSolverScheduler(prediction_type="sample"), SCALE, recycling_probability=1.0)
    net = Recording()
    torch.manual_seed(0)
    for _ in range(500):
        inferer(diffusion_model=net, **batch(2))
    drawn = torch.cat([call["timesteps"] for call in net.calls[1::2]]).double()
    assert kstest(drawn / 1000, "uniform").pvalue > 0.01
    assert 0 <= drawn.min() < 10
    assert 990 < drawn.max() <= 999


def test_under_deep_supervision_the_finest_estimate_is_recycled():
    class Stacking(Recording):
        def forward(self, x, timesteps, context):
            finest = super().forward(x, timesteps, context)
            return torch.stack([finest, torch.zeros_like(finest)], dim=1)

    data = batch(2)
    seen = []
    for net in (Recording(), Stacking()):
        torch.manual_seed(0)
        inferer = DiffusionTrainingInferer(DPMSolverScheduler(prediction_type="sample"), SCALE, 1.0)
        prediction = inferer(diffusion_model=net, **data)
        seen.append(net.calls[1]["x"])
    assert torch.equal(*seen)
    assert prediction.shape == (4, 2, 1, 6, 6)


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
def test_refuses_to_recycle_where_the_target_depends_on_the_noisy_mask(prediction_type):
    scheduler = DPMSolverScheduler(prediction_type=prediction_type)
    with pytest.raises(ValueError, match=f"must be 0 with prediction type {prediction_type}"):
        DiffusionTrainingInferer(scheduler, SCALE, recycling_probability=0.5)


def test_the_share_of_recycled_batches_is_the_probability():
    inferer = DiffusionTrainingInferer(DPMSolverScheduler(prediction_type="sample"), SCALE, recycling_probability=0.3)
    net = Recording()
    torch.manual_seed(0)
    for _ in range(500):
        inferer(diffusion_model=net, **batch(2))
    assert (len(net.calls) - 500) / 500 == pytest.approx(0.3, abs=0.05)


@pytest.mark.parametrize("recycling_probability", [0.0, 1.0])
def test_amp_runs_every_pass_under_autocast_and_returns_float32(recycling_probability):
    scheduler = DPMSolverScheduler(prediction_type="sample")
    for amp_dtype, expected in ((None, False), ("bfloat16", True)):
        net = Recording()
        inferer = DiffusionTrainingInferer(scheduler, SCALE, recycling_probability, amp_dtype)
        assert inferer(diffusion_model=net, **batch(2)).dtype == torch.float32
        assert [call["autocast"] for call in net.calls] == [expected] * (1 + int(recycling_probability))

    torch.manual_seed(0)
    net = DCEUNet(2, 1, 1, 1, channels=(8, 16), num_res_blocks=1, fusion_levels=(False, True), spatial_size=6)
    outputs = []
    for amp_dtype in (None, "bfloat16"):
        torch.manual_seed(1)
        inferer = DiffusionTrainingInferer(scheduler, SCALE, recycling_probability, amp_dtype)
        outputs.append(inferer(diffusion_model=net, **batch(2)))
    assert [output.dtype for output in outputs] == [torch.float32] * 2
    assert 0 < (outputs[1] - outputs[0]).std() < 0.05 * outputs[0].std()


@pytest.mark.parametrize("probability", [-0.1, 1.1])
def test_refuses_an_impossible_probability(probability):
    with pytest.raises(ValueError, match=f"recycling_probability must be within 0 and 1, got {probability}"):
        DiffusionTrainingInferer(DPMSolverScheduler(prediction_type="sample"), SCALE, probability)


@pytest.mark.parametrize(("dims", "size"), [(2, 32), (3, 16)], ids=["2d", "3d"])
def test_the_default_recipe_overfits_one_image(dims, size):
    torch.manual_seed(0)
    grid = torch.stack(torch.meshgrid(*[torch.linspace(-1, 1, size)] * dims, indexing="ij"))
    axes = torch.tensor([0.6, 0.4, 0.5])[:dims].view(-1, *[1] * dims)
    label = ((((grid - 0.1) / axes) ** 2).sum(0) < 1).float()[None, None]
    image = label + 0.5 * torch.randn_like(label)
    scheduler = DPMSolverScheduler(prediction_type="sample")
    net = DCEUNet(
        dims, 1, 1, 1, channels=(8, 16, 32), num_res_blocks=1, fusion_levels=(False, True, True), spatial_size=size
    )
    prepare = DiffusionSegmentationPrepareBatch(scheduler, SCALE)
    inferer = DiffusionTrainingInferer(scheduler, SCALE, recycling_probability=0.5)
    loss_function = MaskDenoisingLoss()
    optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3)
    data = {"image": image.repeat(2, *[1] * (dims + 1)), "label": label.repeat(2, *[1] * (dims + 1))}
    for _ in range(100):
        inputs, targets, _, arguments = prepare(data)
        loss = loss_function(inferer(inputs, net, **arguments), targets)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()

    model = MedSegDiff(net.eval(), scheduler, signal_scale=SCALE)
    for steps in (1, 5):
        sampler = DiffusionSegmentationInferer(scheduler, steps, num_ensemble=3, signal_scale=SCALE)
        for member in (sampler(image, model), *sampler.sample(image, model)[0]):
            mask = member.reshape(label.shape) > 0.5
            dice = 2 * (mask * label).sum() / (mask.sum() + label.sum())
            assert dice > 0.99


@pytest.mark.parametrize(("depth", "reduced"), [(32, False), (16, False), (48, True), (64, True)])
def test_volumes_that_would_get_wrong_gradients_are_trained_in_float32(depth: int, reduced: bool) -> None:
    """Weights' gradients in reduced precision agree with float32 or are not taken in it, down to the last level."""
    torch.manual_seed(0)
    network = DCEUNet(3, 1, 1, 1, (8, 8, 8, 8, 16), 1, (False,) * 5, spatial_size=16)
    shape = (2, 1, depth, 16, 16)
    x, noise, image = torch.rand(shape), torch.randn(shape), torch.rand(shape)
    gradients = []
    for dtype in (None, "bfloat16"):
        inferer = DiffusionTrainingInferer(DPMSolverScheduler(prediction_type="sample"), amp_dtype=dtype)
        network.zero_grad()
        inferer(x, network, noise, torch.tensor([100, 700]), image).square().mean().backward()
        gradients.append(torch.cat([p.grad.flatten() for p in network.parameters()]))
    torch.testing.assert_close(gradients[1].norm(), gradients[0].norm(), rtol=0.05, atol=0)
    assert torch.equal(*gradients) is not reduced
