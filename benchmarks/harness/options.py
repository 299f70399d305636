# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0


"""The options of the accuracy benchmark, checked before anything is written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from medsegdiff_monai.utils import InputError

from .grid import DATASETS, MAIN_DATASETS, Cell
from .methods import METHODS

__all__ = ["check_data", "check_machine", "make_grid"]

SECTIONS = ("test", "validation")
QUICK = {"datasets": "ultrasound_ddti", "seeds": 0, "minutes": 1.0, "size": 64}
USUAL = {"datasets": MAIN_DATASETS, "seeds": (0, 1, 2), "minutes": 3.0, "size": None}


def _as_tuple(value: Any) -> tuple[Any, ...]:
    return tuple(dict.fromkeys(value)) if isinstance(value, (tuple, list)) else (value,)


def _checked(kind: str, names: Any, known: Any) -> tuple[str, ...]:
    chosen = _as_tuple(names)
    unknown = [str(n) for n in chosen if n not in known]
    if unknown or not chosen:
        raise InputError(f"There is no {kind} {', '.join(unknown)}: choose from {', '.join(known)}.")
    return chosen


def _whole(name: str, value: Any, least: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise InputError(f"{name} must be a whole number of at least {least}, got {value!r}.")


def check_machine(device: str, workers: int, threads: int) -> None:
    """Refuse what the machine cannot do, or cannot do in a time that is fair.

    Args:
        device: cpu or cuda.
        workers: number of cells that run at a time.
        threads: number of threads of each cell.

    Raises:
        InputError: when an option is out of range, or cells that run at a time would take time from each other.
    """
    if device not in ("cpu", "cuda"):
        raise InputError(f"device must be cpu or cuda, got {device!r}.")
    _whole("workers", workers, 1)
    _whole("threads", threads, 1)
    if device == "cuda" and not torch.cuda.is_available():
        raise InputError("There is no GPU that PyTorch can use: give --device cpu.")
    if workers > 1 and (device == "cuda" or threads > 1):
        raise InputError("On a GPU or with several threads, the clock is that on the wall: give --workers 1.")


def _check_numbers(seeds: tuple[Any, ...], minutes: Any, size: Any) -> None:
    for seed in seeds:
        _whole("seeds", seed, 0)
    if not isinstance(minutes, (int, float)) or isinstance(minutes, bool) or not 0 < minutes < float("inf"):
        raise InputError(f"minutes must be a number above 0, got {minutes!r}.")
    if size is not None:
        _whole("size", size, 16)
        if size % 16:
            raise InputError(f"size must be divisible by 16, got {size}.")


def make_grid(
    given: dict[str, Any],
    methods: Any,
    section: str,
    threads: int,
    device: str,
    quick: bool = False,
    default_only: bool = False,
) -> list[Cell]:
    """The cells of a call.

    Args:
        given: ``datasets``, ``seeds``, ``minutes`` and ``size``, None where the usual or the quick ones are meant.
        methods: names of the methods.
        section: section of the data sets that is tested on.
        threads: number of threads of each cell.
        device: cpu or cuda.
        quick: whether the quick settings take the place of the usual ones.
        default_only: whether methods are tested with their default settings alone.

    Raises:
        InputError: when a name is unknown, a number out of range, or quick settings are given twice.
    """
    twice = [f"--{name}" for name, value in given.items() if value is not None]
    if quick and twice:
        raise InputError(f"--quick has settings of its own: leave out {', '.join(twice)}, or --quick.")
    chosen = {**(QUICK if quick else USUAL), **{k: v for k, v in given.items() if v is not None}}
    datasets = _checked("data set", chosen["datasets"], DATASETS)
    names = _checked("method", methods, METHODS)
    (section,) = _checked("section", section, SECTIONS)
    seeds, minutes, size = _as_tuple(chosen["seeds"]), chosen["minutes"], chosen["size"]
    _check_numbers(seeds, minutes, size)
    sizes = {d: None if size is None else (size, size, *DATASETS[d].size[2:]) for d in datasets}
    return [
        Cell(d, m, s, 60.0 * minutes, threads, device, sizes[d], section, default_only)
        for s in seeds
        for d in datasets
        for m in names
    ]


def check_data(grid: list[Cell], data: Path) -> None:
    """Refuse folders without a datalist.

    Args:
        grid: the cells.
        data: folder of the data sets.

    Raises:
        InputError: when one that is tested on has none.
    """
    for folder in dict.fromkeys(f for c in grid for f in c.tested_sets):
        if not (data / folder / "datalist.json").is_file():
            raise InputError(f"{data / folder} has no datalist.json: give the folder of the data sets as --data.")
