# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0


from __future__ import annotations

import pytest
import torch

from medsegdiff_monai.networks.blocks import DynamicConditionalFusion, FFParser

SIZES = [(8, 6), (4, 6, 5)]
forms = pytest.mark.parametrize("form", [lambda m: m, torch.jit.script], ids=["eager", "scripted"])


def randomised(module: torch.nn.Module) -> torch.nn.Module:
    generator = torch.Generator().manual_seed(0)
    for parameter in module.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator)
    return module.eval()


def features(size: tuple[int, ...], batch: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(batch, 4, *size, generator=generator), 3 + 2 * torch.randn(batch, 4, *size, generator=generator)


def layer_norm(x: torch.Tensor, norm: torch.nn.Module) -> torch.Tensor:
    per_channel = (-1, *[1] * (x.dim() - 2))
    normalised = torch.nn.functional.layer_norm(x, x.shape[1:])
    return normalised * norm.weight.view(per_channel) + norm.bias.view(per_channel)


@forms
@pytest.mark.parametrize("residual", [False, True], ids=["equation", "residual"])
@pytest.mark.parametrize("use_ff_parser", [True, False], ids=["ff_parser", "no_ff_parser"])
@pytest.mark.parametrize("size", SIZES, ids=["2d", "3d"])
def test_equals_equation_3(size, use_ff_parser, residual, form):
    fusion = randomised(DynamicConditionalFusion(4, size, len(size), use_ff_parser, residual))
    image, mask = features(size)
    parser = FFParser(4, size, len(size))
    if use_ff_parser:
        parser.load_state_dict(fusion.ff_parser.state_dict())
    with torch.no_grad():
        attention = layer_norm(image, fusion.norm_image) * layer_norm(parser(mask), fusion.norm_mask)
        expected = attention * image + (image if residual else 0)
        torch.testing.assert_close(form(fusion)(image, mask), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("size", SIZES, ids=["2d", "3d"])
def test_only_the_mask_path_is_filtered(size):
    fusion = DynamicConditionalFusion(4, size, len(size))
    image, mask = features(size)
    with torch.no_grad():
        all_pass = fusion(image, mask)
        fusion.ff_parser.weight.mul_(2.0)
        torch.testing.assert_close(fusion(image, mask), all_pass, atol=1e-4, rtol=1e-4)
        fusion.ff_parser.weight[:, 1:].zero_()
        assert (fusion(image, mask) - all_pass).abs().max() > 0.1


def test_without_the_ff_parser_there_is_no_map_to_learn():
    names = [name for name, _ in DynamicConditionalFusion(4, 8, 2, use_ff_parser=False).named_parameters()]
    assert len(names) == 4
    assert not any("ff_parser" in name for name in names)


@pytest.mark.parametrize("size", SIZES, ids=["2d", "3d"])
def test_each_case_is_normalised_by_itself(size):
    fusion = randomised(DynamicConditionalFusion(4, size, len(size)))
    image, mask = features(size, batch=3)
    with torch.no_grad():
        together = fusion(image, mask)
        for i in range(3):
            torch.testing.assert_close(together[i : i + 1], fusion(image[i : i + 1], mask[i : i + 1]))


@pytest.mark.parametrize("size", [(16, 16), (9, 14)])
def test_the_scale_of_the_mask_features_does_not_matter(size):
    fusion = randomised(DynamicConditionalFusion(4, 8, 2))
    image, mask = features(size)
    with torch.no_grad():
        torch.testing.assert_close(fusion(image, 50 * mask), fusion(image, mask), atol=1e-3, rtol=1e-3)
