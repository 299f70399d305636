# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json
import math
import os
import re
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import pandas as pd
from ignite.engine import Engine, Events
from monai.utils import string_list_all_gather

from medsegdiff_monai.data.cases import name_in_metadata
from medsegdiff_monai.utils import check_writable, is_main_process, printable, replace_atomically, typed_text

__all__ = ["CaseTables", "save_csv"]

# Spreadsheets take a cell that begins so for a formula, some also in the full width of East Asian scripts. A semicolon
# begins a cell where the comma is the decimal point.
_FORMULA = re.compile(r"(^|;)(?=\s*[=+\-@\uff1d\uff0b\uff0d\uff20])")


class CaseTables(ABC):
    """Collect what an evaluator leaves of each case, and write it at the end as a CSV and a JSON file.

    A case has the name that the metadata of its image states as ``case``, else that of the image's file. Of several
    processes, the main one writes the cases of all.

    Args:
        output_dir: folder of the files.

    Raises:
        InputError: when the folder cannot be written to.
    """

    def __init__(self, output_dir: str | os.PathLike[str]) -> None:
        self.output_dir = Path(typed_text(output_dir, "output_dir"))
        if is_main_process():
            check_writable(self.output_dir)
        self.cases: list[dict[str, Any]] = []

    def attach(self, engine: Engine) -> None:
        """Attach to an evaluator."""
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._collect)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._finish)

    @abstractmethod
    def found(self, item: dict[str, Any]) -> dict[str, Any]:
        """What is kept of a case, as JSON can hold it.

        Args:
            item: the case as the evaluator's postprocessing has left it.
        """

    @abstractmethod
    def write(self, cases: list[dict[str, Any]]) -> None:
        """Write the files, in the main process.

        Args:
            cases: of each case of all processes its name, under ``case``, and what :meth:`found` kept.
        """

    def save_json(self, name: str, content: Any) -> None:
        """Write what JSON can hold; numbers that are none become null."""
        text = json.dumps(_without_nan(content), indent=1, ensure_ascii=False) + "\n"
        replace_atomically(self.output_dir / name, lambda p: p.write_text(text, encoding="utf-8"))

    def _start(self, engine: Engine) -> None:
        self.cases = []

    def _collect(self, engine: Engine) -> None:
        output: Any = engine.state.output
        names = [printable(name_in_metadata(item["image"].meta)) for item in output]
        self.cases += [{"case": name, **self.found(item)} for name, item in zip(names, output, strict=True)]

    def _finish(self, engine: Engine) -> None:
        cases = [case for text in string_list_all_gather([json.dumps(self.cases)]) for case in json.loads(text)]
        if is_main_process():
            self.write(cases)


def _without_nan(content: Any) -> Any:
    if isinstance(content, dict):
        return {key: _without_nan(value) for key, value in content.items()}
    if isinstance(content, list):
        return [_without_nan(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


def save_csv(path: Path, table: pd.DataFrame) -> None:
    """Write a table with a header, numbers to six digits and nothing where there is no value.

    Text comes from file names. One that a spreadsheet would run as a formula gets an apostrophe before it, and control
    characters are escaped, see :func:`~medsegdiff_monai.utils.printable`.

    Raises:
        InputError: when the file cannot be written.
    """
    safe = table.map(lambda cell: _FORMULA.sub(r"\1'", printable(cell)) if isinstance(cell, str) else cell)
    replace_atomically(path, lambda partial: safe.to_csv(partial, index=False, float_format="%.6g"))
