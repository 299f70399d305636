# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0


from __future__ import annotations

import math
import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from medsegdiff_monai.networks.blocks import FFParser
from medsegdiff_monai.networks.nets import VARIANTS, DCEUNet

both_dims = pytest.mark.parametrize("dims", [2, 3], ids=["2d", "3d"])
forms = pytest.mark.parametrize("form", [lambda m: m, torch.jit.script], ids=["eager", "scripted"])


def small_net(dims: int, **settings) -> DCEUNet:
    torch.manual_seed(0)
    arguments = {
        "in_channels": 2,
        "out_channels": 3,
        "context_channels": 4,
        "channels": (8, 16, 16),
        "num_res_blocks": 1,
        "fusion_levels": (False, True, False),
        "spatial_size": 16,
        **settings,
    }
    return DCEUNet(dims, **arguments).eval()


def inputs(dims: int, batch: int = 2, size: int | tuple[int, ...] = 16) -> tuple[torch.Tensor, ...]:
    """Noisy mask, timesteps and image for :func:`small_net`."""
    generator = torch.Generator().manual_seed(1)
    spatial = (size,) * dims if isinstance(size, int) else size
    x = torch.randn(batch, 2, *spatial, generator=generator)
    timesteps = torch.randint(0, 1000, (batch,), generator=generator)
    return x, timesteps, torch.randn(batch, 4, *spatial, generator=generator)


NETS = {dims: small_net(dims) for dims in (2, 3)}


@settings(max_examples=20, deadline=None, derandomize=True)
@given(data=st.data())
def test_takes_any_size_that_the_total_stride_divides(data):
    dims = data.draw(st.sampled_from([2, 3]))
    batch = data.draw(st.integers(1, 3))
    size = tuple(4 * data.draw(st.integers(1, 5)) for _ in range(dims))
    with torch.no_grad():
        y = NETS[dims](*inputs(dims, batch, size))
    assert y.shape == (batch, 3, *size)
    assert torch.isfinite(y).all()


@both_dims
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"use_ff_parser": False},
        {"fusion_residual": True},
        {"fusion_levels": (False, False, False)},
        {"fusion_levels": (True, True, True)},
        {"attention_levels": (False, True, True)},
        {"num_res_blocks": (0, 1, 1)},
        {"num_res_blocks": (1, 2, 3)},
        {"channels": (6, 12), "num_res_blocks": 1, "fusion_levels": (False, True)},
    ],
    ids=str,
)
def test_scripted_equals_eager(dims, settings, tmp_path):
    net = small_net(dims, **settings)
    x, timesteps, image = inputs(dims)
    torch.jit.save(torch.jit.script(net), tmp_path / "net.ts")
    scripted = torch.jit.load(tmp_path / "net.ts")
    with torch.no_grad():
        expected = net(x, timesteps, image)
        torch.testing.assert_close(scripted(x, timesteps, image), expected, atol=1e-5, rtol=1e-5)
        features = scripted.encode_image(image)
        torch.testing.assert_close(scripted.denoise(x, timesteps, features), expected, atol=1e-5, rtol=1e-5)
    assert expected.std() > 1e-3


@both_dims
def test_forward_is_denoise_of_encode_image(dims):
    """The features of an image serve every noisy mask and time."""
    net = small_net(dims)
    _, _, image = inputs(dims)
    with torch.no_grad():
        features = net.encode_image(image)
        for seed, t in ((0, 0), (1, 500), (2, 999)):
            x = torch.randn(2, 2, *[16] * dims, generator=torch.Generator().manual_seed(seed))
            timesteps = torch.full((2,), t)
            assert torch.equal(net.denoise(x, timesteps, features), net(x, timesteps, image))


def recorded_stages(net: DCEUNet, run) -> dict[int, list[torch.Tensor]]:
    """Outputs of each stage of the image encoder while ``run()`` runs."""
    outputs: dict[int, list[torch.Tensor]] = {i: [] for i in range(len(net.image_encoder.stages))}
    handles = [
        stage.register_forward_hook(lambda module, args, output, i=i: outputs[i].append(output))
        for i, stage in enumerate(net.image_encoder.stages)
    ]
    with torch.no_grad():
        run()
    for handle in handles:
        handle.remove()
    return outputs


