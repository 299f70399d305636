# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd

from medsegdiff_monai.utils import printable, replace_atomically

__all__ = ["save_csv"]

# Spreadsheets take a cell that begins so for a formula, some also in the full width of East Asian scripts. A semicolon
# begins a cell where the comma is the decimal point.
_FORMULA = re.compile(r"(^|;)(?=\s*[=+\-@\uff1d\uff0b\uff0d\uff20])")


def save_csv(path: Path, table: pd.DataFrame) -> None:
    """Write a table with a header, numbers to six digits and nothing where there is no value.

    Text comes from file names. One that a spreadsheet would run as a formula gets an apostrophe before it, and control
    characters are escaped, see :func:`~medsegdiff_monai.utils.printable`.

    Raises:
        InputError: when the file cannot be written.
    """
    safe = table.map(lambda cell: _FORMULA.sub(r"\1'", printable(cell)) if isinstance(cell, str) else cell)
    replace_atomically(path, lambda partial: safe.to_csv(partial, index=False, float_format="%.6g"))
