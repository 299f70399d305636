# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0


from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch.nn import functional as F

from medsegdiff_monai.networks.blocks import ResidualBlock, conv, initialise_convolutions, norm_groups

CONVOLUTIONS = {2: F.conv2d, 3: F.conv3d}
forms = pytest.mark.parametrize("form", [lambda m: m, torch.jit.script], ids=["eager", "scripted"])


@forms
@pytest.mark.parametrize("time_channels", [None, 5], ids=["no_time", "time"])
@pytest.mark.parametrize(("in_channels", "out_channels"), [(8, 8), (6, 12)])
@pytest.mark.parametrize("dims", [2, 3])
def test_equals_the_formula(dims, in_channels, out_channels, time_channels, form):
    block = ResidualBlock(dims, in_channels, out_channels, time_channels).eval()
    generator = torch.Generator().manual_seed(0)
    for parameter in block.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator)
    x = torch.randn(2, in_channels, *(6, 5, 4)[:dims], generator=generator)
    embedding = None if time_channels is None else torch.randn(2, time_channels, generator=generator)

    weights = {name: parameter.detach() for name, parameter in block.named_parameters()}
    convolve = CONVOLUTIONS[dims]
    h = F.silu(F.group_norm(x, norm_groups(in_channels), weights["norm1.weight"], weights["norm1.bias"]))
    h = convolve(h, weights["conv1.weight"], weights["conv1.bias"], padding=1)
    if embedding is not None:
        h = h + (embedding @ weights["time.weight"].T + weights["time.bias"]).view(2, -1, *[1] * dims)
    h = F.silu(F.group_norm(h, norm_groups(out_channels), weights["norm2.weight"], weights["norm2.bias"]))
    h = convolve(h, weights["conv2.weight"], weights["conv2.bias"], padding=1)
    skip = x if in_channels == out_channels else convolve(x, weights["skip.weight"], weights["skip.bias"])

    with torch.no_grad():
        torch.testing.assert_close(form(block)(x, embedding), skip + h, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 6, 7, 8, 12, 16, 32, 96])
def test_norm_groups_divide_the_channels(channels):
    groups = norm_groups(channels)
    assert 1 <= groups <= 8
    assert channels % groups == 0


@pytest.mark.parametrize("channels", [2, 4, 6, 8, 12, 16, 32])
def test_the_time_passes_the_normalisation_at_any_width(channels):
    """A shift of a channel is gone where the channel is normalised by itself."""
    torch.manual_seed(0)
    block = ResidualBlock(2, channels, channels, 5)
    x = torch.randn(1, channels, 8, 8)
    with torch.no_grad():
        change = block(x, torch.randn(1, 5)) - block(x, torch.randn(1, 5))
    assert change.std() > 1e-3


@pytest.mark.parametrize("channels", [2, 4, 8, 16])
@pytest.mark.parametrize("dims", [2, 3])
def test_takes_a_single_pixel(dims, channels):
    torch.manual_seed(0)
    y = ResidualBlock(dims, channels, channels, 5)(torch.randn(1, channels, *[1] * dims), torch.randn(1, 5))
    assert torch.isfinite(y).all()


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize(("kernel_size", "stride"), [(3, 1), (1, 1), (3, 2)])
def test_conv_keeps_the_size_or_divides_it(dims, kernel_size, stride):
    size = (8, 6, 4)[:dims]
    y = conv(dims, 2, 3, kernel_size, stride)(torch.zeros(1, 2, *size))
    assert y.shape == (1, 3, *[s // stride for s in size])


@pytest.mark.parametrize(("dims", "size", "widths"), [(2, 48, (16, 64, 32, 64, 16)), (3, 20, (8, 32, 16, 32, 8))])
def test_initialised_convolutions_keep_the_variance(dims, size, widths):
    torch.manual_seed(0)
    chain = torch.nn.Sequential(*[conv(dims, a, b) for a, b in pairwise(widths)])
    initialise_convolutions(chain)
    x = torch.randn(4, widths[0], *[size] * dims)
    border = len(widths)
    inside = (..., *[slice(border, -border)] * dims)
    with torch.no_grad():
        assert 0.8 < float(chain(x)[inside].std()) < 1.25
    assert all(not layer.bias.any() for layer in chain)
