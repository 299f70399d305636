# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pandas as pd
from ignite.engine import Engine

from medsegdiff_monai.handlers.case_tables import CaseTables, save_csv
from medsegdiff_monai.utils import replace_atomically

__all__ = ["MetricsTable"]

logger = logging.getLogger(__name__)


class MetricsTable(CaseTables):
    """Write the metrics of an evaluation, case by case, as ``metrics.csv``, and their summary as ``metrics.md``.

    The columns are the evaluator's metrics by name. Where a metric has several values a case, such as one for each
    region, their names are appended, as :class:`RegionMetricHandler` leaves them in the engine's state, else their
    numbers. Cases without a value (a ratio to an empty mask) have an empty field and are left out of the summary,
    which counts them. An evaluator without metrics, which only segments, leaves no table.

    See :class:`CaseTables` for the argument.
    """

    def attach(self, engine: Engine) -> None:
        """Attach to an evaluator."""
        self.engine = engine
        super().attach(engine)

    def found(self, item: dict[str, Any]) -> dict[str, Any]:
        """Nothing but the name: the metrics are in the engine's state."""
        return {}

    def write(self, cases: list[dict[str, Any]]) -> None:
        """Write the metrics of all cases."""
        state: Any = self.engine.state
        if not state.metric_details:
            return
        table = pd.DataFrame(cases, columns=["case"])
        columns = getattr(state, "metric_columns", {})
        for name, values in state.metric_details.items():
            array = np.asarray(values.cpu(), dtype=float).reshape(len(table), -1)
            several = columns.get(name, range(array.shape[1])) if array.shape[1] > 1 else []
            for title, column in zip([f"{name}_{c}" for c in several] or [name], array.T, strict=True):
                table[title] = column
        table = table.replace([np.inf, -np.inf], np.nan)
        summary = _summary(table)
        save_csv(self.output_dir / "metrics.csv", table)
        replace_atomically(self.output_dir / "metrics.md", lambda p: p.write_text(summary, encoding="utf-8"))
        logger.info("Metrics of %d cases:\n%s", len(table), summary)


def _summary(table: pd.DataFrame) -> str:
    lines = ["| metric | mean | standard deviation | median | worst decile | cases |", "|---|---|---|---|---|---|"]
    for name in table.columns[1:]:
        v = table[name].dropna()
        larger_is_worse = name.startswith("hd") or "error" in name or "distance" in name
        worst = v.quantile(0.9 if larger_is_worse else 0.1)
        lines.append(f"| {name} | {v.mean():.4f} | {v.std(ddof=0):.4f} | {v.median():.4f} | {worst:.4f} | {len(v)} |")
    return "\n".join(lines) + "\n"
