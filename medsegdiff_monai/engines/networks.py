# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from medsegdiff_monai.utils import world_size

__all__ = ["averaged_network", "trainable_denoiser"]


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
