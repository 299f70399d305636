# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0


"""The settings of DCEUNet that make it cheap: sub-pixels, a narrow mask encoder, added skips; and deep supervision."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from medsegdiff_monai.networks.blocks import space_to_patches
from medsegdiff_monai.networks.nets import DCEUNet, MedSegDiff
from medsegdiff_monai.networks.schedulers import DPMSolverScheduler

both_dims = pytest.mark.parametrize("dims", [2, 3], ids=["2d", "3d"])
EFFICIENT = {
    "channels": (8, 16, 16),
    "num_res_blocks": 1,
    "fusion_levels": (False, True, True),
    "mask_channels": (4, 4, 8),
    "mask_num_res_blocks": (0, 1, 1),
    "additive_skips": True,
    "subpixel_factor": 2,
    "deep_supervision": 2,
    "fusion_residual": True,
    "spatial_size": 16,
}


def efficient_net(dims: int, **settings: Any) -> DCEUNet:
    torch.manual_seed(0)
    return DCEUNet(dims, 1, 2, 3, **{**EFFICIENT, **settings}).eval()


def inputs(dims: int, size: int = 16) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(2, 1, *[size] * dims, generator=generator)
    return x, torch.tensor([100, 800]), torch.randn(2, 3, *[size] * dims, generator=generator)


@both_dims
def test_one_prediction_in_use_and_one_for_each_resolution_in_training(dims: int) -> None:
    net = efficient_net(dims)
    x, timesteps, image = inputs(dims)
    answer = net(x, timesteps, image)
    assert answer.shape == (2, 2, *[16] * dims)
    stacked = net.train()(x, timesteps, image)
    assert stacked.shape == (2, 3, 2, *[16] * dims)
    torch.testing.assert_close(stacked[:, 0], answer)
    stacked.square().mean().backward()
    assert all(p.grad is not None for p in net.parameters())


@both_dims
def test_coarse_predictions_are_coarse(dims: int) -> None:
    """Neighbouring voxels of a prediction at a quarter of the resolution differ less than those of the finest."""
    net = efficient_net(dims).train()
    stacked = net(*inputs(dims, 32))
    steps = [p.diff(dim=-1).abs().mean() / p.std() for p in stacked.unbind(1)]
    assert steps[2] < steps[1] < steps[0]


@both_dims
def test_every_voxel_of_image_and_mask_reaches_the_answer(dims: int) -> None:
    net = efficient_net(dims)
    x, timesteps, image = inputs(dims)
    x.requires_grad_()
    image.requires_grad_()
    net(x, timesteps, image).square().sum().backward()
    assert (x.grad != 0).all()
    assert (image.grad != 0).all()


@both_dims
def test_neighbouring_voxels_get_answers_of_their_own(dims: int) -> None:
    answer = efficient_net(dims)(*inputs(dims))
    corners = [answer[..., i::2] for i in (0, 1)]
    assert (corners[0] - corners[1]).abs().min() > 0


def test_the_stride_counts_the_sub_pixels() -> None:
    net = efficient_net(2)
    assert net.divisor == 8
    x, timesteps, image = inputs(2, 24)
    assert net(x, timesteps, image).shape == (2, 2, 24, 24)
    with pytest.raises(ValueError, match="divisible by 8"):
        net(*inputs(2, 20))


def test_the_narrow_encoder_and_added_skips_save_parameters_where_they_should() -> None:
    def count(**settings: Any) -> dict[str, int]:
        net = efficient_net(2, **settings)
        return {name: sum(p.numel() for p in part.parameters()) for name, part in net.named_children()}

    efficient, wide = count(), count(mask_channels=None, mask_num_res_blocks=None)
    concatenated = count(additive_skips=False)
    assert efficient["mask_encoder"] < wide["mask_encoder"]
    assert wide["mask_projections"] == 0
    assert efficient["image_encoder"] == wide["image_encoder"]
    assert efficient["decoder"] < concatenated["decoder"]


@both_dims
def test_scripts_with_the_sampler_around_it(dims: int) -> None:
    net = efficient_net(dims)
    denoiser = DCEUNet(dims, 1, 1, 3, **EFFICIENT).eval()
    model = MedSegDiff(denoiser, DPMSolverScheduler(prediction_type="sample"), 3, 2, signal_scale=0.3).eval()
    _, _, image = inputs(dims)
    noise = torch.randn(2, 2, 1, *[16] * dims, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(torch.jit.script(model)(image, noise), model(image, noise))
    x, timesteps, _ = inputs(dims)
    torch.testing.assert_close(torch.jit.script(net)(x, timesteps, image), net(x, timesteps, image))


def test_patches_in_plane_keep_thick_slices_apart() -> None:
    net = efficient_net(3, subpixel_factor=(2, 2, 1))
    assert net.divisor == 8
    x, timesteps, image = inputs(3)
    stem = net.image_encoder.stem(space_to_patches(image, net.subpixel_factor))
    assert stem.shape == (2, 8, 8, 8, 16)
    assert net(x, timesteps, image).shape == (2, 2, 16, 16, 16)
    torch.testing.assert_close(torch.jit.script(net)(x, timesteps, image), net(x, timesteps, image))


@pytest.mark.parametrize("steps", [1, 3])
def test_the_sampler_takes_the_finest_prediction_in_training_mode_as_well(steps: int) -> None:
    torch.manual_seed(0)
    denoiser = DCEUNet(2, 1, 1, 3, **EFFICIENT)
    model = MedSegDiff(denoiser, DPMSolverScheduler(prediction_type="sample"), steps, 2, signal_scale=0.3)
    _, _, image = inputs(2)
    noise = torch.randn(2, 2, 1, 16, 16, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(model.train()(image, noise), model.eval()(image, noise))
    model.train()
    torch.testing.assert_close(torch.jit.script(model)(image, noise), model(image, noise))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"subpixel_factor": 0}, r"subpixel_factor must be at least 1, .* got \(0, 0\)"),
        ({"subpixel_factor": (2, 2, 1)}, r"one number or one for each of 2 axes, got \(2, 2, 1\)"),
        ({"deep_supervision": 3}, "deep_supervision must be from 0 to 2, got 3"),
        ({"mask_channels": (4, 4)}, r"mask_channels=\(4, 4\) for channels=\(8, 16, 16\)"),
        ({"mask_num_res_blocks": (0, -1, 1)}, r"mask_num_res_blocks must not be less than 0, got \(0, -1, 1\)"),
    ],
)
def test_refuses(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        efficient_net(2, **settings)
