# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import csv
from pathlib import Path

import pandas as pd
import pytest

from medsegdiff_monai.handlers.tables import save_csv


def cells(folder: Path, *names: str) -> list[str]:
    """The cells that a table with these names of cases has in a spreadsheet."""
    save_csv(folder / "t.csv", pd.DataFrame({"case": list(names)}))
    with (folder / "t.csv").open(encoding="utf-8", newline="") as file:
        return [row[0] for row in csv.reader(file)][1:]


@pytest.mark.parametrize("begin", ["=", "+", "-", "@", " =", "\uff1d", "\uff0d"])
def test_text_is_never_a_formula(tmp_path: Path, begin: str) -> None:
    # As the Open Worldwide Application Security Project advises.
    name = f"{begin}HYPERLINK(A1)"
    assert cells(tmp_path, name) == [f"'{name}"]


def test_text_is_no_formula_where_semicolons_separate(tmp_path: Path) -> None:
    (cell,) = cells(tmp_path, "a;=1+1")
    assert cell.split(";")[1] == "'=1+1"


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("\t=1", "\\t=1"),
        ("\r=1", "\\r=1"),
        ("a\n=1", "a\\n=1"),
        ("a\x1b[31mb", "a\\x1b[31mb"),
        ("a\x9bb", "a\\x9bb"),
        ("a\u202eb", "a\\u202eb"),
        ("a\udcffb", "a\\udcffb"),  # a byte that is no UTF-8, as file names may have it
    ],
)
def test_what_would_steer_a_terminal_is_escaped(tmp_path: Path, name: str, shown: str) -> None:
    assert cells(tmp_path, name) == [shown]


@pytest.mark.parametrize("name", ["case_001", "a-b", "a=b", "Bild Ärm", "a,b", 'say "a"', "", "12"])
def test_other_text_is_left_as_it_is(tmp_path: Path, name: str) -> None:
    assert cells(tmp_path, name) == [name]


def test_numbers_stay_numbers(tmp_path: Path) -> None:
    table = pd.DataFrame({"case": ["-a", "b"], "change": [-1.25, float("nan")], "count": [-3, 4], "note": ["=x", None]})
    save_csv(tmp_path / "t.csv", table)
    assert (tmp_path / "t.csv").read_text().splitlines() == ["case,change,count,note", "'-a,-1.25,-3,'=x", "b,,4,"]
