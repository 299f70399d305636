# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0


from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydicom.dataset import Dataset
from pydicom.valuerep import PersonName

__all__ = [
    "decimals",
    "first_value",
    "number",
    "numbers",
    "text",
    "uid_suffix",
    "value_of",
    "words",
]


def value_of(ds: Dataset, keyword: str) -> Any:
    """Value of an attribute, or None where it is absent, empty or damaged (pydicom converts on access, and raises)."""
    try:
        value = ds.get(keyword)
    except Exception:  # whatever the conversion of a damaged value raises, it has no value
        return None
    return None if value is None or value == "" else value


def first_value(ds: Dataset, keyword: str) -> Any:
    """The first value of an attribute that may have several, or None."""
    value = value_of(ds, keyword)
    if isinstance(value, (str, bytes, PersonName)) or not isinstance(value, Sequence):
        return value
    return value[0] if len(value) else None


def text(ds: Dataset, keyword: str) -> str:
    """The first value of an attribute as text without blanks around it; empty where there is none."""
    value = first_value(ds, keyword)
    return "" if value is None else str(value).strip()


def words(ds: Dataset, keyword: str) -> tuple[str, ...]:
    """All values of an attribute as upper-case texts."""
    value = value_of(ds, keyword)
    if value is None:
        return ()
    several = isinstance(value, Sequence) and not isinstance(value, (str, bytes, PersonName))
    return tuple(str(v).strip().upper() for v in (value if several else [value]))


def number(ds: Dataset, keyword: str) -> float | None:
    """The first value of an attribute as a finite number, or None."""
    found = numbers([first_value(ds, keyword)], 1)
    return None if found is None else found[0]


def numbers(value: Any, count: int) -> list[float] | None:
    """A value as so many finite numbers, or None where it is not."""
    try:
        found = [float(v) for v in value]
    except (TypeError, ValueError):
        return None
    return found if len(found) == count and all(abs(v) < 1e12 for v in found) else None


def decimals(values: Sequence[float]) -> list[str]:
    """Numbers as decimal strings of at most 16 characters (PS3.5 6.2), as precise as these allow."""
    return [next(t for d in range(17, 0, -1) if len(t := f"{v:.{d}g}") <= 16) for v in values]


def uid_suffix(uid: object) -> str:
    """The end of a UID, enough to find it in a worklist."""
    return "..." + str(uid)[-8:]
