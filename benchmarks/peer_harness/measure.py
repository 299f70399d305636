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


"""Measures a row: time, arithmetic and memory of this process."""

from __future__ import annotations

import resource
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from .meter import EACH, ONCE, Meter
from .others import basic_unet, diffusion_model_unet, med_seg_diff_pytorch
from .ours import medsegdiff, onnx
from .rows import Row
from .workload import Workload

__all__ = ["METHODS", "count_flop", "matrix_ceiling", "measure", "measure_row", "peak_memory_gb"]

STATUS = Path("/proc/self/status")
METHODS: dict[str, Callable[[Row], Workload]] = {
    f.__name__: f for f in (medsegdiff, onnx, med_seg_diff_pytorch, diffusion_model_unet, basic_unet)
}


def peak_memory_gb() -> float:
    """Largest resident memory of this process so far, in GB.

    On Linux, what ``getrusage`` says begins with the peak of the process that started this one; the kernel's own
    account of this process's memory does not.
    """
    if STATUS.is_file():
        peak = next(line for line in STATUS.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(peak.split()[1]) * 1024 / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def matrix_ceiling(dtype: str, sizes: tuple[int, ...] = (1024, 2048, 4096), repeats: int = 5) -> float:
    """The most GFLOP/s that a product of square matrices reaches on this machine.

    Args:
        dtype: precision, as ``"float32"``.
        sizes: numbers of rows that are tried.
        repeats: number of products of each size, behind one that does not count.
    """
    best = 0.0
    for n in sizes:
        a, b = (torch.randn(n, n).to(getattr(torch, dtype)) for _ in range(2))
        for repeat in range(repeats + 1):
            start = time.perf_counter()
            torch.mm(a, b)
            seconds = time.perf_counter() - start
            best = max(best, 2e-9 * n**3 / seconds) if repeat else best
    return best


def count_flop(workload: Workload) -> dict[str, float]:
    """Floating-point operations of a whole answer, from one run.

    Convolutions and products of matrices count, a multiplication and an addition each for one. Fourier transforms,
    normalisations and activations do not.

    Returns:
        GFLOP of the whole answer (``gflop``), of the network's part of it (``network``), and the number of
        evaluations and of images encoded that the run made (``each``, ``once``).
    """
    meter = workload.meter or Meter()
    meter.reset()
    with FlopCounterMode(display=False) as counter:
        meter.counter = counter
        (workload.count or workload.run)()
    meter.counter = None
    total = workload.whole(float(counter.get_total_flops()), meter.flop[ONCE])
    network = workload.whole(sum(meter.flop.values()), meter.flop[ONCE])
    return {"gflop": total / 1e9, "network": network / 1e9, **meter.calls}


def _timed(workload: Workload, repeats: int) -> dict[str, list[float]]:
    """Seconds of a whole answer, of the network in it, and of the run itself, for each run."""
    times: dict[str, list[float]] = {"whole": [], "network": [], "run": []}
    meter = workload.meter or Meter()
    for _ in range(repeats):
        meter.reset()
        start = time.perf_counter()
        workload.run()
        run = time.perf_counter() - start
        once = meter.seconds[ONCE]
        times["run"].append(run)
        times["whole"].append(workload.whole(run, once))
        times["network"].append(workload.whole(once + meter.seconds[EACH], once))
    return times


def measure(workload: Workload, repeats: int) -> dict[str, Any]:
    """Measure a piece of work.

    Args:
        workload: the work.
        repeats: number of timed runs, behind one that warms up.

    Returns:
        Numbers for the table, which JSON can hold.
    """
    before = peak_memory_gb()
    if workload.count is None:
        counted = count_flop(workload)
        times, memory = _timed(workload, repeats), peak_memory_gb()
    else:  # what is counted is another run, whose memory is not that of the work
        workload.run()
        times, memory = _timed(workload, repeats), peak_memory_gb()
        counted = count_flop(workload)
    watched = workload.meter is not None
    seen = statistics.median(times["network" if watched else "whole"])
    flop = counted["network"] if watched else counted["gflop"]
    evaluations = workload.whole(counted[EACH], 0.0) if watched else workload.evaluations
    return {
        "evaluations": round(evaluations),
        "windows": round(counted[ONCE] * workload.parts) if counted[ONCE] else 1,
        "complete": workload.complete,
        "measured_evaluations": round(counted[EACH]) if watched else workload.evaluations,
        "parameters_m": workload.parameters / 1e6,
        "seconds": statistics.median(times["whole"]),
        "seconds_min": min(times["whole"]),
        "seconds_max": max(times["whole"]),
        "seconds_of_run": statistics.median(times["run"]),
        "gflop": counted["gflop"],
        "gflop_per_second": flop / seen,
        "outside": _outside(times) if watched else None,
        "dtype": workload.dtype,
        "memory_gb": memory,
        "memory_before_gb": before,
    }


def _outside(times: dict[str, list[float]]) -> float:
    """Median share of an answer's time in which the network does not work."""
    return statistics.median(1 - network / whole for network, whole in zip(times["network"], times["whole"]))


def measure_row(row: Row, repeats: int) -> dict[str, Any]:
    """Build the work of a row and measure it.

    Args:
        row: the row.
        repeats: number of timed runs.
    """
    torch.set_num_threads(row.threads)
    return measure(METHODS[row.method](row), repeats)
