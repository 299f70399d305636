# Copyright (c) MedSegDiff-MONAI contributors
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#     http://www.apache.org/licenses/LICENSE-2.0
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.

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
