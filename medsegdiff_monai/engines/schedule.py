# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from typing import Any

from monai.optimizers import WarmupCosineSchedule
from torch.optim import Optimizer

__all__ = ["EpochCosineSchedule"]


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
