# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

"""Mutations of DICOM files: values of attributes, their lengths and representations, pixels and their description."""

from __future__ import annotations

import struct
import zlib
from dataclasses import replace

import numpy as np
from pydicom.datadict import dictionary_VR, tag_for_keyword

from .dicom_elements import DEFLATED, PREAMBLE, TRANSFER_SYNTAX, Element, elements_of, file_of, with_value
from .mutate_bytes import BYTE_MUTATORS, Mutator, limit_number

__all__ = ["DICOM_MUTATORS", "dicom_pixel_description", "dicom_value"]

_PIXEL_DATA, _SOP_CLASS = 0x7FE00010, 0x00080016
_BOMB = 10_000_000
_DEEPEST = 3000

_NONSENSE: dict[str, tuple[str, ...]] = {
    "UI": ("", "1.2.03", "1.2." + "9" * 80, "a.b.c", "1..2", " ", "2.25.1\\2.25.2"),
    "DA": ("", "20241399", "2024-01-05", "0", "20240105-20240106", "today"),
    "TM": ("", "256199", "10:15", "9", "101500.1234567890", "noon"),
    "CS": ("", "female", "ISO_IR 6", "\\ISO 2022 IR 87", "ISO IR 100", "X" * 40, "a\nb"),
    "PN": ("", "^^^^^^^", "=" * 9, "A" * 300, "Ren\udce9", "x\x1b[31mred", "A\\B"),
    "DS": ("", "nan", "inf", "1e400", "0", "-1", "1,5", "\\".join("9" * 40), "x"),
    "IS": ("", "99999999999", "-1", "1.5", "0", "x"),
}
_TEXTS = ("", "x" * 70, "=1+1", "\x1b]0;t\x07", "a\nb", "\\" * 30, "\0\0", "\udcff\udcfe")
_ADDED = (  # attributes that an object need not have
    "SpecificCharacterSet",
    "BurnedInAnnotation",
    "RescaleSlope",
    "RescaleIntercept",
    "NumberOfFrames",
    "PixelPaddingValue",
    "ImageOrientationPatient",
    "ImagePositionPatient",
    "PixelSpacing",
    "LossyImageCompression",
    "VOILUTFunction",
    "ReferringPhysicianName",
    "StudyTime",
)
_PIXEL_FIELDS: dict[str, tuple[int | str, ...]] = {
    "Rows": (0, 1, 39, 41, 65535),
    "Columns": (0, 1, 47, 49, 65535),
    "BitsAllocated": (0, 1, 7, 8, 12, 16, 32, 64),
    "BitsStored": (0, 1, 7, 8, 12, 16, 40),
    "HighBit": (0, 6, 7, 15, 31, 99),
    "PixelRepresentation": (0, 1, 2),
    "SamplesPerPixel": (0, 1, 2, 3, 4),
    "PlanarConfiguration": (0, 1, 2),
    "PixelPaddingValue": (0, 65535),
    "NumberOfFrames": ("0", "1", "2", "-1", "1000000", "99999999999", "x"),
    "PhotometricInterpretation": ("RGB", "MONOCHROME1", "PALETTE COLOR", "YBR_FULL_422", "YBR_ICT", "ARGB", ""),
    "RescaleSlope": ("0", "nan", "-1", "1e300", ""),
    "PixelSpacing": ("0\\0", "1", "-1\\-1", "nan\\nan", "1e-9\\1e9", ""),
    "ImageOrientationPatient": ("0\\0\\0\\0\\0\\0", "1\\0\\0\\1\\0\\0", "nan\\0\\0\\0\\1\\0", "1\\0"),
    "ImagePositionPatient": ("", "0\\0\\0", "nan\\0\\0", "1e300\\0\\0", "1\\2"),
}


def _encoded(value: int | str) -> bytes:
    if isinstance(value, int):
        return struct.pack("<H", value)
    raw = value.encode("utf-8", "surrogateescape")
    return raw + b" " * (len(raw) % 2)


