# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

"""DICOM files as the elements that they are stored as, of which any may be made wrong."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from pydicom.datadict import dictionary_VR

__all__ = ["DEFLATED", "PREAMBLE", "TRANSFER_SYNTAX", "Element", "elements_of", "file_of", "with_value"]

PREAMBLE = 132
TRANSFER_SYNTAX = 0x00020010
DEFLATED = b"1.2.840.10008.1.2.1.99"
_UNDEFINED = 2**32 - 1
_LONG = (b"OB", b"OW", b"OF", b"OD", b"OL", b"SQ", b"UN", b"UT", b"UC", b"UR")


@dataclass(frozen=True)
class Element:
    """An element of the highest level as it is stored.

    Attributes:
        tag: group and element.
        vr: value representation; None where the transfer syntax leaves it out.
        value: bytes of the value; of one of undefined length all that follows.
        undefined: whether its length is undefined.
    """

    tag: int
    vr: bytes | None
    value: bytes
    undefined: bool = False

    def stored(self, length: int | None = None) -> bytes:
        """Its bytes, with another length than the true one where that is given."""
        size = _UNDEFINED if self.undefined else len(self.value) if length is None else length
        tag = struct.pack("<HH", self.tag >> 16, self.tag & 0xFFFF)
        if self.vr is None:
            return tag + struct.pack("<I", size) + self.value
        if self.vr in _LONG:
            return tag + self.vr + b"\0\0" + struct.pack("<I", size) + self.value
        return tag + self.vr + struct.pack("<H", min(size, 65534)) + self.value[:65534]


def elements_of(content: bytes) -> tuple[list[Element], bytes]:
    """Take a file apart.

    Args:
        content: bytes of a valid file.

    Returns:
        Elements in little endian, and what follows where the file goes on in another way (deflated, big endian).
    """
    elements: list[Element] = []
    place = PREAMBLE
    while place + 8 <= len(content):
        group, number = struct.unpack("<HH", content[place : place + 4])
        letters = content[place + 4 : place + 6]
        vr = letters if letters.isalpha() and letters.isupper() else None
        if elements and not elements[-1].tag <= (group << 16) + number:
            break
        if group > 2 and _text(elements, TRANSFER_SYNTAX) == DEFLATED:
            break
        start = place + (12 if vr in _LONG else 8)
        size = content[place + 6 : start] if vr is not None and vr not in _LONG else content[start - 4 : start]
        length = int.from_bytes(size, "little")
        undefined = length == _UNDEFINED
        end = len(content) if undefined else start + length
        if end > len(content):
            break
        elements.append(Element((group << 16) + number, vr, content[start:end], undefined))
        place = end
    return elements, content[place:]


def _text(elements: list[Element], tag: int) -> bytes:
    return next((e.value.rstrip(b"\0 ") for e in elements if e.tag == tag), b"")


def file_of(content: bytes, elements: list[Element], rest: bytes) -> bytes:
    """A file with the preamble of ``content``, elements, and what follows them."""
    return content[:PREAMBLE] + b"".join(e.stored() for e in elements) + rest


def with_value(elements: list[Element], tag: int, value: bytes) -> list[Element]:
    """The elements with a value under a tag, in the order of their tags."""
    implicit = tag >> 16 > 2 and any(e.vr is None for e in elements)
    vr = None if implicit else dictionary_VR(tag).split()[0].encode()
    kept = [e for e in elements if e.tag != tag]
    return sorted([*kept, Element(tag, vr, value)], key=lambda e: e.tag)
