# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from ignite.engine import Engine
from monai.data import MetaTensor

from medsegdiff_monai.handlers import MeasurementsTable
from medsegdiff_monai.measurements import Measurement
from medsegdiff_monai.utils import InputError

SOLID = [
    Measurement("TC", "volume", "mL", 1.5, 1.25, 2.0),
    Measurement("TC", "lesions", "", 2.0, 1.0, 3.0),
    Measurement("WT", "volume", "mL", 0.0, 0.0, 0.5),
    Measurement("WT", "lesions", "", 0.0, 0.0, 1.0),
]
FLAT = [
    Measurement("disc", "longest diameter", "pixels", 1 / 3, None, None),
    Measurement("cup / disc", "vertical ratio", "", None, None, None),
]


def tables(folder: Path, **cases: list[Measurement]) -> tuple[list[str], Any]:
    """The lines of the table and the content of the JSON file of these cases."""
    items = [
        {"image": MetaTensor(torch.zeros(1, 2, 2), meta={"case": name}), "measurements": found}
        for name, found in cases.items()
    ]
    engine = Engine(lambda *_: items)
    MeasurementsTable(folder).attach(engine)
    engine.run([0])
    content = json.loads((folder / "measurements.json").read_text(), parse_constant=pytest.fail)
    return (folder / "measurements.csv").read_text().splitlines(), content


def test_row_for_each_case_and_region_with_units_in_the_header(tmp_path: Path) -> None:
    lines, entries = tables(tmp_path, a=SOLID, b=SOLID[:2])
    assert lines == [
        "case,region,volume_mL,volume_mL_low90,volume_mL_high90,lesions,lesions_low90,lesions_high90",
        "a,TC,1.5,1.25,2,2,1,3",
        "a,WT,0,0,0.5,0,0,1",
        "b,TC,1.5,1.25,2,2,1,3",
    ]
    keys = ("case", "region", "quantity", "unit", "value", "low_90", "high_90")
    assert entries[0] == dict(zip(keys, ("a", "TC", "volume", "mL", 1.5, 1.25, 2.0)))
    assert [(e["case"], e["quantity"]) for e in entries] == [
        *[("a", "volume"), ("a", "lesions")] * 2,
        ("b", "volume"),
        ("b", "lesions"),
    ]


def test_cases_without_spacing_have_columns_and_a_note_of_their_own(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        lines, _ = tables(tmp_path, a=SOLID[:1], b=FLAT)
    header, *rows = lines
    assert header.split(",")[5:8] == [
        "longest_diameter_pixels",
        "longest_diameter_pixels_low90",
        "longest_diameter_pixels_high90",
    ]
    assert header.endswith(",vertical_ratio_high90,note")
    assert rows == [
        "a,TC,1.5,1.25,2,,,,,,,",
        'b,disc,,,,0.333333,,,,,,"the file states no spacing: pixels, not mm"',
        "b,cup / disc,,,,,,,,,,",
    ]
    assert "1 of 2 cases have files without spacing" in caplog.text
    assert "no intervals" not in caplog.text


def test_what_is_not_known_is_null_and_the_log_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    unknown = Measurement("cup / disc", "vertical ratio", "", float("nan"))
    with caplog.at_level(logging.INFO):
        _, entries = tables(tmp_path, b=[*FLAT, unknown])
    assert [entry["value"] for entry in entries] == [1 / 3, None, None]
    assert {entry["low_90"] for entry in entries} == {None}
    assert caplog.text.count("no intervals") == 1


def test_unwritable_folder_is_refused_before_the_run(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="Cannot write to the output folder"):
        MeasurementsTable(tmp_path / "file" / "results")
