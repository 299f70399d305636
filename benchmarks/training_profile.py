# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0


"""Where the time of a bundle's training goes, from its own configuration.

    python benchmarks/training_profile.py --data <data set> [--bundle <folder>] [--overlays disc.json]

Trains some iterations under PyTorch's profiler and prints, for one iteration, the time of each kind of operator, the
time between the operators (Python, mostly) and the time spent on preparing the batch.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import fire
import torch
from ignite.engine import Engine, Events
from monai.utils import set_determinism
from torch.profiler import ProfilerActivity, profile

from medsegdiff_monai.apps.bundle import read_config
from medsegdiff_monai.utils import InputError

# The first kind whose mark is in an operator's name.
KINDS = {
    "optimizer and averaging": ("_foreach", "vector_norm", "lerp", "addcdiv", "addcmul", "aten::sqrt", "optimizer"),
    "convolution": ("conv",),
    "normalisation": ("norm",),
    "activation": ("silu", "relu", "sigmoid", "tanh"),
    "Fourier transform": ("fft",),
    "up-sampling, concatenation": ("upsample", "aten::cat", "interpolate"),
    "copies and conversions": ("copy", "_to_copy", "contiguous", "aten::clone"),
}
PREPARING, BETWEEN = "preparing the batch", "between the operators"
BUNDLE = Path(__file__).resolve().parents[1] / "bundle" / "thyroid_ultrasound_medsegdiff"


def _kind(name: str) -> str:
    lower = name.lower()
    return next((kind for kind, marks in KINDS.items() if any(m in lower for m in marks)), "other operators")


class _Clock:
    """Seconds of each part of an iteration, over the iterations that count, behind some that do not.

    The operators are those between the start and the end of an iteration: what the loader does is one part. All times
    are those of the clock on the wall, as the profiler's are.
    """

    def __init__(self, iterations: int, warmup: int) -> None:
        self.iterations = iterations
        self.warmup = warmup
        self.seconds = {PREPARING: 0.0, BETWEEN: 0.0}
        self._profile: profile | None = None
        self._began = 0.0

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.GET_BATCH_STARTED, self._wait)
        engine.add_event_handler(Events.GET_BATCH_COMPLETED, self._go)
        engine.add_event_handler(Events.ITERATION_STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._stop)

    def _wait(self, engine: Engine) -> None:
        self._began = time.perf_counter()

    def _go(self, engine: Engine) -> None:
        if engine.state.iteration >= self.warmup:  # an iteration is counted once it has its batch
            self.seconds[PREPARING] += time.perf_counter() - self._began

    def _start(self, engine: Engine) -> None:
        if engine.state.iteration > self.warmup:
            self._profile = profile(activities=[ProfilerActivity.CPU])
            self._profile.start()
            self._began = time.perf_counter()

    def _stop(self, engine: Engine) -> None:
        if self._profile is None:
            return
        self.seconds[BETWEEN] += time.perf_counter() - self._began
        self._profile.stop()
        for event in self._profile.key_averages():
            kind, seconds = _kind(event.key), event.self_cpu_time_total / 1e6
            self.seconds[kind] = self.seconds.get(kind, 0.0) + seconds
            self.seconds[BETWEEN] -= seconds
        if engine.state.iteration == self.warmup + self.iterations:
            engine.terminate()


def main(
    data: str, bundle: str = str(BUNDLE), overlays: Any = (), iterations: int = 20, warmup: int = 3, threads: int = 1
) -> None:
    """Print the profile.

    Args:
        data: folder with a datalist.json.
        bundle: folder of the bundle.
        overlays: further files of its configs folder, the last one first in effect.
        iterations: number of iterations that are profiled.
        warmup: number of iterations before them.
        threads: number of threads.
    """
    torch.set_num_threads(threads)
    set_determinism(0)
    names = ["train.json", *([overlays] if isinstance(overlays, str) else overlays)]
    parser = read_config(bundle, names)
    clock = _Clock(iterations, warmup)
    with tempfile.TemporaryDirectory() as folder:
        parser.update(
            {
                "dataset_dir": data,
                "ckpt_dir": folder,
                "output_dir": folder,
                "device": torch.device("cpu"),
                "val_interval": 10**6,
                "max_epochs": 10**6,
            }
        )
        trainer = parser.get_parsed_content("train#trainer")
        clock.attach(trainer)
        trainer.run()
    seconds = {kind: value / iterations for kind, value in clock.seconds.items()}
    print(f"one iteration: {sum(seconds.values()):.3f} s under the profiler, {threads} thread(s)\n")
    print("| part | ms |\n|---|---|")
    for kind, value in sorted(seconds.items(), key=lambda item: -item[1]):
        print(f"| {kind} | {1000 * value:.1f} |")


if __name__ == "__main__":
    try:
        fire.Fire(main)
    except InputError as error:
        raise SystemExit(f"Error: {error}") from None
