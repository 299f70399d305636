# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

"""Volumes in windows without seams, and slice by slice with a 2D network."""

from __future__ import annotations

import pytest
import torch

from medsegdiff_monai.inferers import DiffusionSegmentationInferer, diffusion_segmentation
from medsegdiff_monai.networks.nets import DCEUNet
from medsegdiff_monai.networks.schedulers import DDPMSubsequenceScheduler, DPMSolverScheduler

WINDOW = 16


@pytest.fixture
def denoiser() -> DCEUNet:
    """A network with random weights whose answer follows what lies around a pixel."""
    torch.manual_seed(0)
    settings = {"fusion_levels": (False, True, False), "fusion_residual": True, "spatial_size": WINDOW}
    network = DCEUNet(2, 1, 1, 1, (8, 16, 16), 1, **settings)
    torch.nn.init.normal_(network.heads.finest[-1].weight, std=0.5)
    return network.eval()


def inferer(scheduler_class: type = DPMSolverScheduler, **settings: object) -> DiffusionSegmentationInferer:
    scheduler = scheduler_class(prediction_type="sample")
    return DiffusionSegmentationInferer(scheduler, **{"num_inference_steps": 2, "signal_scale": 0.3, **settings})


def step_at_borders(probability: torch.Tensor, stride: int) -> float:
    """Mean change across the borders of the windows, over the median change from one column to the next."""
    change = (probability[..., 1:] - probability[..., :-1]).abs().mean((0, 1, 2))
    starts = range(stride, probability.shape[-1] - WINDOW + 1, stride)
    borders = sorted({start - 1 for start in starts} | {start - stride + WINDOW - 1 for start in starts})
    return float(change[borders].mean() / change.median())


def test_windows_leave_no_seams(denoiser: DCEUNet) -> None:
    smooth = torch.nn.functional.avg_pool2d(torch.randn(1, 1, 72, 72, generator=torch.Generator().manual_seed(1)), 9, 1)
    image = smooth / smooth.std()
    steps = {}
    for overlap in (0.0, 0.25):
        windows = inferer(num_ensemble=8, roi_size=(WINDOW, WINDOW), overlap=overlap)
        steps[overlap] = step_at_borders(windows(image, denoiser), round(WINDOW * (1 - overlap)))
    assert steps[0.0] > 1.8  # windows side by side: the network does show borders where nothing is done
    assert steps[0.25] < 1.2


@pytest.mark.parametrize("scheduler_class", [DPMSolverScheduler, DDPMSubsequenceScheduler])
@pytest.mark.parametrize("member_batch_size", [1, 2, None])
def test_members_in_windows_are_the_same_however_few_are_blended_at_a_time(
    denoiser: DCEUNet, monkeypatch: pytest.MonkeyPatch, member_batch_size: int | None, scheduler_class: type
) -> None:
    image = torch.randn(2, 1, 24, 28, generator=torch.Generator().manual_seed(1))
    settings = {"num_ensemble": 5, "roi_size": (WINDOW, WINDOW), "temperature": 1.7}
    expected = inferer(scheduler_class, **settings).sample(image, denoiser)
    assert expected.std(1).max() > 0.01
    one_member = 2 * 24 * 28  # elements, in two images
    blended = diffusion_segmentation.sliding_window_inference
    for members, chunks in ((1, 5), (2, 3), (3, 2), (100, 1)):
        calls: list[int] = []
        monkeypatch.setattr(diffusion_segmentation, "_LARGEST_CHUNK", members * one_member)
        monkeypatch.setattr(
            diffusion_segmentation,
            "sliding_window_inference",
            lambda *args, calls=calls, **kwargs: calls.append(kwargs["condition"].shape[1]) or blended(*args, **kwargs),
        )
        run = inferer(scheduler_class, **settings, member_batch_size=member_batch_size)
        torch.testing.assert_close(run.sample(image, denoiser), expected, atol=1e-5, rtol=0)
        assert sum(calls) == 5
        at_least = member_batch_size or 5  # a batch runs whole
        assert len(calls) == min(chunks, -(-5 // at_least))


@pytest.mark.parametrize("scheduler_class", [DPMSolverScheduler, DDPMSubsequenceScheduler])
@pytest.mark.parametrize("batch", [1, 3])
def test_slices_are_what_the_2d_network_answers_for_each(denoiser: DCEUNet, batch: int, scheduler_class: type) -> None:
    volume = torch.randn(1, 1, 20, 18, 5, generator=torch.Generator().manual_seed(2))
    one_step = {"num_inference_steps": 1, "num_ensemble": 2}
    sliced = inferer(scheduler_class, roi_size=(24, 20, 1), slices=True, sw_batch_size=batch, overlap=0.0, **one_step)
    members = sliced.sample(volume, denoiser)
    assert members.shape == (1, 2, 1, 20, 18, 5)
    padded = torch.nn.functional.pad(volume, (0, 0, 0, 2, 0, 4), mode="replicate")
    noise = torch.stack([torch.randn(1, 24, 20, 5, generator=torch.Generator().manual_seed(m * 1_009)) for m in (0, 1)])
    for z in range(5):
        for m in (0, 1):
            x = noise[m][None, ..., z]
            with torch.no_grad():
                logits = denoiser(x, torch.tensor([sliced.timesteps[0]]), padded[..., z])
            torch.testing.assert_close(members[:, m, ..., z], logits.sigmoid()[..., :20, :18], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("roi_size", [None, 16, (16, 16), (16, 16, 2)])
def test_slices_need_flat_windows(roi_size: object) -> None:
    with pytest.raises(ValueError, match=r"roi_size of \(X, Y, 1\)"):
        inferer(roi_size=roi_size, slices=True)
