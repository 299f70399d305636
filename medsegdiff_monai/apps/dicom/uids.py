# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass, field

from highdicom.uid import UID

__all__ = ["ResultUIDs", "derived_uid", "is_valid_uid", "valid_uid"]

_NAMESPACE = uuid.UUID("5b0f8a4e-6f0b-4c5c-9d53-1a8f3f7d2c60")  # drawn once, for this package
_FORM = re.compile(r"(0|[1-9]\d*)(\.(0|[1-9]\d*))+", re.ASCII)  # PS3.5 9.1
_LONGEST = 64


def is_valid_uid(text: str) -> bool:
    """Whether a text is a UID by the rules of DICOM (PS3.5 9.1)."""
    return len(text) <= _LONGEST and _FORM.fullmatch(text) is not None


def valid_uid(text: str) -> str:
    """A text as it is where it is a UID, or else a UID that is always made of the same text."""
    return text if is_valid_uid(text) else derived_uid("source", text)


def derived_uid(*parts: str) -> UID:
    """UID that follows from texts, which cannot be read from it.

    It is a UUID made from names (RFC 9562, 5.5) under the root for UUIDs (PS3.5 B.2).
    """
    return UID(f"2.25.{uuid.uuid5(_NAMESPACE, '|'.join(parts)).int}")


@dataclass(frozen=True)
class ResultUIDs:
    """UIDs of all that is made for a case, derived from two keys, so that equal keys name equal objects.

    Attributes:
        case: tells the case and what segmented it from all others; random by default.
        settings: tells what else makes the pixels different; it goes into the objects' UIDs, not into the series'.
    """

    case: str = field(default_factory=lambda: uuid.uuid4().hex)
    settings: str = ""

    def series(self, number: int) -> UID:
        """Series Instance UID of the series of a number."""
        return derived_uid("series", self.case, str(number))

    def instance(self, number: int, index: int) -> UID:
        """SOP Instance UID of an object of that series, counted from 1."""
        return derived_uid("instance", self.case, self.settings, str(number), str(index))

    def tracking(self, name: str) -> UID:
        """Tracking UID of a segment."""
        return derived_uid("tracking", self.case, self.settings, name)
