# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0


"""What a network itself takes of a run: time, evaluations and arithmetic."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

__all__ = ["EACH", "ONCE", "Meter", "now"]

ONCE, EACH = "once", "each"  # what an image costs once, and what each evaluation of the network costs


def now(device: str) -> float:
    """The clock in seconds, when a device has done all that it was given.

    Args:
        device: ``"cpu"`` or ``"cuda"``.
    """
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def _zeros() -> dict[str, float]:
    return {ONCE: 0.0, EACH: 0.0}


@dataclass
class Meter:
    """Watches the functions in which a network works.

    Attributes:
        seconds: time in the functions watched, by kind.
        flop: floating-point operations in them, by kind, where a counter is set.
        calls: images or windows that were encoded (``"once"``) and masks that were evaluated (``"each"``); those of a
            batch count each for itself.
        chain: time in a sampler's steps, the network's included, where that is watched; else 0.
        counter: counter of operations, for runs that are counted and not timed.
        device: where the functions work.
    """

    seconds: dict[str, float] = field(default_factory=_zeros)
    flop: dict[str, float] = field(default_factory=_zeros)
    calls: dict[str, float] = field(default_factory=_zeros)
    chain: float = 0.0
    counter: FlopCounterMode | None = None
    device: str = "cpu"

    def reset(self) -> None:
        """Forget all that was seen."""
        self.seconds, self.flop, self.calls, self.chain = _zeros(), _zeros(), _zeros(), 0.0

    def watch(self, owner: Any, name: str, kind: str) -> None:
        """Watch a method whose first argument is a batch.

        Args:
            owner: object of the method.
            name: name of the method.
            kind: ``"once"`` or ``"each"``.
        """
        setattr(owner, name, self._watched(getattr(owner, name), kind))

    def watch_chain(self, owner: Any, name: str) -> None:
        """Watch a method that returns an iterator over the steps of a sampler.

        Args:
            owner: object of the method.
            name: name of the method.
        """
        steps = getattr(owner, name)

        def watched(*args: Any, **kwargs: Any) -> Iterator[Any]:
            start = now(self.device)
            for step in steps(*args, **kwargs):
                self.chain += now(self.device) - start
                yield step
                start = now(self.device)

        setattr(owner, name, watched)

    def _watched(self, function: Callable, kind: str) -> Callable:
        def call(batch: Any, *args: Any, **kwargs: Any) -> Any:
            counted = self._counted()
            start = now(self.device)
            result = function(batch, *args, **kwargs)
            self.seconds[kind] += now(self.device) - start
            self.flop[kind] += self._counted() - counted
            self.calls[kind] += batch.shape[0]
            return result

        return call

    def _counted(self) -> float:
        return 0.0 if self.counter is None else float(self.counter.get_total_flops())
