# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0


from __future__ import annotations

import pytest
import torch
from monai.data import DataLoader, Dataset, MetaTensor
from monai.engines import SupervisedTrainer

from medsegdiff_monai.engines import DiffusionSegmentationPrepareBatch
from medsegdiff_monai.inferers import DiffusionTrainingInferer
from medsegdiff_monai.losses import MaskDenoisingLoss
from medsegdiff_monai.networks.nets import DCEUNet
from medsegdiff_monai.networks.schedulers import DPMSolverScheduler

SCALE = 0.3
both_dims = pytest.mark.parametrize("dims", [2, 3], ids=["2d", "3d"])


def batch(dims: int, size: int = 3) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        "image": torch.randn(size, 1, *[8] * dims, generator=generator),
        "label": (torch.rand(size, 2, *[8] * dims, generator=generator) > 0.5).float(),
    }


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction", "sample"])
@both_dims
def test_targets_follow_the_prediction_type(dims, prediction_type):
    scheduler = DPMSolverScheduler(prediction_type=prediction_type)
    data = batch(dims)
    torch.manual_seed(0)
    original, target, args, arguments = DiffusionSegmentationPrepareBatch(scheduler, SCALE)(data)
    noise, timesteps = arguments["noise"], arguments["timesteps"]
    abar = scheduler.alphas_cumprod[timesteps].view(-1, *[1] * (dims + 1))
    mask = torch.where(data["label"] > 0, SCALE, -SCALE)
    expected = {
        "epsilon": noise,
        "v_prediction": abar.sqrt() * noise - (1 - abar).sqrt() * mask,
        "sample": data["label"],
    }[prediction_type]
    torch.testing.assert_close(original, mask)
    torch.testing.assert_close(target, expected)
    assert torch.equal(arguments["condition"], data["image"])
    assert args == ()
    assert arguments.keys() == {"noise", "timesteps", "condition"}


def test_noise_is_normal_and_timesteps_are_uniform():
    data = {"image": torch.zeros(4000, 1, 2, 2), "label": torch.zeros(4000, 1, 2, 2)}
    torch.manual_seed(0)
    _, _, _, arguments = DiffusionSegmentationPrepareBatch(DPMSolverScheduler(num_train_timesteps=40))(data)
    assert float(arguments["noise"].mean()) == pytest.approx(0, abs=0.03)
    assert float(arguments["noise"].std()) == pytest.approx(1, abs=0.03)
    counts = torch.bincount(arguments["timesteps"], minlength=40)
    assert len(counts) == 40
    assert counts.min() > 50
    assert counts.max() < 160


@pytest.mark.parametrize("timestep_power", [0.5, 1.0, 3.0])
def test_a_power_favours_noisy_timesteps(timestep_power):
    data = {"image": torch.zeros(4000, 1, 1, 1), "label": torch.zeros(4000, 1, 1, 1)}
    torch.manual_seed(0)
    prepare = DiffusionSegmentationPrepareBatch(DPMSolverScheduler(), timestep_power=timestep_power)
    timesteps = prepare(data)[3]["timesteps"]
    assert timesteps.dtype == torch.int64
    assert 0 <= timesteps.min() < timesteps.max() <= 999
    for quarter in (250, 500, 750):
        share = float((timesteps < quarter).float().mean())
        assert share == pytest.approx((quarter / 1000) ** timestep_power, abs=0.03)


@pytest.mark.parametrize("timestep_power", [0.0, -1.0, float("nan")])
def test_refuses_an_impossible_power(timestep_power):
    with pytest.raises(ValueError, match="timestep_power must be positive"):
        DiffusionSegmentationPrepareBatch(DPMSolverScheduler(), timestep_power=timestep_power)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.bool, torch.int64, torch.float64])
def test_labels_of_any_type_become_that_of_the_image(dtype):
    data = batch(2)
    expected = DiffusionSegmentationPrepareBatch(DPMSolverScheduler(prediction_type="sample"), SCALE)
    torch.manual_seed(0)
    original, target, _, _ = expected(data)
    torch.manual_seed(0)
    other_original, other_target, _, _ = expected({**data, "label": data["label"].to(dtype)})
    assert torch.equal(other_original, original)
    assert torch.equal(other_target, target)


def test_metadata_is_left_behind():
    data = {key: MetaTensor(value, affine=torch.eye(4)) for key, value in batch(2).items()}
    original, target, _, arguments = DiffusionSegmentationPrepareBatch(DPMSolverScheduler())(data, "cpu")
    for tensor in (original, target, *arguments.values()):
        assert type(tensor) is torch.Tensor


def test_keys_may_be_named():
    data = batch(2)
    renamed = {"mri": data["image"], "mask": data["label"]}
    prepare = DiffusionSegmentationPrepareBatch(DPMSolverScheduler(), image_key="mri", label_key="mask")
    original, _, _, arguments = prepare(renamed)
    assert torch.equal(arguments["condition"], data["image"])
    assert torch.equal(original, 2 * data["label"] - 1)


@pytest.mark.parametrize(
    ("prediction_type", "loss_function"),
    [("sample", MaskDenoisingLoss()), ("epsilon", torch.nn.MSELoss()), ("v_prediction", torch.nn.MSELoss())],
)
@both_dims
def test_monais_trainer_trains_with_it(dims, prediction_type, loss_function):
    torch.manual_seed(0)
    net = DCEUNet(dims, 2, 2, 1, channels=(8, 16), num_res_blocks=1, fusion_levels=(False, True), spatial_size=8)
    scheduler = DPMSolverScheduler(prediction_type=prediction_type)
    data = batch(dims, size=8)
    cases = [{"image": data["image"][i], "label": data["label"][i]} for i in range(8)]
    prepare = DiffusionSegmentationPrepareBatch(scheduler, SCALE)

    def loss_over_the_schedule() -> float:
        torch.manual_seed(1)
        many = {key: value.repeat(8, *[1] * (dims + 1)) for key, value in data.items()}
        inputs, target, _, arguments = prepare(many)
        with torch.no_grad():
            return float(loss_function(DiffusionTrainingInferer(scheduler, SCALE)(inputs, net, **arguments), target))

    before = loss_over_the_schedule()
    trainer = SupervisedTrainer(
        device=torch.device("cpu"),
        max_epochs=20,
        train_data_loader=DataLoader(Dataset(cases), batch_size=8),
        network=net,
        optimizer=torch.optim.AdamW(net.parameters(), lr=5e-3),
        loss_function=loss_function,
        prepare_batch=prepare,
        inferer=DiffusionTrainingInferer(scheduler, SCALE, 0.5 if prediction_type == "sample" else 0.0),
    )
    trainer.run()
    assert trainer.state.iteration == 20
    assert loss_over_the_schedule() < 0.9 * before
