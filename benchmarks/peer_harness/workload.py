# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0


"""A piece of work that is measured: one run, and what of a whole answer it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .meter import Meter

__all__ = ["Workload"]


@dataclass
class Workload:
    """How to run a method on one image, once.

    A whole answer is ``parts`` equal parts, such as slices, of which a run does one. Of a part, the run does what an
    image costs once, the work on one of ``batches`` batches of members, and a share ``1 / scale`` of the steps.

    Args:
        run: does the work.
        parameters: number of the network's parameters.
        meter: watches the network; None where its inside cannot be seen.
        evaluations: number of evaluations of a whole answer, for work without a meter.
        scale: evaluations of a part by those of a run.
        parts: number of parts of a whole answer.
        batches: number of batches of members of a part.
        dtype: precision of the network's arithmetic.
        device: where the network runs, ``"cpu"`` or ``"cuda"``.
        count: does the same work in a way in which operations can be counted, where ``run`` hides them.
    """

    run: Callable[[], Any]
    parameters: int
    meter: Meter | None = None
    evaluations: int = 1
    scale: float = 1.0
    parts: int = 1
    batches: int = 1
    dtype: str = "float32"
    device: str = "cpu"
    count: Callable[[], Any] | None = None

    def whole(self, run: float, once: float, steps: float) -> float:
        """Cost of a whole answer.

        Args:
            run: cost of a run.
            once: the part of it that an image costs once.
            steps: the part of it that the steps cost.
        """
        return self.parts * (once + self.batches * (run - once - steps) + self.scale * steps)

    @property
    def complete(self) -> bool:
        """Whether a run gives the whole answer."""
        return self.scale == 1 and self.parts == 1
