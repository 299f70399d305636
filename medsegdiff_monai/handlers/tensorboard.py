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

import math
from typing import Any

import torch
from ignite.engine import Engine, Events
from monai.handlers import StatsHandler, TensorBoardImageHandler, TensorBoardStatsHandler, from_engine
from monai.utils.enums import CommonKeys as Keys

from medsegdiff_monai.utils import default_device, is_main_process, shared_mean

__all__ = ["TrainingLossBoard", "ValidationBoard"]


class TrainingLossBoard:
    """The training loss of each iteration as TensorBoard scalars: the mean over all processes, which one writes.

    Args:
        log_dir: folder of TensorBoard's files.
    """

    def __init__(self, log_dir: str) -> None:
        self.log_dir = log_dir
        self.loss = math.nan

    def attach(self, engine: Engine) -> None:
        """Attach to a MONAI trainer, in every process."""
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._average)
        if is_main_process():
            TensorBoardStatsHandler(
                log_dir=self.log_dir, tag_name="train_loss", output_transform=lambda _: self.loss
            ).attach(engine)

    def _average(self, engine: Engine) -> None:
        output: Any = engine.state.output
        loss = torch.tensor(float(output[0][Keys.LOSS]), dtype=torch.float64, device=default_device())
        self.loss = float(shared_mean(loss))


class ValidationBoard:
    """The metrics of each validation in the log and as TensorBoard scalars, and its last case as TensorBoard images.

    Of a last batch of several cases it is the first one.

    Args:
        log_dir: folder of TensorBoard's files.
        images: whether images are written; volumes become animations over their last axis.
    """

    def __init__(self, log_dir: str, images: bool = True) -> None:
        self.log_dir = log_dir
        self.images = images

    def attach(self, engine: Engine) -> None:
        """Attach to a MONAI evaluator; of several processes one writes."""
        if not is_main_process():
            return
        handlers: list[Any] = [
            StatsHandler(name="validation", iteration_log=False),
            TensorBoardStatsHandler(log_dir=self.log_dir, iteration_log=False),
        ]
        if self.images:
            pictures = TensorBoardImageHandler(
                log_dir=self.log_dir,
                interval=1,
                max_channels=1,
                frame_dim=-1,
                batch_transform=from_engine([Keys.IMAGE, Keys.LABEL]),
                output_transform=from_engine([Keys.PRED]),
            )
            handlers.append(pictures)
        for handler in handlers:
            handler.attach(engine)
