# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0


"""How the cost grows: with the image, the members, the steps, the volume and the threads."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from .rows import Row, table_rows

__all__ = ["SWEEPS", "Sweep", "growth_exponent", "sweep_rows"]


class Sweep(NamedTuple):
    """A quantity that the cost is measured against.

    Attributes:
        axis: what the abscissa is.
        values: the usual values.
        quick: few and small values.
        rows: gives the rows for one value and the number of threads.
    """

    axis: str
    values: tuple[Any, ...]
    quick: tuple[Any, ...]
    rows: Callable[[Any, int], list[Row]]


def growth_exponent(x: Sequence[float], y: Sequence[float]) -> float:
    """Exponent ``p`` of ``y = c x^p``, by least squares of the logarithms; NaN for fewer than two values of ``x``.

    Args:
        x: what grows, above 0.
        y: its cost, above 0.
    """
    if len(set(x)) < 2:
        return math.nan
    return float(np.polyfit(np.log(x), np.log(y), 1)[0])


def _of_sweep(row: Row, name: str, position: float, **changes: Any) -> Row:
    settings = changes.pop("settings", {})
    merged = {**row.settings, **settings}
    return Row(**{**vars(row), "settings": merged, "sweep": name, "position": position, **changes})


def _by_image_size(side: int, threads: int) -> list[Row]:
    chosen = ("default", "paper", "med_seg_diff", "diffusion_unet", "basic_unet")
    rows = [r for r in table_rows("2d", (side, side), threads, partial_steps=1) if r.key in chosen]
    return [_of_sweep(r, "image_size", side**2) for r in rows]


def _default(case: str, threads: int, size: Sequence[int] | None = None) -> Row:
    return next(r for r in table_rows(case, size, threads) if r.key == "default")


def _by_setting(name: str, key: str) -> Callable[[int, int], list[Row]]:
    def rows(value: int, threads: int) -> list[Row]:
        return [_of_sweep(_default("2d", threads), name, value, settings={"config": {key: value}})]

    return rows


def _by_windows(given: tuple[int, tuple[int, ...]], threads: int) -> list[Row]:
    window, size = given  # the number of windows is that of the run
    return [_of_sweep(_default("3d", threads, size), "windows", 0, settings={"window": window})]


def _by_window_size(side: int, threads: int) -> list[Row]:
    row = _default("3d", threads, (side, side, side))
    return [_of_sweep(row, "window_size", side**3, settings={"window": side})]


def _by_threads(count: int, threads: int) -> list[Row]:
    """The default answer with a number of threads, where there are as many."""
    return [_of_sweep(_default("2d", count), "threads", count)] if count <= threads else []


_VOLUMES = tuple((96, size) for size in ((96,) * 3, (168, 96, 96), (168, 168, 96), (168,) * 3, (240, 240, 155)))
SWEEPS = {
    "image_size": Sweep("pixels of the image", (64, 128, 192, 256, 384, 512), (32, 64), _by_image_size),
    "members": Sweep("members", (1, 2, 5, 10, 25), (1, 2), _by_setting("members", "num_ensemble")),
    "steps": Sweep("steps", (1, 2, 4, 10, 20, 50), (1, 2), _by_setting("steps", "num_inference_steps")),
    "windows": Sweep("windows of the volume", _VOLUMES, ((32, (32, 32, 32)), (32, (56, 32, 32))), _by_windows),
    "window_size": Sweep("voxels of a window", (32, 48, 64, 96, 128), (32, 48), _by_window_size),
    "threads": Sweep("threads", (1, 2, 4, 8, 16, 32), (1, 2), _by_threads),
}


def sweep_rows(name: str, threads: int, quick: bool = False) -> list[Row]:
    """The rows of a sweep.

    Args:
        name: name of the sweep.
        threads: number of threads, the largest of the sweep of threads.
        quick: whether few and small values take the place of the usual ones.
    """
    sweep = SWEEPS[name]
    rows = [row for value in (sweep.quick if quick else sweep.values) for row in sweep.rows(value, threads)]
    if not quick or name not in ("members", "steps", "threads"):
        return rows
    return [Row(**{**vars(row), "size": (64, 64)}) for row in rows]
