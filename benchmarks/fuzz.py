# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

"""Mutated files of every kind through the commands that people use: no traceback, no kill, no file without a line.

    python benchmarks/fuzz.py --count 10000 --seed 0 --out fuzz    # half an hour on two cores
    python benchmarks/fuzz.py --count 300 --kinds png,ultrasound

Small valid PNG, JPEG, BMP, TIFF, NIfTI and DICOM files are drawn from phantoms and mutated: bits, runs of bytes, cuts,
and the numbers and structures of each format. Many at a time, together with good files, they go through inference on a
folder, inference on a datalist of volumes, evaluation with labels, the command ``datalist`` and the command ``dicom``,
each with a limit of memory and of time. Of each run it is asked:

    no traceback; not killed, by the kernel or by the limit of its time; exit status 0, or 1 where anything was left out
    good files have the results, value by value, that they have without the others
    every mutated file has all its results or is named with a reason, also in the list at the end
    nothing is left half written

Where a run is broken it is done again in halves, until the file to blame is alone. There are then, in the folder:

    fuzz.md      the table, and what went wrong
    parts        what became of each input; the same command goes on with what is left
    failures     for each failure the inputs, a command that shows it, and what it printed

The exit code is 1 where anything went wrong.
"""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import fire
import torch
from tqdm import tqdm

# The tests have what writes DICOM objects.
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from fuzz_harness.campaign import Campaign
from fuzz_harness.inputs import KINDS
from fuzz_harness.parts import Part, parts_of, write_table
from fuzz_harness.server import CommandServer
from harness.processes import interrupted_by_signals

from medsegdiff_monai.utils import InputError, check_writable

GIGABYTE = 10**9


def _checked(name: str, value: Any, least: float) -> Any:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value < least:
        raise InputError(f"{name} must be a number of at least {least:g}, got {value!r}.")
    return value


def _kinds(names: Any) -> list[str]:
    chosen = list(KINDS) if names is None else names.split(",") if isinstance(names, str) else list(map(str, names))
    unknown = [name for name in chosen if name not in KINDS]
    if unknown or not chosen:
        raise InputError(f"There is no kind {', '.join(unknown)}: choose from {', '.join(KINDS)}.")
    return [kind for kind in KINDS if kind in chosen]


def _run(parts: Sequence[Part], out: Path, memory: int, jobs: int) -> None:
    """Run parts, ``jobs`` at a time, each thread with a process of its own that starts the commands."""
    campaigns: SimpleQueue[Campaign] = SimpleQueue()
    servers = [CommandServer() for _ in range(min(jobs, len(parts)))]
    for i, server in enumerate(servers):
        campaigns.put(Campaign(server, out / f"work{i}", out / "failures", memory))

    def examine(part: Part) -> Part:
        campaign = campaigns.get()
        try:
            part.write(out, campaign.examine(KINDS[part.kind].command, part.inputs))
        finally:
            campaigns.put(campaign)
        return part

    pool = ThreadPoolExecutor(len(servers) or 1)
    try:
        with tqdm(total=sum(len(part.inputs) for part in parts), desc="Inputs", unit="input") as bar:
            for future in as_completed([pool.submit(examine, part) for part in parts]):
                bar.update(len(future.result().inputs))
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        for server in servers:
            server.stop()


def main(
    out: str = "fuzz", count: int = 10_000, seed: int = 0, kinds: Any = None, jobs: int = 1, memory: float = 6.0
) -> None:
    """Run the inputs and write the table.

    Args:
        out: folder of the table, the parts and the failures.
        count: number of inputs.
        seed: seed of the mutations; the same seed gives the same files.
        kinds: which kinds, such as png,ultrasound; by default all.
        jobs: processes at a time.
        memory: most address space of a process, in GB.
    """
    whole = parts_of(int(_checked("count", count, 1)), int(_checked("seed", seed, 0)), _kinds(kinds))
    limit, workers = int(GIGABYTE * _checked("memory", memory, 1)), int(_checked("jobs", jobs, 1))
    folder = check_writable(out)
    left = [part for part in whole if part.read(folder) is None]
    with interrupted_by_signals():
        _run(left, folder, limit, workers)
    about = (
        f"{sum(len(part.inputs) for part in whole):,} inputs, seed {seed}, {memory:g} GB a process; "
        f"{platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}, Python {platform.python_version()}"
    )
    right = write_table(folder, about, whole)
    print((folder / "fuzz.md").read_text(encoding="utf-8"))
    sys.exit(0 if right else 1)


if __name__ == "__main__":
    try:
        fire.Fire(main)
    except InputError as e:
        print(f"Error: {e}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("Interrupted: the same command goes on with what is left.", file=sys.stderr)
        sys.exit(130)
