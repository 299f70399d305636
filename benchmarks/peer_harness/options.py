# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0


"""The options of the benchmark, checked before anything is measured."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from medsegdiff_monai.utils import InputError, checked_device, fast_cpu_dtype

from .rows import CASES, Row, table_rows
from .scaling import SWEEPS, sweep_rows

__all__ = ["check_number", "chosen_rows"]

STRIDE = 16  # by which all networks can divide
NOT_ON_GPU = ("memory_returned", "onnx", "threads")  # rows and sweeps
QUICK = {"size": 64, "volume": (32, 32, 16), "window": 32, "partial_steps": 1}


def _as_tuple(value: Any) -> tuple[Any, ...]:
    value = value.split(",") if isinstance(value, str) else value  # fire leaves 2d,3d as one word
    return tuple(dict.fromkeys(value)) if isinstance(value, (tuple, list)) else (value,)


def _names(kind: str, given: Any, known: Sequence[str]) -> tuple[str, ...]:
    if given in ("all", "none"):
        return tuple(known) if given == "all" else ()
    unknown = [str(n) for n in _as_tuple(given) if n not in known]
    if unknown:
        raise InputError(f"There is no {kind} {', '.join(unknown)}: choose from {', '.join(known)}.")
    return _as_tuple(given)


def check_number(name: str, value: Any, least: float, whole: bool = True) -> None:
    """Refuse a number that is out of range.

    Args:
        name: name of the option.
        value: what was given.
        least: the smallest that is taken.
        whole: whether it must be a whole number.

    Raises:
        InputError: when it is not such a number.
    """
    known = isinstance(value, int) or (not whole and isinstance(value, float))
    if not known or isinstance(value, bool) or not least <= value < float("inf"):
        raise InputError(f"{name} must be a {'whole ' * whole}number of at least {least:g}, got {value!r}.")


def _size(name: str, given: Any, dims: int) -> tuple[int, ...]:
    each = given if isinstance(given, (tuple, list)) else (given,) * dims
    if len(each) != dims:
        raise InputError(f"{name} must be {dims} numbers, got {len(each)}.")
    for n in each:
        check_number(name, n, STRIDE if dims == 3 else 2 * STRIDE)
        if n % STRIDE:
            raise InputError(f"{name} must be divisible by {STRIDE}, got {n}.")
    return tuple(each)


def chosen_rows(
    given: dict[str, Any],
    cases: Any,
    only: Any,
    scaling: Any,
    threads: int,
    onnx: str | None,
    quick: bool,
    device: str = "cpu",
) -> list[Row]:
    """The rows of a call: those of the tables, then those of the sweeps.

    Args:
        given: ``size``, ``volume``, ``window`` and ``partial_steps``, None where the usual or the quick ones are meant.
        cases: names of the cases.
        only: keys of the rows of the tables, None for all.
        scaling: names of the sweeps, ``"all"`` or ``"none"``.
        threads: number of threads.
        onnx: file for ONNX Runtime, without which there is no row for it.
        quick: whether small settings take the place of the usual ones.
        device: ``"cpu"`` or ``"cuda"``.

    Raises:
        InputError: when a name is unknown, a number out of range, or a file or a device not there.
    """
    if device not in ("cpu", "cuda"):
        raise InputError(f"device must be cpu or cuda, got {device!r}.")
    checked_device(device)
    check_number("threads", threads, 1)
    if threads > (os.cpu_count() or 1):
        raise InputError(f"This machine has {os.cpu_count()} cores: give --threads of no more, got {threads}.")
    if onnx is not None and not Path(onnx).is_file():
        raise InputError(f"There is no file {onnx}: export the bundle's network_def to ONNX and give that as --onnx.")
    names = _names("case", cases, tuple(CASES))
    chosen = {**(QUICK if quick else {}), **{k: v for k, v in given.items() if v is not None}}
    sizes = {
        "2d": _size("size", chosen["size"], 2) if "size" in chosen else None,
        "3d": _size("volume", chosen["volume"], 3) if "volume" in chosen else None,
    }
    for name in ("window", "partial_steps"):
        if name in chosen:
            check_number(name, chosen[name], 2 * STRIDE if name == "window" else 1)
    more = {name: chosen[name] for name in ("window", "partial_steps") if name in chosen}
    rows = [r for name in names for r in table_rows(name, sizes[name], threads, onnx=onnx, **more)]
    rows = [r for r in rows if r.method != "onnx" or onnx is not None]
    rows = [replace(r, device=device) for r in rows if device == "cpu" or r.key not in NOT_ON_GPU]
    if only is None and device == "cpu" and fast_cpu_dtype() != "bfloat16":
        rows = [r for r in rows if r.key != "bf16"]  # emulated, it takes minutes and is no option
    if only is not None:
        keys = _names("row", only, tuple(dict.fromkeys(r.key for r in rows)))
        rows = [r for r in rows if r.key in keys]
    sweeps = [n for n in _names("sweep", scaling, tuple(SWEEPS)) if device == "cpu" or n not in NOT_ON_GPU]
    return rows + [replace(r, device=device) for name in sweeps for r in sweep_rows(name, threads, quick)]