def _chosen(elements: list[Element], rng: np.random.Generator) -> int:
    return int(rng.integers(0, len(elements)))


def dicom_value(content: bytes, rng: np.random.Generator) -> bytes:
    """Nonsense of their representation in one to three attributes, or the attribute left out."""
    elements, rest = elements_of(content)
    for _ in range(int(rng.integers(1, 4))):
        tags = [e.tag for e in elements if e.tag != _PIXEL_DATA]
        tag = tags[int(rng.integers(0, len(tags)))]
        if rng.random() < 0.25:
            tag = int(tag_for_keyword(_ADDED[int(rng.integers(0, len(_ADDED)))]) or tag)
        nonsense = _NONSENSE.get(_representation(tag), _TEXTS) if rng.random() < 0.8 else _TEXTS
        if rng.random() < 0.15:
            elements = [e for e in elements if e.tag != tag]
        else:
            elements = with_value(elements, tag, _encoded(nonsense[int(rng.integers(0, len(nonsense)))]))
    return file_of(content, elements, rest)


def _representation(tag: int) -> str:
    try:
        return dictionary_VR(tag)
    except KeyError:  # a private attribute
        return "UN"


def dicom_pixel_description(content: bytes, rng: np.random.Generator) -> bytes:
    """Another size, depth, number of frames, kind of colour or geometry than the pixels have."""
    elements, rest = elements_of(content)
    names = list(_PIXEL_FIELDS)
    for _ in range(int(rng.integers(1, 3))):
        name = names[int(rng.integers(0, len(names)))]
        values = _PIXEL_FIELDS[name]
        value = values[int(rng.integers(0, len(values)))]
        if isinstance(value, int) and rng.random() < 0.3:
            value = limit_number(rng, 16)
        elements = with_value(elements, int(tag_for_keyword(name) or 0), _encoded(value))
    return file_of(content, elements, rest)


def dicom_pixels(content: bytes, rng: np.random.Generator) -> bytes:
    """Pixels that are fewer, more, of odd length, constant, noise, or missing."""
    elements, rest = elements_of(content)
    if not elements or elements[-1].tag != _PIXEL_DATA:
        return BYTE_MUTATORS[_index(BYTE_MUTATORS, rng)](content, rng)
    value = elements[-1].value
    values = (
        value[: int(rng.integers(0, len(value)))],
        value + rng.bytes(int(rng.integers(1, 2000))),
        value[:-1],
        b"\7" * len(value),
        rng.bytes(len(value)),
        b"",
    )
    changed = replace(elements[-1], value=values[_index(values, rng)])
    return file_of(content, [*elements[:-1], changed] if rng.random() < 0.9 else elements[:-1], rest)


def _index(choices: tuple, rng: np.random.Generator) -> int:
    return int(rng.integers(0, len(choices)))


def dicom_length(content: bytes, rng: np.random.Generator) -> bytes:
    """An element whose length or representation is not that of its value."""
    elements, rest = elements_of(content)
    i = _chosen(elements, rng)
    element, length = elements[i], None
    if element.vr is None or rng.random() < 0.6:
        length = limit_number(rng) if rng.random() < 0.5 else max(len(element.value) + int(rng.integers(-4, 5)), 0)
    else:
        element = replace(element, vr=(b"UN", b"SQ", b"OB", b"FD", b"AT", b"DS", b"zz")[int(rng.integers(0, 7))])
    parts = [e.stored() for e in elements]
    parts[i] = element.stored(length)
    return content[:PREAMBLE] + b"".join(parts) + rest


def dicom_order(content: bytes, rng: np.random.Generator) -> bytes:
    """An element repeated, put elsewhere or cut out with all that follows."""
    elements, rest = elements_of(content)
    i = _chosen(elements, rng)
    if rng.random() < 0.2:
        return file_of(content, elements[:i], b"")
    moved = elements[i]
    others = elements if rng.random() < 0.5 else [*elements[:i], *elements[i + 1 :]]
    place = _chosen(elements, rng)
    return file_of(content, [*others[:place], moved, *others[place:]], rest)


