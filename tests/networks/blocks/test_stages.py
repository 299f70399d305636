# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import pytest
import torch

from medsegdiff_monai.networks.blocks import SelfAttentionBlock
from medsegdiff_monai.networks.nets import DCEUNet


@pytest.mark.parametrize("dims", [2, 3])
def test_block_is_softmax_attention_over_all_positions(dims: int) -> None:
    torch.manual_seed(0)
    block = SelfAttentionBlock(dims, 8)
    x = torch.randn(2, 8, *(3, 4, 5)[:dims])
    tokens = block.norm(x).flatten(2).transpose(1, 2)
    weight, bias = block.qkv.weight.flatten(1), block.qkv.bias
    q, k, v = (tokens @ weight.T + bias).split(8, dim=2)
    attended = torch.softmax(q @ k.transpose(1, 2) / 8**0.5, dim=2) @ v
    expected = x + (attended @ block.out.weight.flatten(1).T + block.out.bias).transpose(1, 2).reshape(x.shape)
    torch.testing.assert_close(block(x), expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(torch.jit.script(block)(x), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("dims", [2, 3])
def test_network_with_attention_sees_the_whole_image(dims: int) -> None:
    """Without attention the far corner is out of reach of this small network; with it, it is not."""
    size = 64 if dims == 2 else 32
    settings = {"channels": (4, 8), "num_res_blocks": 1, "fusion_levels": (False, False), "spatial_size": size}
    x = torch.zeros(1, 1, *(size,) * dims)
    image = torch.zeros_like(x)
    image[(0, 0, *(0,) * dims)] = 1.0
    reached = {}
    for attention in (False, True):
        torch.manual_seed(0)
        net = DCEUNet(dims, 1, 1, 1, attention_levels=(False, attention), **settings).eval()
        for norm in (m for m in net.modules() if isinstance(m, torch.nn.GroupNorm)):
            norm.forward = lambda y: y  # normalisation would let every pixel reach every other as well
        t = torch.tensor([500])
        with torch.no_grad():
            change = net(x, t, image) - net(x, t, torch.zeros_like(image))
        reached[attention] = float(change[(0, 0, *(-1,) * dims)].abs()) > 0
    assert reached == {False: False, True: True}


@pytest.mark.parametrize("dims", [2, 3])
def test_network_with_attention_scripts(dims: int) -> None:
    torch.manual_seed(0)
    net = DCEUNet(
        dims,
        1,
        1,
        1,
        channels=(8, 16, 16),
        num_res_blocks=1,
        fusion_levels=(False, True, False),
        attention_levels=(False, True, True),
        spatial_size=16,
    ).eval()
    x = torch.randn(2, 1, *(16,) * dims)
    t = torch.tensor([3, 900])
    torch.testing.assert_close(torch.jit.script(net)(x, t, x), net(x, t, x))
