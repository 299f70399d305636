# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0


"""Training for a given time: the clock, the learning rate that follows it, and validations along the way."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Any

import torch
from ignite.engine import Engine, Events
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

__all__ = ["BudgetCosineSchedule", "TimeBudget", "seconds_now"]


def seconds_now(device: torch.device) -> float:
    """A clock for the work of this process.

    On a CPU with one thread it is the time that the process has had the processor, which is the wall time of an idle
    machine: what else runs there does not count against a method. Anywhere else it is the wall clock.
    """
    if device.type == "cpu" and torch.get_num_threads() == 1:
        return time.process_time()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


class TimeBudget:
    """End training after a time, and validate at equal shares of it. Validation does not count.

    Attach it to the trainer behind everything that belongs to an iteration.

    Args:
        seconds: training time.
        device: device that is trained on.
        evaluator: the validation.
        validations: number of validations, the last one at the end.
    """

    def __init__(self, seconds: float, device: torch.device, evaluator: Any = None, validations: int = 8) -> None:
        self.seconds = seconds
        self.device = device
        self.evaluator = evaluator
        self.validations = validations
        self.elapsed = 0.0
        self.curve: list[list[float]] = []
        self._started = 0.0

    @property
    def share(self) -> float:
        """Share of the time that is over, at most 1."""
        return min(1.0, self.elapsed / self.seconds)

    def attach(self, engine: Engine) -> None:
        """Attach to a trainer."""
        engine.add_event_handler(Events.GET_BATCH_STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._stop)

    def _start(self, engine: Engine) -> None:
        self._started = seconds_now(self.device)

    def _stop(self, engine: Engine) -> None:
        self.elapsed += seconds_now(self.device) - self._started
        if self.share * self.validations >= len(self.curve) + 1:
            self.evaluator.run(engine.state.epoch)
            value = float(self.evaluator.state.metrics[self.evaluator.state.key_metric_name])
            self.curve.append([self.elapsed, engine.state.iteration, value])
        if self.share >= 1.0:
            engine.terminate()

    def state_dict(self) -> dict[str, Any]:
        """The time that is over and the validations so far."""
        return {"elapsed": self.elapsed, "curve": self.curve}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from another run."""
        self.elapsed, self.curve = state["elapsed"], state["curve"]


class BudgetCosineSchedule(LambdaLR):
    """A learning rate that rises over the first share of the time and then falls along a cosine until it is over.

    Both follow the time and not the updates, so that a method with slow updates has as much of its time at the full
    rate as one with fast updates. The rise begins at a tenth, so that no update is lost.

    Args:
        optimizer: optimizer whose learning rate follows.
        budget: the clock.
        warmup: share of the time that it rises for.
    """

    def __init__(self, optimizer: Optimizer, budget: TimeBudget, warmup: float = 0.05) -> None:
        def factor(step: int) -> float:
            rise = min(1.0, 0.1 + 0.9 * budget.share / warmup)
            return rise * 0.5 * (1.0 + math.cos(math.pi * budget.share))

        super().__init__(optimizer, factor)
