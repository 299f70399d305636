# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

import json
import logging
import math
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from ignite.engine import Engine, Events
from monai.config import PathLike
from monai.utils import string_list_all_gather

from medsegdiff_monai.data.cases import name_in_metadata
from medsegdiff_monai.utils import check_writable, is_main_process, printable, replace_atomically, typed_text

__all__ = ["CaseTables", "EnsembleTable", "MeasurementsTable", "MetricsTable", "save_csv"]

logger = logging.getLogger(__name__)

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

    def __init__(self, output_dir: PathLike) -> None:
        self.output_dir = Path(typed_text(output_dir, "output_dir"))
        if is_main_process():
            check_writable(self.output_dir)

    def attach(self, engine: Engine) -> None:
        """Attach to an evaluator."""
        self.engine = engine
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._collect)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._finish)

    def describe(self, item: dict[str, Any]) -> dict[str, Any]:
        """Content that is kept of a case beside its name, as JSON can hold it, of what postprocessing has left."""
        return {}

    @abstractmethod
    def write(self, cases: list[dict[str, Any]]) -> None:
        """Write the files, in the main process, from the content and the name, under ``case``, of all cases."""

    def save_json(self, name: str, content: Any) -> None:
        """Write what JSON can hold; numbers that are none become null."""
        text = json.dumps(_without_nan(content), indent=1, ensure_ascii=False) + "\n"
        replace_atomically(self.output_dir / name, lambda p: p.write_text(text, encoding="utf-8"))

    def _start(self, engine: Engine) -> None:
        self.cases: list[dict[str, Any]] = []

    def _collect(self, engine: Engine) -> None:
        output: Any = engine.state.output
        names = [printable(name_in_metadata(item["image"].meta)) for item in output]
        self.cases += [{"case": name, **self.describe(item)} for name, item in zip(names, output, strict=True)]

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


class EnsembleTable(CaseTables):
    """Write how sure the ensemble is of each case, from its ``scores``.

    ``uncertainty.csv`` has a row for each case and region: the mean entropy in bits at the boundary, the Dice between
    members and the Dice that the fused mask is expected to have, see
    :class:`~medsegdiff_monai.inferers.EnsembleScores`. ``uncertainty.json`` is a list of the same with the
    ``sensitivity`` and ``specificity`` of each member by STAPLE. With a single member all of it is unavailable, not
    zero: the fields are empty, null in JSON, and the log says so.

    Args:
        output_dir: folder of the two files.
        regions: label values of each region by name, in the order of the channels. A region without any is one that
            the data set does not label: it has no row.

    Raises:
        InputError: when the folder cannot be written to.
    """

    _columns = ("boundary_entropy_bits", "pairwise_dice", "predicted_dice")

    def __init__(self, output_dir: PathLike, regions: Mapping[str, Sequence[int]]) -> None:
        super().__init__(output_dir)
        self.labelled = {name: c for c, (name, values) in enumerate(regions.items()) if values}

    def describe(self, item: dict[str, Any]) -> dict[str, Any]:
        """The scores of a case, region by region."""
        s = item["scores"]
        tensors = dict(zip(self._columns, (s.boundary_entropy, s.pairwise_dice, s.predicted_dice), strict=True))
        tensors |= {"sensitivity": s.sensitivity, "specificity": s.specificity}
        several = s.pairwise_dice is not None
        regions = []
        for region, c in self.labelled.items():
            values = {name: t[0, ..., c].tolist() if several else None for name, t in tensors.items()}
            regions.append({"region": region, **values})
        return {"scores": regions}

    def write(self, cases: list[dict[str, Any]]) -> None:
        """Write the scores of all cases."""
        entries = [{"case": case["case"], **scores} for case in cases for scores in case["scores"]]
        table = pd.DataFrame(entries, columns=["case", "region", *self._columns])
        save_csv(self.output_dir / "uncertainty.csv", table)
        self.save_json("uncertainty.json", entries)
        if entries and all(entry["pairwise_dice"] is None for entry in entries):
            logger.info("The uncertainty is unavailable with a single member: give num_ensemble at least 2.")


class MeasurementsTable(CaseTables):
    """Write the measurements of each case, as :class:`~medsegdiff_monai.transforms.MeasureRegionsd` leaves them.

    ``measurements.csv`` has a row for each case and region and for each quantity three columns with its unit in their
    names, such as ``volume_mL``, ``volume_mL_low90`` and ``volume_mL_high90``: the value and the ends of its 90 %
    interval. What could not be measured is empty, as are intervals that have fewer than two members behind them. Cases
    without spacing have columns of their own, such as ``area_pixels``, and a ``note``.

    ``measurements.json`` is a list of one entry for each case, region and quantity, with the keys ``case``,
    ``region``, ``quantity``, ``unit`` (empty for numbers and ratios), ``value``, ``low_90`` and ``high_90``, null
    where the table is empty.

    See :class:`CaseTables` for the argument.
    """

    def describe(self, item: dict[str, Any]) -> dict[str, Any]:
        """The measurements of a case."""
        keys = ("region", "quantity", "unit", "value", "low_90", "high_90")
        values = ((m.region, m.quantity, m.unit, m.value, m.low, m.high) for m in item["measurements"])
        return {"measurements": [dict(zip(keys, v, strict=True)) for v in values]}

    def write(self, cases: list[dict[str, Any]]) -> None:
        """Write the measurements of all cases."""
        entries = [{"case": case["case"], **entry} for case in cases for entry in case["measurements"]]
        save_csv(self.output_dir / "measurements.csv", _measurements_by_region(entries))
        self.save_json("measurements.json", entries)
        pixels = len({entry["case"] for entry in entries if entry["unit"] in ("pixels", "voxels")})
        if pixels:
            logger.info("%d of %d cases have files without spacing: measured in pixels.", pixels, len(cases))
        if entries and all(entry["low_90"] is None for entry in entries):
            logger.info("The measurements have no intervals: these take two members of the ensemble at least.")


def _measurements_by_region(entries: list[dict[str, Any]]) -> pd.DataFrame:
    """The table, a row for each case and region."""
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    columns: dict[str, None] = {}  # a set that keeps its order
    for entry in entries:
        case, region, unit = entry["case"], entry["region"], entry["unit"]
        title = "_".join([*entry["quantity"].split(), *([unit] if unit else [])])
        cells = {title: entry["value"], f"{title}_low90": entry["low_90"], f"{title}_high90": entry["high_90"]}
        row = rows.setdefault((case, region), {"case": case, "region": region})
        row |= cells
        columns |= dict.fromkeys(cells)
        if unit in ("pixels", "voxels"):
            row["note"] = "the file states no spacing: pixels, not mm"
    note = ["note"] if any("note" in row for row in rows.values()) else []
    return pd.DataFrame(list(rows.values()), columns=["case", "region", *columns, *note])


class MetricsTable(CaseTables):
    """Write the metrics of an evaluation, case by case, as ``metrics.csv``, and their summary as ``metrics.md``.

    The columns are the evaluator's metrics by name. Where a metric has several values a case, such as one for each
    region, their names are appended, as :class:`RegionMetricHandler` leaves them in the engine's state, else their
    numbers. Cases without a value (a ratio to an empty mask) have an empty field and are left out of the summary,
    which counts them. An evaluator without metrics, which only segments, leaves no table.

    See :class:`CaseTables` for the argument.
    """

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
