# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import logging
from typing import Any

import pandas as pd

from medsegdiff_monai.handlers.case_tables import CaseTables, save_csv
from medsegdiff_monai.measurements import Measurement

__all__ = ["MeasurementsTable"]

logger = logging.getLogger(__name__)

_ENDS = {"value": "", "low_90": "_low90", "high_90": "_high90"}
_NOTE = "the file states no spacing: pixels, not mm"


class MeasurementsTable(CaseTables):
    """Write the measurements of each case, as :class:`~medsegdiff_monai.transforms.MeasureRegionsd` leaves them.

    ``measurements.csv`` has a row for each case and region and for each quantity three columns with its unit in their
    names, such as ``volume_mL``, ``volume_mL_low90`` and ``volume_mL_high90``: the value and the ends of its 90 %
    interval. What could not be measured is empty, as are intervals that have fewer than two members behind them. Cases
    without spacing have columns of their own, such as ``area_pixels``, and a ``note``.

    ``measurements.json`` is a list of one entry for each case, region and quantity, with the keys ``case``,
    ``region``, ``quantity``, ``unit`` (empty for numbers and ratios), ``value``, ``low_90`` and ``high_90``, null
    where the table is empty.

    Args:
        output_dir: folder of the two files.

    Raises:
        InputError: when the folder cannot be written to.
    """

    def found(self, item: dict[str, Any]) -> dict[str, Any]:
        """The measurements of a case."""
        return {"measurements": [_entry(m) for m in item["measurements"]]}

    def write(self, cases: list[dict[str, Any]]) -> None:
        """Write the measurements of all cases."""
        entries = [{"case": case["case"], **entry} for case in cases for entry in case["measurements"]]
        save_csv(self.output_dir / "measurements.csv", _wide(entries))
        self.save_json("measurements.json", entries)
        pixels = len({entry["case"] for entry in entries if entry["unit"] in ("pixels", "voxels")})
        if pixels:
            logger.info("%d of %d cases have files without spacing: measured in pixels.", pixels, len(cases))
        if entries and all(entry["low_90"] is None for entry in entries):
            logger.info("The measurements have no intervals: these take two members of the ensemble at least.")


def _entry(measurement: Measurement) -> dict[str, Any]:
    m = measurement
    named = {"region": m.region, "quantity": m.quantity, "unit": m.unit}
    return {**named, "value": m.value, "low_90": m.low, "high_90": m.high}


def _wide(entries: list[dict[str, Any]]) -> pd.DataFrame:
    """The table, a row for each case and region."""
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    columns: dict[str, None] = {}  # a set that keeps its order
    notes = {}
    for entry in entries:
        key = (entry["case"], entry["region"])
        row = rows.setdefault(key, {"case": key[0], "region": key[1]})
        title = "_".join([*entry["quantity"].split(), *([entry["unit"]] if entry["unit"] else [])])
        for name, ending in _ENDS.items():
            row[title + ending] = entry[name]
            columns[title + ending] = None
        if entry["unit"] in ("pixels", "voxels"):
            notes[key] = _NOTE
    if notes:
        rows = {key: {**row, "note": notes.get(key)} for key, row in rows.items()}
        columns["note"] = None
    return pd.DataFrame(list(rows.values()), columns=["case", "region", *columns])