def dicom_nested(content: bytes, rng: np.random.Generator) -> bytes:
    """A sequence nested up to thousands of levels, at times with a fault at its bottom."""
    elements, rest = elements_of(content)
    inner = b"" if rng.random() < 0.5 else Element(0x00080060, b"CS", b"x" * 30).stored()[: int(rng.integers(1, 30))]
    tag = int(rng.choice((0x00081140, 0x00082112, 0x00400275, 0x00321064, 0x00189346, 0x00101002)))
    vr = None if any(e.vr is None for e in elements) else b"SQ"
    for _ in range(int(rng.choice((1, 5, 30, 200, _DEEPEST)))):
        item = b"\xfe\xff\x00\xe0" + struct.pack("<I", len(inner)) + inner
        inner = Element(tag, vr, item).stored()
    nested = Element(tag, vr, inner[8 if vr is None else 12 :])
    return file_of(content, sorted([*elements, nested], key=lambda e: e.tag), rest)


def dicom_syntax(content: bytes, rng: np.random.Generator) -> bytes:
    """Another transfer syntax or SOP class than the object has."""
    elements, rest = elements_of(content)
    ends = ("", ".1", ".2", ".1.99", ".5", ".4.50", ".4.57", ".4.70", ".4.80", ".4.90", ".4.102", ".4.201", ".4.999")
    classes = (
        ".1.4",
        ".1.6.1",
        ".1.3.1",
        ".1.6",
        ".1.3",
        ".1.7",
        ".1.2",
        ".1.66.4",
        ".1.4.1",
        ".1.77.1.5.1",
        ".1.88.22",
    )
    if rng.random() < 0.6:
        elements = with_value(elements, TRANSFER_SYNTAX, _encoded("1.2.840.10008.1.2" + ends[_index(ends, rng)]))
    else:
        elements = with_value(elements, _SOP_CLASS, _encoded("1.2.840.10008.5.1.4.1" + classes[_index(classes, rng)]))
    return file_of(content, elements, rest)


def dicom_deflated(content: bytes, rng: np.random.Generator) -> bytes:
    """The data set deflated: whole, with mutated bytes within, or with megabytes of zeros behind the pixels."""
    elements, rest = elements_of(content)
    if any(e.vr is None for e in elements):
        return dicom_length(content, rng)
    meta = with_value([e for e in elements if e.tag >> 16 == 2], TRANSFER_SYNTAX, _encoded(DEFLATED.decode()))
    data = b"".join(e.stored() for e in elements if e.tag >> 16 != 2) + rest
    kind = int(rng.integers(0, 3))
    if kind == 0:
        data = BYTE_MUTATORS[_index(BYTE_MUTATORS, rng)](data, rng)
    elif kind == 1:
        data += b"\0" * _BOMB
    packer = zlib.compressobj(1, wbits=-zlib.MAX_WBITS)
    return file_of(content, meta, packer.compress(data) + packer.flush())


def dicom_beginning(content: bytes, rng: np.random.Generator) -> bytes:
    """A file without its preamble, or without or with another meta information."""
    elements, rest = elements_of(content)
    kind = int(rng.integers(0, 3))
    if kind == 0:
        return content[PREAMBLE:]
    if kind == 1:
        return file_of(content, [e for e in elements if e.tag >> 16 != 2], rest)
    return file_of(content, [e for e in elements if e.tag != TRANSFER_SYNTAX], rest)


DICOM_MUTATORS: tuple[Mutator, ...] = (
    dicom_value,
    dicom_value,
    dicom_value,
    dicom_pixel_description,
    dicom_pixel_description,
    dicom_pixels,
    dicom_length,
    dicom_order,
    dicom_nested,
    dicom_syntax,
    dicom_deflated,
    dicom_beginning,
)