@both_dims
@pytest.mark.parametrize(
    ("fusion_levels", "shared"),
    [((False, True, True, False), 2), ((True, False, False, False), 1), ((False, False, True, False), 3)],
)
def test_the_image_is_encoded_once_down_to_the_first_fusion_and_follows_the_mask_below(dims, fusion_levels, shared):
    net = small_net(dims, channels=(8, 16, 16, 16), fusion_levels=fusion_levels)
    x, timesteps, image = inputs(dims)
    with torch.no_grad():
        features = net.encode_image(image)
    encoding = recorded_stages(net, lambda: net.encode_image(image))
    assert [len(outputs) for outputs in encoding.values()] == [1] * shared + [0] * (4 - shared)

    base = recorded_stages(net, lambda: net.denoise(x, timesteps, features))
    assert [len(outputs) for outputs in base.values()] == [0] * shared + [1] * (4 - shared)
    other_mask = recorded_stages(net, lambda: net.denoise(x.flip(0), timesteps, features))
    other_time = recorded_stages(net, lambda: net.denoise(x, timesteps + 300, features))
    for level in range(shared, 4):
        scale = base[level][0].std()
        assert (other_mask[level][0] - base[level][0]).std() > 1e-3 * scale
        assert (other_time[level][0] - base[level][0]).std() > 1e-5 * scale


@both_dims
def test_the_prediction_depends_on_mask_time_and_image(dims):
    net = small_net(dims)
    x, timesteps, image = inputs(dims)
    with torch.no_grad():
        y = net(x, timesteps, image)
        for changed in (
            net(x.flip(2), timesteps, image),
            net(x, (timesteps + 500) % 1000, image),
            net(x, timesteps, image.flip(2)),
        ):
            assert (changed - y).std() > 1e-3 * y.std()


@both_dims
def test_cases_of_a_batch_do_not_mix(dims):
    net = small_net(dims)
    x, timesteps, image = inputs(dims, batch=3)
    with torch.no_grad():
        y = net(x, timesteps, image)
        for i in range(3):
            alone = net(x[i : i + 1], timesteps[i : i + 1], image[i : i + 1])
            torch.testing.assert_close(alone, y[i : i + 1], atol=1e-5, rtol=1e-5)


@forms
def test_one_timestep_stands_for_the_batch_and_may_be_floating(form):
    net = form(small_net(2))
    x, _, image = inputs(2)
    with torch.no_grad():
        expected = net(x, torch.tensor([40, 40]), image)
        torch.testing.assert_close(net(x, torch.tensor([40]), image), expected)
        torch.testing.assert_close(net(x, torch.tensor([40.0]), image), expected)


BUNDLED = {
    "channels": (32, 64, 128, 128),
    "num_res_blocks": 1,
    "mask_channels": (8, 16, 32, 32),
    "fusion_levels": (False, True, True, False),
    "fusion_residual": True,
    "additive_skips": True,
    "subpixel_factor": 2,
}
DEEP = {
    "channels": (16, 32, 32, 64, 64, 64),
    "num_res_blocks": (1, 3, 4, 6, 3, 3),
    "fusion_levels": (False, False, True, True, False, False),
}


@pytest.mark.parametrize(
    ("dims", "size", "settings"),
    [
        (2, 32, {"channels": (8, 16, 32), "num_res_blocks": 2}),
        (2, 64, DEEP),
        (2, 64, {**DEEP, "fusion_residual": True}),
        (2, 64, {**DEEP, "use_ff_parser": False}),
        (2, 128, {**DEEP, "channels": (8, 16, 24, 32, 32, 32)}),
        (2, 32, VARIANTS["S"] | {"fusion_levels": (False, True, True, True, False)}),
        (2, 64, BUNDLED),
        (3, 16, {"channels": (8, 16, 32), "num_res_blocks": 2}),
        (3, 32, {"channels": (8, 16, 32, 32), "num_res_blocks": 2, "fusion_levels": (False, True, True, False)}),
    ],
    ids=["2d", "2d_deep", "2d_residual", "2d_no_ff_parser", "2d_narrow", "2d_S", "2d_bundled", "3d", "3d_deep"],
)
def test_activations_and_gradients_keep_their_scale_at_initialisation(dims, size, settings):
    net = small_net(dims, **settings, spatial_size=size).train()
    stages = {
        **{f"image encoder {i}": stage for i, stage in enumerate(net.image_encoder.stages)},
        **{f"mask encoder {i}": stage for i, stage in enumerate(net.mask_encoder.stages)},
        "bottleneck": net.decoder.bottleneck,
        **{f"decoder {i}": stage for i, stage in enumerate(net.decoder.stages)},
        "head": net.heads.finest,
    }
    scales = {}
    for name, stage in stages.items():
        stage.register_forward_hook(
            lambda m, args, output, name=name: scales.update({name: float(output.detach().std())})
        )
    x, timesteps, image = inputs(dims, 2, size)
    target = torch.randn(2, 3, *[size] * dims, generator=torch.Generator().manual_seed(2))
    (net(x, timesteps, image) - target).square().mean().backward()

    assert scales.keys() == stages.keys()
    assert all(0.1 < scale < 20 for scale in scales.values()), sorted(scales.items(), key=lambda s: s[1])
    gradients = {
        name: math.sqrt(sum(float(p.grad.square().sum()) for p in stage.parameters())) for name, stage in stages.items()
    }
    assert max(gradients.values()) < 1000 * min(gradients.values()), sorted(gradients.items(), key=lambda s: s[1])
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert not name.endswith("weight") or parameter.grad.any(), name


