# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0


"""What the cells of the accuracy benchmark leave: what each is of, whether it is finished, and who is at it."""

from __future__ import annotations

import fcntl
import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from medsegdiff_monai.utils import InputError, replace_atomically

from .grid import DATASETS, Cell, read_configs
from .methods import METHODS

__all__ = ["all_cells", "busy", "cell_of", "check_kept", "fingerprint", "take_lock", "write_json"]


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file at once or not at all."""
    replace_atomically(path, lambda p: p.write_text(json.dumps(content), encoding="utf-8"))


def cell_of(settings: dict[str, Any]) -> Cell:
    """A cell from its settings as JSON has them."""
    size = settings["size"]
    return Cell(**{**settings, "size": tuple(size) if size else None})


def fingerprint(cell: Cell, data: Path) -> str:
    """SHA-256 over what decides about a cell's results: the bundle's configurations under its settings, and the data.

    What the settings take the place of does not count: a plain network is the same whatever the bundle's own denoiser.

    Args:
        cell: the cell.
        data: folder of the data sets.
    """
    dataset = DATASETS[cell.dataset]
    configurations = []
    for names in (["train.json"], ["inference.json", "evaluate.json"]):
        parser = read_configs(dataset, *names, **{"bundle_root": ".", **cell.settings()})
        parser["_meta_"] = {}
        configurations.append(parser.config)
    datalists = [(data / folder / "datalist.json").read_bytes() for folder in cell.tested_sets]
    content = [cell.tests, dataset.training_cases, configurations]
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode())
    for datalist in datalists:
        digest.update(hashlib.sha256(datalist).digest())
    return digest.hexdigest()


def all_cells(out: Path) -> list[Cell]:
    """All cells that any call has begun, in the order of the tables.

    Args:
        out: folder of the benchmark.

    Raises:
        InputError: when one is of another version of the benchmark.
    """
    cells = []
    for path in sorted((out / "cells").glob("*/*/*/cell.json")):
        settings = json.loads(path.read_text(encoding="utf-8"))
        settings.pop("fingerprint", None)
        if settings.get("dataset") not in DATASETS or settings.get("method") not in METHODS:
            raise InputError(f"{path} is of a data set or method that there is no more: give another --out.")
        cells.append(cell_of(settings))
    datasets, methods = list(DATASETS), list(METHODS)
    return sorted(cells, key=lambda c: (datasets.index(c.dataset), methods.index(c.method), c.seed))


def _is_begun(folder: Path) -> bool:
    """Whether a cell has left something that a call would keep or go on with."""
    if any((folder / name).is_file() for name in ("result.json", "training.json")):
        return True
    return (folder / "last.pt").is_file() and not (folder / "failed.txt").is_file()


def check_kept(grid: Sequence[Cell], out: Path, data: Path) -> None:
    """Refuse to mix what does not belong in one table, before any cell of a grid leaves its own ``cell.json``.

    Args:
        grid: the cells, which are tested on one section.
        out: folder of the benchmark.
        data: folder of the data sets.

    Raises:
        InputError: when a cell was run with other settings, configurations or data, or others were tested on another
            section.
    """
    now = {c: {**asdict(c), "fingerprint": fingerprint(c, data)} for c in grid}
    now = {c: json.loads(json.dumps(content)) for c, content in now.items()}
    for cell, content in now.items():
        path = out / "cells" / cell.name / "cell.json"
        if not path.is_file():
            continue
        kept = json.loads(path.read_text(encoding="utf-8"))
        same = kept == content if _is_begun(path.parent) else {**kept, "fingerprint": content["fingerprint"]} == content
        if not same:
            raise InputError(f"{path} was run with other settings, configurations or data: give another --out.")
    for cell in all_cells(out):
        if any(cell.section != c.section for c in grid):
            raise InputError(f"The cells in {out} were tested on the section {cell.section!r}: give another --out.")
    for cell, content in now.items():
        folder = out / "cells" / cell.name
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / "cell.json", content)


def take_lock(folder: Path) -> IO[str] | None:
    """The lock of a cell's folder, held until it is closed here and in any process that inherits it.

    Returns:
        The open file, or None where another process has the lock.
    """
    file = (folder / "lock").open("a")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file


def busy(folder: Path) -> str | None:
    """The sentence that another process runs a cell, None where none does."""
    if not (folder / "lock").is_file():
        return None
    lock = take_lock(folder)
    if lock is None:
        return f"{folder} is being run by another process: wait for it or end it."
    lock.close()
    return None
