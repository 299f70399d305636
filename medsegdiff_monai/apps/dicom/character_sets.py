# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import re
from collections.abc import Sequence

from pydicom.charset import CODES_TO_ENCODINGS, decode_bytes, default_encoding, python_encoding
from pydicom.valuerep import TEXT_VR_DELIMS

__all__ = ["decoded_text", "python_encodings"]

_ISO_IR = re.compile(r"ISO[ _-]*(?:2022[ _-]*)?IR[ _-]*(\d+)")
_ISO_8859 = re.compile(r"ISO[ _-]*8859[ _-]*(\d+)")
_LATIN = {"1": "ISO_IR 100", "2": "ISO_IR 101", "3": "ISO_IR 109", "4": "ISO_IR 110", "5": "ISO_IR 144"} | {
    "6": "ISO_IR 127",
    "7": "ISO_IR 126",
    "8": "ISO_IR 138",
    "9": "ISO_IR 148",
}
_EXTENSIONS = list(dict.fromkeys(CODES_TO_ENCODINGS.values()))
_ESCAPE = b"\x1b"
_REPLACED = "\N{REPLACEMENT CHARACTER}"


def python_encodings(values: Sequence[str]) -> list[str]:
    """Python's names of the character sets that a header states, however they are spelt; without unknown ones.

    Args:
        values: values of Specific Character Set (0008,0005), see PS3.3 C.12.1.1.2.
    """
    found = (python_encoding.get(_defined_term(value.strip().upper())) for value in values)
    return [encoding for encoding in found if encoding is not None]


def _defined_term(value: str) -> str:
    """The standard's spelling of a character set, or the value itself where it is like none of them."""
    if match := _ISO_IR.fullmatch(value):
        single, switched = f"ISO_IR {match[1]}", f"ISO 2022 IR {match[1]}"
        return single if single in python_encoding and "2022" not in value else switched
    if match := _ISO_8859.fullmatch(value):
        return _LATIN.get(match[1], value)
    if value.startswith("UTF"):
        return "ISO_IR 192"
    return "GB18030" if value.startswith("GB") else value


def decoded_text(value: bytes, encodings: Sequence[str]) -> str:
    """The text of an attribute: by the stated character sets, or else UTF-8 where it is that, or else Latin-1.

    Escape sequences switch the character set also where the header does not state that they do.

    Args:
        value: its bytes.
        encodings: what the header states, as :func:`python_encodings` gives it.
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
