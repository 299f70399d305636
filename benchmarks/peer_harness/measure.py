# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0


"""Measures a row: time, arithmetic and memory of this process."""

from __future__ import annotations

import itertools
import resource
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch.utils.flop_counter import FlopCounterMode

from .meter import EACH, ONCE, Meter, now
from .others import basic_unet, diffusion_model_unet, med_seg_diff_pytorch
from .ours import medsegdiff, onnx
from .rows import Row
from .workload import Workload

__all__ = ["CEILING_SIZES", "METHODS", "count_flop", "matrix_ceiling", "measure", "measure_row", "peak_memory_gb"]

CEILING_SIZES = (1024, 2048)
STATUS = Path("/proc/self/status")
METHODS: dict[str, Callable[[Row], Workload]] = {
    f.__name__: f for f in (medsegdiff, onnx, med_seg_diff_pytorch, diffusion_model_unet, basic_unet)
}


def peak_memory_gb(device: str = "cpu") -> float:
    """Largest memory of this process so far, in GB: resident memory, or that of its tensors on a GPU.

    On Linux, what ``getrusage`` says begins with the peak of the process that started this one; the kernel's own
    account of this process's memory does not.

    Args:
        device: ``"cpu"`` or ``"cuda"``.
    """
    if device == "cuda":
        return torch.cuda.max_memory_allocated() / 1e9
    if STATUS.is_file():
        peak = next(line for line in STATUS.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(peak.split()[1]) * 1024 / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def matrix_ceiling(
    dtype: str, sizes: Sequence[int] = CEILING_SIZES, device: str = "cpu", seconds: float = 0.2
) -> float:
    """GFLOP/s that products of square matrices keep up on this machine at this moment.

    Args:
        dtype: precision, as ``"float32"``.
        sizes: numbers of rows that are tried, of which the fastest counts.
        device: ``"cpu"`` or ``"cuda"``.
        seconds: time that each size is multiplied for, behind one product that does not count.
    """
    best = 0.0
    for n in sizes:
        a, b = (torch.randn(n, n, device=device).to(getattr(torch, dtype)) for _ in range(2))
        torch.mm(a, b)
        products, start, passed = 0, now(device), 0.0
        while passed < seconds:
            torch.mm(a, b)
            products, passed = products + 1, now(device) - start
        best = max(best, 2e-9 * n**3 * products / passed)
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
    total, network = float(counter.get_total_flops()), sum(meter.flop.values())
    own = (meter.flop[ONCE], meter.flop[EACH] if workload.meter else total)
    return {"gflop": workload.whole(total, *own) / 1e9, "network": workload.whole(network, *own) / 1e9, **meter.calls}


class Times(NamedTuple):
    """Seconds of a run.

    Attributes:
        run: the run itself.
        whole: a whole answer.
        network: the network's part of a whole answer.
    """

    run: float
    whole: float
    network: float


def _timed(workload: Workload) -> Times:
    meter = workload.meter or Meter()
    meter.reset()
    start = now(workload.device)
    workload.run()
    run = now(workload.device) - start
    once, network = meter.seconds[ONCE], meter.seconds[EACH]
    steps = meter.chain or run - once  # an unwatched sampler is nothing but its steps
    return Times(run, workload.whole(run, once, steps), workload.whole(once + network, once, network))


def measure(workload: Workload, repeats: int, ceiling_sizes: Sequence[int] = CEILING_SIZES) -> dict[str, Any]:
    """Measure a piece of work.

    Before and behind each run there are products of matrices, as other users of a machine make it faster and slower
    from one second to the next.

    Args:
        workload: the work.
        repeats: number of timed runs, behind one that warms up.
        ceiling_sizes: see :func:`matrix_ceiling`.

    Returns:
        Numbers for the table, which JSON can hold.
    """
    before = peak_memory_gb(workload.device)
    watched = workload.meter is not None
    if workload.count is None:
        counted = count_flop(workload)
        memory = peak_memory_gb(workload.device)
    else:  # what is counted is another run, whose memory is not that of the work
        workload.run()
        memory = peak_memory_gb(workload.device)
        counted = count_flop(workload)
    products = (workload.dtype, ceiling_sizes, workload.device)
    ceilings = [matrix_ceiling(*products)]
    times: list[Times] = []
    for _ in range(repeats):
        times.append(_timed(workload))
        ceilings.append(matrix_ceiling(*products))
    whole = [t.whole for t in times]
    speeds = [counted["network"] / t.network if watched else counted["gflop"] / t.whole for t in times]
    shares = [speed / max(around) for speed, around in zip(speeds, itertools.pairwise(ceilings))]
    evaluations = workload.whole(counted[EACH], 0.0, counted[EACH]) if watched else workload.evaluations
    return {
        "evaluations": round(evaluations),
        "windows": round(counted[ONCE] * workload.parts) if counted[ONCE] else 1,
        "complete": workload.complete,
        "measured_evaluations": round(counted[EACH]) if watched else workload.evaluations,
        "parameters_m": workload.parameters / 1e6,
        "seconds": statistics.median(whole),
        "seconds_min": min(whole),
        "seconds_max": max(whole),
        "seconds_of_run": statistics.median(t.run for t in times),
        "gflop": counted["gflop"],
        "gflop_per_second": statistics.median(speeds),
        "ceilings": ceilings,
        "of_ceiling": statistics.median(shares),
        "outside": statistics.median(1 - t.network / t.whole for t in times) if watched else None,
        "dtype": workload.dtype,
        "memory_gb": memory,
        "memory_before_gb": before,
    }


def measure_row(row: Row, repeats: int, ceiling_sizes: Sequence[int] = CEILING_SIZES) -> dict[str, Any]:
    """Build the work of a row and measure it.

    Args:
        row: the row.
        repeats: number of timed runs.
        ceiling_sizes: see :func:`matrix_ceiling`.
    """
    torch.set_num_threads(row.threads)
    return measure(METHODS[row.method](row), repeats, ceiling_sizes)
