# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0


"""The peers' work, through their public interfaces alone, at their own settings."""

from __future__ import annotations

import importlib
from typing import Any

import torch
from monai.inferers import DiffusionInferer
from monai.networks.nets import BasicUNet, DiffusionModelUNet
from monai.networks.schedulers import DDPMScheduler

from medsegdiff_monai.utils import InputError

from .meter import EACH, Meter
from .ours import bundle_config, image_of, parameters_of
from .rows import Row
from .workload import Workload

__all__ = ["basic_unet", "diffusion_model_unet", "med_seg_diff_pytorch"]


def _regions(row: Row) -> int:
    """Number of regions that the bundle of the row's case segments."""
    return int(bundle_config(Row("", "", "", row.case, row.size))["denoiser"]["out_channels"])


def _watched(network: Any, row: Row) -> dict[str, Any]:
    """What all workloads of the peers have in common."""
    meter = Meter(device=row.device)
    meter.watch(network, "forward", EACH)
    return {"parameters": parameters_of(network), "meter": meter, "device": row.device}


def _chain(row: Row) -> tuple[int, float]:
    """Steps of the chain that is run, and the evaluations of all members by those of this one chain."""
    whole: int = row.settings["steps"]
    steps = whole if row.partial_steps is None else min(whole, row.partial_steps)
    return steps, row.settings["members"] * whole / steps


def med_seg_diff_pytorch(row: Row) -> Workload:
    """The ``Unet`` of med-seg-diff-pytorch in its README's size with its own sampler; volumes slice by slice.

    A chain of all its 1,000 timesteps is its DDPM sampler, a shorter one its DDIM sampler. It has no ensemble: one
    member is run, and as many as ours are calculated.

    Args:
        row: its settings are ``steps`` and ``members``, and ``network`` for other arguments of ``Unet``.

    Raises:
        InputError: when it is not installed, or the image or the slices are not square.
    """
    if row.size[0] != row.size[1]:
        raise InputError(f"med-seg-diff-pytorch takes square images only, got {row.size[0]} x {row.size[1]}.")
    try:
        peer = importlib.import_module("med_seg_diff_pytorch")
    except ModuleNotFoundError as e:
        raise InputError(
            f"med-seg-diff-pytorch cannot be imported, there is no {e.name}: "
            "pip install --no-deps med-seg-diff-pytorch beartype einops."
        ) from e
    torch.manual_seed(0)
    image = image_of(row)
    image, parts = (image, 1) if len(row.size) == 2 else (image[..., row.size[2] // 2], row.size[2])
    settings = {"dim": 64, "dim_mults": (1, 2, 4, 8), **row.settings.get("network", {})}
    network = peer.Unet(
        image_size=row.size[0], mask_channels=_regions(row), input_img_channels=image.shape[1], **settings
    )
    steps, scale = _chain(row)
    # Its DDPM sampler runs all timesteps of its schedule: a part of them is a shorter schedule.
    ddim = row.settings["steps"] < 1000
    schedule = {"timesteps": 1000, "sampling_timesteps": steps} if ddim else {"timesteps": steps}
    sampler = peer.MedSegDiff(network, **schedule).eval().to(row.device)
    return Workload(lambda: sampler.sample(image), scale=scale, parts=parts, **_watched(network, row))


def diffusion_model_unet(row: Row) -> Workload:
    """MONAI's ``DiffusionModelUNet`` as MONAI's tutorial of segmentation by diffusion has it, and MONAI's inferer.

    The image is concatenated to the noisy mask; the members are run one at a time, of which one is measured. In 3D it
    is the tutorial's network with three dimensions, on the whole volume.

    Args:
        row: its settings are ``steps`` and ``members``, and ``network`` for other arguments of the network.
    """
    torch.manual_seed(0)
    image, regions = image_of(row), _regions(row)
    settings = {
        "channels": (64, 64, 64),
        "attention_levels": (False, False, True),
        "num_res_blocks": 1,
        "num_head_channels": 64,
        **row.settings.get("network", {}),
    }
    network = DiffusionModelUNet(len(row.size), image.shape[1] + regions, regions, with_conditioning=False, **settings)
    network.eval().to(row.device)
    steps, scale = _chain(row)
    scheduler = DDPMScheduler(num_train_timesteps=1000)
    scheduler.set_timesteps(steps)
    inferer = DiffusionInferer(scheduler)
    noise = torch.randn(1, regions, *row.size).to(row.device)

    def run() -> Any:
        return inferer.sample(noise, network, conditioning=image, mode="concat", verbose=False)

    return Workload(run, scale=scale, **_watched(network, row))


def basic_unet(row: Row) -> Workload:
    """MONAI's ``BasicUNet`` in its own size: one evaluation, on the whole image.

    Args:
        row: the row.
    """
    torch.manual_seed(0)
    image = image_of(row)
    network = BasicUNet(len(row.size), image.shape[1], _regions(row)).eval().to(row.device)

    @torch.no_grad()
    def run() -> Any:
        return network(image).sigmoid()

    return Workload(run, **_watched(network, row))
