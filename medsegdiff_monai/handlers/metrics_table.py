# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from ignite.engine import Engine, Events
from monai.engines import Evaluator
from monai.utils import string_list_all_gather

from medsegdiff_monai.data.cases import name_in_metadata
from medsegdiff_monai.handlers.spreadsheet import save_csv
from medsegdiff_monai.utils import check_writable, is_main_process, printable, replace_atomically, typed_text

__all__ = ["MetricsTable"]

logger = logging.getLogger(__name__)


class MetricsTable:
    """Write the metrics of an evaluation, case by case, as ``metrics.csv``, and their summary as ``metrics.md``.

    The columns are the evaluator's metrics by name. Where a metric has several values a case, such as one for each
    region, their names are appended, as :class:`RegionMetricHandler` leaves them in the engine's state, else their
    numbers. Cases without a value (a ratio to an empty mask) have an empty field and are left out of the summary,
    which counts them. Of several processes, the main one writes the cases of all.

    An evaluator without metrics, which only segments, leaves no table. A case has the name that the metadata of its
    image states as ``case``, else that of the image's file.

    Args:
        output_dir: folder of the two files.

    Raises:
        InputError: when the folder cannot be written to.
    """

    def __init__(self, output_dir: str | os.PathLike[str]) -> None:
        self.output_dir = Path(typed_text(output_dir, "output_dir"))
        if is_main_process():
            check_writable(self.output_dir)
        self.names: list[str] = []

    def attach(self, engine: Engine) -> None:
        """Attach to an evaluator."""
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._collect)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._write)

    def _start(self, engine: Engine) -> None:
        self.names = []

    def _collect(self, engine: Engine) -> None:
        output: Any = engine.state.output
        self.names += [printable(name_in_metadata(item["image"].meta)) for item in output]

    def _write(self, engine: Evaluator) -> None:
        if not engine.state.metric_details:
            return
        table = pd.DataFrame({"case": string_list_all_gather(self.names)})
        if not is_main_process():
            return
        columns = getattr(engine.state, "metric_columns", {})
        for name, values in engine.state.metric_details.items():
            array = np.asarray(values.cpu(), dtype=float).reshape(len(table), -1)
            several = columns.get(name, range(array.shape[1])) if array.shape[1] > 1 else []
            for title, column in zip([f"{name}_{c}" for c in several] or [name], array.T, strict=True):
                table[title] = column
        table = table.replace([np.inf, -np.inf], np.nan)
        summary = _summary(table)
        save_csv(self.output_dir / "metrics.csv", table)
        replace_atomically(self.output_dir / "metrics.md", lambda p: p.write_text(summary, encoding="utf-8"))
        logger.info("Metrics of %d cases:\n%s", len(table), summary)


def _larger_is_worse(name: str) -> bool:
    return name.startswith("hd") or "error" in name or "distance" in name


def _summary(table: pd.DataFrame) -> str:
    lines = ["| metric | mean | standard deviation | median | worst decile | cases |", "|---|---|---|---|---|---|"]
    for name in table.columns[1:]:
        v = table[name].dropna()
        worst = v.quantile(0.9 if _larger_is_worse(name) else 0.1)
        lines.append(f"| {name} | {v.mean():.4f} | {v.std(ddof=0):.4f} | {v.median():.4f} | {worst:.4f} | {len(v)} |")
    return "\n".join(lines) + "\n"
