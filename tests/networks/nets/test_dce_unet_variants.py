# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0


from __future__ import annotations

import pytest
import torch

from medsegdiff_monai.networks.blocks import FFParser
from medsegdiff_monai.networks.nets import VARIANTS, DCEUNet


@pytest.mark.parametrize(("name", "downsamplings"), [("S", 4), ("B", 5), ("L", 6), ("++", 6)])
def test_variants_have_the_papers_depth(name, downsamplings):
    assert len(VARIANTS[name]["channels"]) == downsamplings + 1
    divisor = 2**downsamplings
    net = DCEUNet.from_variant(name, 2, 1, 1, 1, channels=(4,) * (downsamplings + 1), spatial_size=divisor).eval()
    assert net.divisor == divisor
    assert any(isinstance(module, FFParser) for module in net.modules())

    deepest = []
    net.mask_encoder.stages[-1].register_forward_hook(lambda module, args, output: deepest.append(output.shape[2:]))
    image = torch.zeros(1, 1, divisor, 2 * divisor)
    with torch.no_grad():
        assert net(image, torch.tensor([3]), image).shape == image.shape
    assert deepest == [(1, 2)]
    with pytest.raises(ValueError, match=f"divisible by {divisor}"):
        net(image[..., : divisor // 2], torch.tensor([3]), image[..., : divisor // 2])


def test_variants_grow():
    sizes = []
    for name in ("S", "B", "L", "++"):
        with torch.device("meta"):
            net = DCEUNet.from_variant(name, 2, 1, 1, 3)
        sizes.append(sum(p.numel() for p in net.parameters()))
    assert sizes == sorted(set(sizes))


def test_settings_take_precedence_over_the_variant():
    settings = {"channels": (4,) * 5, "num_res_blocks": 1, "fusion_levels": (False, True, False, False, False)}
    variant = DCEUNet.from_variant("S", 3, 1, 1, 1, **settings)
    direct = DCEUNet(3, 1, 1, 1, **settings)
    assert {k: v.shape for k, v in variant.state_dict().items()} == {k: v.shape for k, v in direct.state_dict().items()}


def test_refuses_an_unknown_variant():
    with pytest.raises(ValueError, match="no variant 'XL'; choose one of S, B, L"):
        DCEUNet.from_variant("XL", 2, 1, 1, 1)
