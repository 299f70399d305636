# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

import re
import uuid
from collections.abc import Sequence
from typing import Any

from highdicom.uid import UID
from pydicom import uid
from pydicom.charset import CODES_TO_ENCODINGS, decode_bytes, default_encoding, python_encoding
from pydicom.dataset import Dataset
from pydicom.valuerep import TEXT_VR_DELIMS, PersonName

__all__ = ["IMAGE_CLASSES", "MODALITIES", "PICTURE_CLASSES", "RETIRED_CLASSES", "SECONDARY_CAPTURE"]
__all__ += ["VOLUME_CLASSES", "decimals", "decoded_text", "derived_uid", "first_value", "is_valid_uid", "number"]
__all__ += ["numbers", "python_encodings", "text", "uid_suffix", "valid_uid", "value_of", "words"]

SECONDARY_CAPTURE = uid.SecondaryCaptureImageStorage
VOLUME_CLASSES: frozenset[str] = frozenset(
    {uid.MRImageStorage, uid.EnhancedMRImageStorage, uid.LegacyConvertedEnhancedMRImageStorage}  # PS3.4 B.5
)
RETIRED_CLASSES = {  # ultrasound, one frame and several (PS3.6 annex A), and the classes that took their place
    "1.2.840.10008.5.1.4.1.1.6": uid.UltrasoundImageStorage,
    "1.2.840.10008.5.1.4.1.1.3": uid.UltrasoundMultiFrameImageStorage,
}
_PICTURE_MODALITIES: dict[str, str] = {
    **dict.fromkeys((*RETIRED_CLASSES, *RETIRED_CLASSES.values()), "US"),
    uid.VLPhotographicImageStorage: "XC",
    uid.OphthalmicPhotography8BitImageStorage: "OP",
    uid.OphthalmicPhotography16BitImageStorage: "OP",
}
PICTURE_CLASSES: frozenset[str] = frozenset(
    {
        *_PICTURE_MODALITIES,
        SECONDARY_CAPTURE,
        uid.MultiFrameGrayscaleByteSecondaryCaptureImageStorage,
        uid.MultiFrameTrueColorSecondaryCaptureImageStorage,
    }
)
IMAGE_CLASSES = VOLUME_CLASSES | PICTURE_CLASSES
MODALITIES = dict.fromkeys(VOLUME_CLASSES, "MR") | _PICTURE_MODALITIES  # where a class leaves no choice

_NAMESPACE = uuid.UUID("5b0f8a4e-6f0b-4c5c-9d53-1a8f3f7d2c60")  # drawn once, for this package
_UID_FORM = re.compile(r"(0|[1-9]\d*)(\.(0|[1-9]\d*))+", re.ASCII)  # PS3.5 9.1
_LONGEST_UID = 64
# Specific Character Set (PS3.3 C.12.1.1.2)
_TERM = re.compile(r"ISO[ _-]*(2022[ _-]*)?IR[ _-]*(\d+)")
_LATIN = re.compile(r"ISO[ _-]*8859[ _-]*([1-9]|1[013-6])")
_EXTENSIONS = list(dict.fromkeys(CODES_TO_ENCODINGS.values()))
_ESCAPE = b"\x1b"
_REPLACED = "\N{REPLACEMENT CHARACTER}"


def value_of(ds: Dataset, keyword: str) -> Any:
    """Value of an attribute; None where it is absent, empty or damaged (pydicom converts on access, and raises)."""
    try:
        value = ds.get(keyword)
    except Exception:  # whatever the conversion of a damaged value raises, it has no value
        return None
    return None if value is None or value == "" else value


def _values(ds: Dataset, keyword: str) -> Sequence[Any]:
    value = value_of(ds, keyword)
    several = isinstance(value, Sequence) and not isinstance(value, (str, bytes, PersonName))
    return value if several else [] if value is None else [value]


def first_value(ds: Dataset, keyword: str) -> Any:
    """The first value of an attribute that may have several, or None."""
    return next(iter(_values(ds, keyword)), None)


def text(ds: Dataset, keyword: str) -> str:
    """The first value of an attribute as text without blanks around it; empty where there is none."""
    value = first_value(ds, keyword)
    return "" if value is None else str(value).strip()


def words(ds: Dataset, keyword: str) -> tuple[str, ...]:
    """All values of an attribute as upper-case texts."""
    return tuple(str(v).strip().upper() for v in _values(ds, keyword))


def number(ds: Dataset, keyword: str) -> float | None:
    """The first value of an attribute as a finite number, or None."""
    values = numbers([first_value(ds, keyword)], 1)
    return None if values is None else values[0]


def numbers(value: Any, count: int) -> list[float] | None:
    """A value as so many finite numbers, or None where it is not."""
    try:
        converted = [float(v) for v in value]
    except (TypeError, ValueError):
        return None
    return converted if len(converted) == count and all(abs(v) < 1e12 for v in converted) else None


def decimals(values: Sequence[float]) -> list[str]:
    """Numbers as decimal strings of at most 16 characters (PS3.5 6.2), as precise as these allow."""
    return [next(t for d in range(17, 0, -1) if len(t := f"{v:.{d}g}") <= 16) for v in values]


def uid_suffix(uid: object) -> str:
    """The end of a UID, enough to find it in a worklist."""
    return "..." + str(uid)[-8:]


def is_valid_uid(text: str) -> bool:
    """Whether a text is a UID by the rules of DICOM (PS3.5 9.1)."""
    return len(text) <= _LONGEST_UID and _UID_FORM.fullmatch(text) is not None


def valid_uid(text: str) -> str:
    """A text as it is where it is a UID, or else a UID that is always made of the same text."""
    return text if is_valid_uid(text) else derived_uid("source", text)


def derived_uid(*parts: str) -> UID:
    """UID that follows from texts and does not tell them: a UUID of names (RFC 9562, 5.5) as UID (PS3.5 B.2)."""
    return UID(f"2.25.{uuid.uuid5(_NAMESPACE, '|'.join(parts)).int}")


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