@both_dims
def test_trains_under_autocast(dims):
    net = small_net(dims).train()
    x, timesteps, image = inputs(dims)
    with torch.autocast("cpu", torch.bfloat16):
        y = net(x, timesteps, image)
    exact = net(x, timesteps, image)
    assert (y.float() - exact).std() < 0.05 * exact.std()
    y.float().square().mean().backward()
    assert all(torch.isfinite(p.grad).all() for p in net.parameters())


@pytest.mark.parametrize(
    ("name", "values"),
    [("num_res_blocks", (1, 1)), ("fusion_levels", (True,)), ("attention_levels", (False, True, False, False))],
)
def test_tuples_of_unequal_length_are_named_with_both(name, values):
    with pytest.raises(ValueError, match=re.escape(f"{name}={values} for channels=(8, 16, 16)")):
        small_net(2, **{name: values})


@pytest.mark.parametrize(
    ("dims", "settings", "message"),
    [
        (1, {}, "spatial_dims must be 2 or 3, got 1"),
        (4, {}, "spatial_dims must be 2 or 3, got 4"),
        (2, {"channels": (8, 0, 8)}, r"channels .*\(8, 0, 8\)"),
        (2, {"num_res_blocks": -1}, r"num_res_blocks .*\(-1, -1, -1\)"),
    ],
)
def test_refuses_impossible_settings(dims, settings, message):
    with pytest.raises(ValueError, match=message):
        small_net(dims, **settings)


@both_dims
def test_refuses_inputs_of_the_wrong_shape(dims):
    net = small_net(dims)
    x, timesteps, image = inputs(dims)
    with pytest.raises(ValueError, match="image must have 4 channels, got 3"):
        net(x, timesteps, image[:, :3])
    with pytest.raises(ValueError, match="noisy mask must have 2 channels, got 1"):
        net(x[:, :1], timesteps, image)
    with pytest.raises(ValueError, match=r"size of the image must be divisible by 4, got .*\b14\b"):
        net(x[..., :14], timesteps, image[..., :14])
    with pytest.raises(ValueError, match="size of the noisy mask must be divisible by 4"):
        net(x[..., :14], timesteps, image)
    with pytest.raises(ValueError, match=f"image must have {dims + 2} dimensions, got {dims + 1}"):
        net(x, timesteps, image[..., 0])
    with pytest.raises(ValueError, match="needs the image"):
        net(x, timesteps)


def test_the_scripted_network_refuses_them_as_well():
    net = torch.jit.script(small_net(2))
    x, timesteps, image = inputs(2)
    with pytest.raises(torch.jit.Error, match="image must have 4 channels, got 3"):
        net(x, timesteps, image[:, :3])
    with pytest.raises(torch.jit.Error, match="divisible by 4"):
        net(x[..., :14], timesteps, image[..., :14])


@both_dims
def test_one_number_of_blocks_stands_for_all_levels(dims):
    shapes = [
        {name: tensor.shape for name, tensor in small_net(dims, num_res_blocks=blocks).state_dict().items()}
        for blocks in (2, (2, 2, 2))
    ]
    assert shapes[0] == shapes[1]


@both_dims
def test_without_the_ff_parser_there_are_no_spectral_maps(dims):
    assert any(isinstance(module, FFParser) for module in small_net(dims).modules())
    assert not any(isinstance(module, FFParser) for module in small_net(dims, use_ff_parser=False).modules())


@both_dims
def test_ff_parsers_are_exact_at_the_size_of_their_level(dims):
    size = (32, 24, 16)[:dims]
    net = small_net(dims, fusion_levels=(True, True, True), spatial_size=size)
    parsers = [module for module in net.modules() if isinstance(module, FFParser)]
    assert [tuple(p.spatial_size) for p in parsers] == [tuple(s // stride for s in size) for stride in (1, 2, 4)]
