# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

import copy
from collections.abc import Mapping
from typing import Any

import torch
from monai.engines import PrepareBatch
from monai.optimizers import WarmupCosineSchedule
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from medsegdiff_monai.networks.schedulers import LinearStepScheduler, MaskScale
from medsegdiff_monai.utils import shared_draw, world_size

__all__ = ["DiffusionSegmentationPrepareBatch", "EpochCosineSchedule", "averaged_network", "trainable_denoiser"]


class DiffusionSegmentationPrepareBatch(PrepareBatch):
    """Batches of images and masks for training a denoiser with MONAI's ``SupervisedTrainer``.

    The mask becomes the diffused variable and the image the condition; the target is what the scheduler's prediction
    type says: the noise (``"epsilon"``, Eq. 7 of the paper), the velocity (``"v_prediction"``), or the mask itself
    (``"sample"``, whose prediction is mask logits).

    Args:
        scheduler: noise schedule and prediction type.
        signal_scale: magnitude of the diffused mask.
        timestep_power: exponent ``k`` of the density ``k t^(k-1)`` of the timesteps: 1 is the paper's uniform one; a
            larger one trains more where the mask is hidden by noise and the image has to give it.
        image_key: key of the image in a batch, ``(B, context_channels, *spatial)``.
        label_key: key of the mask in a batch, ``(B, C, *spatial)`` in [0, 1].

    Raises:
        ValueError: when ``timestep_power`` is not positive.
    """

    def __init__(
        self,
        scheduler: LinearStepScheduler,
        signal_scale: float = 1.0,
        timestep_power: float = 1.0,
        image_key: str = "image",
        label_key: str = "label",
    ) -> None:
        if not timestep_power > 0:
            raise ValueError(f"timestep_power must be positive, got {timestep_power}.")
        self.scheduler = scheduler
        self.timestep_power = timestep_power
        self.mask_scale = MaskScale(signal_scale)
        self.image_key = image_key
        self.label_key = label_key

    def __call__(
        self,
        batchdata: Mapping[str, torch.Tensor],
        device: str | torch.device | None = None,
        non_blocking: bool = False,
        **kwargs: Any,
    ) -> tuple[torch.Tensor, torch.Tensor, tuple, dict[str, torch.Tensor]]:
        """
        Args:
            batchdata: batch with the image and the mask.
            device: device to which the tensors go.
            non_blocking: whether the copies may be asynchronous.
            kwargs: further arguments of ``Tensor.to``.

        Returns:
            Diffused variable, target, no positional and the inferer's keyword arguments: ``noise``, ``timesteps``
            and ``condition``.
        """
        image = _plain(batchdata[self.image_key]).to(device, non_blocking=non_blocking, **kwargs)
        label = _plain(batchdata[self.label_key]).to(device, non_blocking=non_blocking, **kwargs).to(image.dtype)
        original = self.mask_scale.encode(label)
        noise = shared_draw(list(original.shape), original.device).to(original.dtype)
        timesteps = self._timesteps(len(label), label.device)
        if self.scheduler.prediction_type == "epsilon":
            target = noise
        elif self.scheduler.prediction_type == "v_prediction":
            target = self.scheduler.get_velocity(original, noise, timesteps)
        else:
            target = label
        return original, target, (), {"noise": noise, "timesteps": timesteps, "condition": image}

    def _timesteps(self, count: int, device: torch.device) -> torch.Tensor:
        # The inverse of the distribution function (t / T)^k, applied to uniform numbers in [0, 1).
        u = shared_draw([count], device, normal=False)
        return (u ** (1.0 / self.timestep_power) * self.scheduler.num_train_timesteps).long()


def _plain(x: torch.Tensor) -> torch.Tensor:
    """Without metadata, which training does not need and which costs time in every operation."""
    return x.as_tensor() if hasattr(x, "as_tensor") else x


class EpochCosineSchedule(WarmupCosineSchedule):
    """A learning rate that rises linearly and then falls along a cosine until the last step of the last epoch.

    Args:
        optimizer: optimizer whose learning rate follows.
        max_epochs: number of epochs of the run.
        dataloader: batches of an epoch, each of which is a step.
        warmup_steps: number of steps that it rises for.
    """

    def __init__(self, optimizer: Optimizer, max_epochs: int, dataloader: Any, warmup_steps: int = 50) -> None:
        super().__init__(optimizer, warmup_steps, t_total=max_epochs * len(dataloader))


def trainable_denoiser(network: Any, device: torch.device) -> nn.Module:
    """The part of a ``MedSegDiff`` that training optimises, on its device and, under ``torchrun``, made parallel.

    Args:
        network: the ``MedSegDiff``.
        device: where it is trained.
    """
    denoiser = network.denoiser.to(device)
    if world_size() == 1:
        return denoiser
    return DistributedDataParallel(denoiser, device_ids=[device] if device.type == "cuda" else None)


def averaged_network(network: Any, ema: Any) -> Any:
    """The ``MedSegDiff`` with the average of the weights, to which the key metric and the saved model belong.

    Args:
        network: the ``MedSegDiff`` in training.
        ema: ignite's ``EMAHandler`` of its denoiser.
    """
    averaged = copy.deepcopy(network)
    averaged.denoiser = ema.ema_model
    return averaged
