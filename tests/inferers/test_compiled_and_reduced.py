# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0


from __future__ import annotations

import pytest
import torch

from medsegdiff_monai.inferers import DiffusionSegmentationInferer
from medsegdiff_monai.networks.nets import CompiledDenoiser, DCEUNet, MedSegDiff
from medsegdiff_monai.networks.schedulers import DPMSolverScheduler
from medsegdiff_monai.utils import InputError


def network() -> MedSegDiff:
    torch.manual_seed(0)
    settings = {"fusion_levels": (False, True), "fusion_residual": True, "spatial_size": 16}
    denoiser = DCEUNet(2, 1, 1, 1, (8, 16), 1, **settings)
    torch.nn.init.normal_(denoiser.heads.finest[-1].weight, std=0.2)
    return MedSegDiff(denoiser, scheduler(), 2, 3, signal_scale=0.3).eval()


def scheduler() -> DPMSolverScheduler:
    return DPMSolverScheduler(prediction_type="sample")


def inferer(**settings: str) -> DiffusionSegmentationInferer:
    return DiffusionSegmentationInferer(scheduler(), 2, 3, signal_scale=0.3, **settings)


def image(size: int = 16) -> torch.Tensor:
    return torch.randn(1, 1, size, size, generator=torch.Generator().manual_seed(1))


def test_reduced_precision_stays_near_full_precision_and_answers_in_it() -> None:
    full, reduced = (inferer(**s)(image(), network()) for s in ({}, {"amp_dtype": "bfloat16"}))
    assert reduced.dtype == torch.float32
    assert 0 < (full - reduced).abs().max() < 0.05


def test_compiled_network_gives_the_same_members(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[str] = []

    def compile_eagerly(function, mode):
        compiled.append(mode)
        return torch._dynamo.optimize("eager")(function)

    monkeypatch.setattr(torch, "compile", compile_eagerly)  # the real back end needs a C++ compiler
    net, run = network(), inferer(compile_mode="default")
    torch.testing.assert_close(run.sample(image(), net), inferer().sample(image(), net))
    torch.testing.assert_close(run.sample(image(24), net), inferer().sample(image(24), net))
    assert compiled == ["default", "default"]  # the two halves, once a network
    assert run.sample(image(), net.denoiser).shape == (1, 3, 1, 16, 16)
    assert compiled == ["default", "default"]
    run.sample(image(), network())
    assert len(compiled) == 4


def test_compiled_denoiser_has_the_others_interface() -> None:
    denoiser = network().denoiser
    compiled = CompiledDenoiser(denoiser, "default")
    assert (compiled.in_channels, compiled.divisor) == (denoiser.in_channels, denoiser.divisor)
    assert compiled.denoiser is denoiser


def test_scripted_network_cannot_be_compiled() -> None:
    with pytest.raises(InputError, match="A scripted network cannot be compiled"):
        inferer(compile_mode="default")(image(), torch.jit.script(network()))


@pytest.mark.parametrize("settings", [{}, {"roi_size": 16}], ids=["whole", "windows"])
@pytest.mark.parametrize("form", [lambda n: n, torch.jit.script], ids=["eager", "scripted"])
def test_layout_with_the_channels_last_changes_no_answer(form, settings) -> None:
    net = form(network())
    run = inferer(channels_last=True, **settings)
    torch.testing.assert_close(run(image(24), net), inferer(**settings)(image(24), network()), atol=1e-5, rtol=0)
    weights = [p for p in net.denoiser.parameters() if p.dim() == 4 and min(p.shape) > 1]
    assert len(weights) > 3
    assert all(w.is_contiguous(memory_format=torch.channels_last) for w in weights)


def test_layout_of_volumes() -> None:
    torch.manual_seed(0)
    net = DCEUNet(3, 1, 1, 1, (8, 16), 1, fusion_levels=(False, True), spatial_size=8).eval()
    volume = torch.randn(1, 1, 8, 8, 8, generator=torch.Generator().manual_seed(1))
    expected = inferer()(volume, net)
    torch.testing.assert_close(inferer(channels_last=True)(volume, net), expected, atol=1e-5, rtol=0)
    weights = [p for p in net.parameters() if p.dim() == 5 and min(p.shape) > 1]
    assert len(weights) > 3
    assert all(w.is_contiguous(memory_format=torch.channels_last_3d) for w in weights)
