# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from pydicom.charset import CODES_TO_ENCODINGS, decode_bytes, default_encoding, python_encoding
from pydicom.dataset import Dataset
from pydicom.valuerep import TEXT_VR_DELIMS, PersonName

__all__ = [
    "IMAGE_CLASSES",
    "MODALITIES",
    "PICTURE_CLASSES",
    "RETIRED_CLASSES",
    "SECONDARY_CAPTURE",
    "VOLUME_CLASSES",
    "decimals",
    "decoded_text",
    "first_value",
    "number",
    "numbers",
    "python_encodings",
    "text",
    "uid_suffix",
    "value_of",
    "words",
]

SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
VOLUME_CLASSES = frozenset(
    {  # classic, Enhanced, and Legacy Converted Enhanced MR (PS3.4 B.5)
        "1.2.840.10008.5.1.4.1.1.4",
        "1.2.840.10008.5.1.4.1.1.4.1",
        "1.2.840.10008.5.1.4.1.1.4.4",
    }
)
RETIRED_CLASSES = {  # ultrasound, one frame and several (PS3.6 annex A), and the classes that took their place
    "1.2.840.10008.5.1.4.1.1.6": "1.2.840.10008.5.1.4.1.1.6.1",
    "1.2.840.10008.5.1.4.1.1.3": "1.2.840.10008.5.1.4.1.1.3.1",
}
PICTURE_CLASSES = frozenset(
    {
        *RETIRED_CLASSES,
        *RETIRED_CLASSES.values(),
        "1.2.840.10008.5.1.4.1.1.77.1.4",  # photograph
        "1.2.840.10008.5.1.4.1.1.77.1.5.1",  # ophthalmic photograph, 8 bits
        "1.2.840.10008.5.1.4.1.1.77.1.5.2",  # ophthalmic photograph, 16 bits
        SECONDARY_CAPTURE,
        f"{SECONDARY_CAPTURE}.2",  # multi-frame grey byte
        f"{SECONDARY_CAPTURE}.4",  # multi-frame true colour
    }
)
IMAGE_CLASSES = VOLUME_CLASSES | PICTURE_CLASSES
MODALITIES = {  # of the objects of a class, where that leaves no choice
    **dict.fromkeys(VOLUME_CLASSES, "MR"),
    **dict.fromkeys((*RETIRED_CLASSES, *RETIRED_CLASSES.values()), "US"),
    "1.2.840.10008.5.1.4.1.1.77.1.4": "XC",
    "1.2.840.10008.5.1.4.1.1.77.1.5.1": "OP",
    "1.2.840.10008.5.1.4.1.1.77.1.5.2": "OP",
}


def value_of(ds: Dataset, keyword: str) -> Any:
    """Value of an attribute; None where it is absent, empty or damaged (pydicom converts on access, and raises)."""
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


_TERM = re.compile(r"ISO[ _-]*(2022[ _-]*)?IR[ _-]*(\d+)")
_LATIN = re.compile(r"ISO[ _-]*8859[ _-]*([1-9]|1[013-6])")
_EXTENSIONS = list(dict.fromkeys(CODES_TO_ENCODINGS.values()))
_ESCAPE = b"\x1b"
_REPLACED = "\N{REPLACEMENT CHARACTER}"


def python_encodings(values: Sequence[str]) -> list[str]:
    """Python's names of those values of Specific Character Set (PS3.3 C.12.1.1.2) that are known, however spelt."""
    encodings = (_python_encoding(value.strip().upper()) for value in values)
    return [encoding for encoding in encodings if encoding is not None]


def _python_encoding(value: str) -> str | None:
    if match := _TERM.fullmatch(value):
        single, switched = f"ISO_IR {match[2]}", f"ISO 2022 IR {match[2]}"
        return python_encoding.get(switched) if match[1] else python_encoding.get(single, python_encoding.get(switched))
    if match := _LATIN.fullmatch(value):
        return f"iso8859_{match[1]}"
    known = "ISO_IR 192" if value.startswith("UTF") else "GB18030" if value.startswith("GB") else value
    return python_encoding.get(known)


def decoded_text(value: bytes, encodings: Sequence[str]) -> str:
    """Text of an attribute by the stated character sets, else UTF-8 where it is that, else Latin-1.

    Escape sequences switch the character set also where the header does not state that they do.
    """
    if value.isascii() and _ESCAPE not in value:
        return value.decode("ascii")
    first = encodings[0] if encodings else default_encoding
    if _ESCAPE in value or first != default_encoding:
        several = [first, *_EXTENSIONS] if _ESCAPE in value else [first]
        text = decode_bytes(value, several, TEXT_VR_DELIMS)  # never raises, but replaces what it cannot decode
        if _REPLACED not in text:
            return text
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value.decode("latin_1")
