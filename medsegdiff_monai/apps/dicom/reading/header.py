# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

import io
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from pydicom import config, uid
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset, FileDataset
from pydicom.filereader import read_dataset, read_partial
from pydicom.tag import Tag
from pydicom.valuerep import VR

from medsegdiff_monai.apps.dicom.reading.attributes import decoded_text, python_encodings, value_of
from medsegdiff_monai.apps.dicom.reading.identity import COPIED

__all__ = ["Instance", "LeftOut", "looks_like_dicom", "read_header", "read_with_pixels"]

_PIXEL_DATA = Tag(0x7FE0, 0x0010)
_FIRST_PIXELS = Tag(0x7FE0, 0x0008)  # of floating point, which no image of a bundle has
_UNDEFINED = 0xFFFFFFFF
_LARGEST_HEADER = 2**26  # bytes: ten thousand frames described in all details need about as much
_MOST_READS = 2_000_000  # parts of a header: what undefined lengths hold is read piece by piece
_DEFLATED, _NATIVE = b"1.2.840.10008.1.2.1.99", b"1.2.840.10008.1.2.1\0\0\0"
_MARK_AT, _MARK = 128, b"DICM"

# Only these attributes are read, so that whatever else a file holds costs neither memory nor time.
_IMAGE = (
    *("SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration", "NumberOfFrames", "Rows", "Columns"),
    *("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"),
)
_HEADER = (
    *COPIED,
    *_IMAGE,
    *("SpecificCharacterSet", "SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"),
    *("FrameOfReferenceUID", "ImageType", "BurnedInAnnotation", "SeriesNumber", "InstanceNumber"),
    *("SeriesDescription", "SeriesDate", "SeriesTime", "ProtocolName", "BodyPartExamined", "PatientPosition"),
    *("EchoTime", "RepetitionTime", "InversionTime", "ScanningSequence", "ContrastBolusAgent"),
    *("ContrastBolusAgentSequence", "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"),
    *("SliceThickness", "SpacingBetweenSlices", "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"),
    *("SequenceOfUltrasoundRegions", "DeidentificationMethodCodeSequence"),
    *("OtherPatientIDs", "PatientBirthName", "PatientMotherBirthName"),  # which must not be printed
)
_PIXELS = (
    *_IMAGE,
    *("RescaleSlope", "RescaleIntercept", "ModalityLUTSequence", "PixelPaddingValue", "PixelPaddingRangeLimit"),
    *(f"{c}PaletteColorLookupTable{part}" for c in ("Red", "Green", "Blue") for part in ("Descriptor", "Data")),
    *(f"Segmented{c}PaletteColorLookupTableData" for c in ("Red", "Green", "Blue")),
    *("ExtendedOffsetTable", "ExtendedOffsetTableLengths", "PixelData"),
)
_TEXTS = (VR.AS, VR.CS, VR.DA, VR.DT, VR.LO, VR.LT, VR.PN, VR.SH, VR.ST, VR.TM, VR.UI, VR.UT)
_BINARY = (VR.US, VR.SS, VR.UL, VR.SL, VR.FL, VR.FD, VR.SQ, VR.AT)


@dataclass
class Instance:
    """A DICOM object: its file, its header without pixels, and notes for the user on what had to be made up for it."""

    path: Path
    header: Dataset
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class LeftOut:
    """A file, series or study that gives no result, and why; neither text holds patient data."""

    what: str  # which it is
    reason: str  # one sentence
    counts: bool = False  # it may have been an image that was meant, so that the run is not a full success


class _BoundedFile:
    """A file of which no more than a header can be read, so that a header cannot fill the memory."""

    def __init__(self, file: Any) -> None:
        self._file, self._bytes, self._reads = file, _LARGEST_HEADER, _MOST_READS
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int = -1) -> bytes:
        """As of files; what lies behind the bounds raises a :class:`MemoryError`."""
        content = self._file.read(min(size, self._bytes) if size >= 0 else self._bytes)
        self._bytes -= len(content)
        self._reads -= 1
        if self._bytes <= 0 or self._reads <= 0:
            raise MemoryError("The header is larger than any that describes an image.")
        return content


