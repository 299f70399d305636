# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

"""Cost of one answer, of this project and of its peers, in one run on one machine.

    python benchmarks/peers.py --out <folder>            # the whole, hours
    python benchmarks/peers.py --out <folder> --quick    # small images, to see that everything runs
    python benchmarks/peers.py --only default,basic_unet --scaling none

Each row is measured in a process of its own, one after the other, so the machine should have nothing else to do. A row
that fails is listed with its reason and the others go on; the exit code is then 1. After each row there are, in the
folder:

    peers.md, peers.csv, peers.json    the tables, and every number behind them
    scaling.png                        cost against image size, members, steps, volume and threads

Seconds are those of the whole answer: of this project all members, their fusion and the uncertainty map. Chains of
hundreds of evaluations are run for a few steps and multiplied; the column of the evaluations says where. GFLOP are
those of convolutions and matrix products, and "of the ceiling" sets the network's GFLOP/s in each run against what
products of large matrices of the same precision and number of threads keep up just before or behind it.

The peer med-seg-diff-pytorch asks for packages that sampling does not need, torchvision among them, which would bring
a torch of its own:

    pip install --no-deps -c constraints.txt med-seg-diff-pytorch && pip install -c constraints.txt -e .[benchmarks]
"""

from __future__ import annotations

import os
import platform
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import fire
import torch
from harness.processes import interrupted_by_signals
from peer_harness.measure import CEILING_SIZES
from peer_harness.options import check_number, chosen_rows
from peer_harness.process import answer_in_process, run_job
from peer_harness.report import write_report
from tqdm import tqdm

from medsegdiff_monai.utils import InputError, check_writable, fast_cpu_dtype

QUICK_CEILING_SIZES = (256,)


def machine(device: str) -> str:
    """What is measured on, and how busy it is before the first row."""
    gpu = f"{torch.cuda.get_device_name()}; " if device == "cuda" else ""
    info = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").is_file() else []
    names = [line.split(":")[1].strip() for line in info if line.startswith("model name")]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    bf16 = "with" if fast_cpu_dtype() == "bfloat16" else "without"
    return (
        f"{gpu}{names[0] if names else platform.machine()}, {os.cpu_count()} cores ({bf16} bf16 instructions), "
        f"{memory:.0f} GB, torch {torch.__version__}, Python {platform.python_version()}, load {os.getloadavg()[0]:.1f}"
    )


def main(
    out: str = "peers",
    cases: Any = ("2d", "3d"),
    only: Any = None,
    scaling: Any = "all",
    size: int | None = None,
    volume: Any = None,
    window: int | None = None,
    partial_steps: int | None = None,
    repeats: int = 3,
    threads: int | None = None,
    onnx: str | None = None,
    device: str = "cpu",
    minutes: float = 60.0,
    quick: bool = False,
) -> None:
    """Measure the rows and write the tables.

    Args:
        out: folder of the tables, the numbers and the plot.
        cases: 2d (one image) and 3d (one volume), or none, for the sweeps alone.
        only: keys of the tables' rows that are measured, such as default,basic_unet; by default all, without bf16
            on a processor that has no such instructions.
        scaling: image_size, members, steps, windows, window_size, threads; all or none.
        size: side of the image; 256 by default.
        volume: size of the volume; 128,128,64 by default.
        window: side of the windows of the volume; the bundle's own by default.
        partial_steps: number of steps that are run of long chains; 4 by default.
        repeats: number of timed runs of each row.
        threads: number of threads; PyTorch's choice by default.
        onnx: file of the thyroid bundle's network for ONNX Runtime, which is else left out.
        device: cpu or cuda; on a GPU without ONNX Runtime.
        minutes: time after which a row is given up.
        quick: small images, few steps and one repeat.
    """
    check_number("repeats", repeats, 1)
    check_number("minutes", minutes, 0.1, whole=False)
    given = {"size": size, "volume": volume, "window": window, "partial_steps": partial_steps}
    rows = chosen_rows(given, cases, only, scaling, threads or torch.get_num_threads(), onnx, quick, device)
    root, about = check_writable(out), machine(device)
    print(about, flush=True)
    records: list[dict[str, Any]] = []
    text = ""
    with interrupted_by_signals():
        sizes = QUICK_CEILING_SIZES if quick else CEILING_SIZES
        with tqdm(rows, desc="Rows", unit="row") as bar:
            for row in bar:
                bar.set_postfix_str(f"{row.sweep or row.case}: {row.title}")
                job = {"row": asdict(row), "repeats": 1 if quick else repeats, "ceiling_sizes": sizes}
                records.append({"row": asdict(row), "result": run_job(Path(__file__), job, row.threads, minutes)})
                text = write_report(root, about, records)
    print(text)
    if any("failed" in r["result"] for r in records):
        sys.exit(1)


if __name__ == "__main__":
    if sys.argv[1:2] == ["job"]:
        answer_in_process(*sys.argv[2:])  # as they are: fire would read JSON's null as a word
    else:
        try:
            fire.Fire(main)
        except InputError as e:
            print(f"Error: {e}", file=sys.stderr)
            sys.exit(2)
        except KeyboardInterrupt:
            print("Interrupted: what was measured is in the output folder.", file=sys.stderr)
            sys.exit(130)