def looks_like_dicom(start: bytes) -> bool:
    """Whether a file that starts so (132 bytes or more) is DICOM: by its mark, or by group 0002 or 0008."""
    if start[_MARK_AT : _MARK_AT + 4] == _MARK:
        return True
    if len(start) < 12:
        return False
    little, big = int.from_bytes(start[:2], "little"), int.from_bytes(start[:2], "big")
    explicit = start[4:6].decode("latin_1") in {str(v) for v in VR}
    if explicit and 8 in (little, big):
        return True
    implicit_length = int.from_bytes(start[4:8], "little")
    return (little == 2 and explicit) or (little == 8 and start[3] < 0x20 and implicit_length <= 64)


def read_header(path: Path) -> tuple[Dataset, bool]:
    """Those attributes of a file that an image needs, with their texts decoded, and whether pixels follow them.

    Where the file is damaged, it raises whatever pydicom does.
    """
    lengths: list[int] = []  # of the pixels

    def at_pixels(tag: Any, representation: str | None, length: int) -> bool:
        if tag >= _FIRST_PIXELS:
            lengths.append(length)
        return bool(lengths)

    with path.open("rb") as file:
        stream = _inflated(file, _LARGEST_HEADER)
        header = _read(_BoundedFile(stream), at_pixels, _HEADER)
    header.filename = str(path)
    if stream is not file:
        header.file_meta.TransferSyntaxUID = uid.DeflatedExplicitVRLittleEndian
    _decode(header)
    if "TransferSyntaxUID" not in header.file_meta and lengths and lengths[0] != _UNDEFINED:
        implicit, little = header.original_encoding
        native = uid.ImplicitVRLittleEndian if implicit else uid.ExplicitVRLittleEndian
        header.file_meta.TransferSyntaxUID = native if little else uid.ExplicitVRBigEndian
    return header, bool(lengths)


def read_with_pixels(path: Path, pixel_bytes: int) -> FileDataset:
    """Read pixels and what decodes them; the bytes of pixels that the header declares bound what is inflated."""
    with path.open("rb") as file:
        stream = _inflated(file, _LARGEST_HEADER + pixel_bytes)
        return _read(stream, lambda tag, representation, length: tag > _PIXEL_DATA, _PIXELS)


def _read(stream: Any, stop: Callable[..., bool], keywords: Iterable[str]) -> FileDataset:
    tags: list[Any] = [tag_for_keyword(keyword) for keyword in keywords]
    ds = read_partial(stream, stop_when=stop, force=True, specific_tags=tags)
    ds.buffer = None
    return ds


def _inflated(file: BinaryIO, limit: int) -> BinaryIO:
    """A file as it is, or its content, inflated up to a limit where it is deflated (PS3.5 A.5)."""
    start = file.read(_MARK_AT + 4)
    begins = len(start) if start[_MARK_AT:] == _MARK else 0
    file.seek(begins)
    bounded: Any = _BoundedFile(file)
    meta = read_dataset(bounded, False, True, stop_when=lambda tag, representation, length: tag >> 16 != 2)
    ends = file.tell()
    file.seek(0)
    if str(meta.get("TransferSyntaxUID", "")).encode() != _DEFLATED:
        return file
    head = file.read(ends).replace(_DEFLATED, _NATIVE)
    content = zlib.decompressobj(-zlib.MAX_WBITS).decompress(file.read(limit), limit)
    return io.BytesIO(head + content)


def _decode(header: FileDataset) -> None:
    """Replace texts of whatever representation the file states by their decoded form in that of the dictionary."""
    stated = value_of(header, "SpecificCharacterSet") or ""
    encodings = python_encodings([stated] if isinstance(stated, str) else [str(term) for term in stated])
    for element in list(header.elements()):
        if not isinstance(element, RawDataElement) or element.value is None or element.VR in _BINARY:
            continue
        representation = dictionary_VR(element.tag)
        if representation in _TEXTS:
            value = decoded_text(element.value, encodings).strip(" \0")
            header[element.tag] = DataElement(element.tag, representation, value, validation_mode=config.IGNORE)
