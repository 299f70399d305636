# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from typing import Any

from pydicom.dataset import Dataset, FileDataset
from pydicom.encaps import generate_fragments
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, RLELossless

from medsegdiff_monai.apps.dicom.headers import number, text
from medsegdiff_monai.apps.dicom.reading import INFLATION
from medsegdiff_monai.utils import InputError

__all__ = ["LARGEST_IMAGE", "check_declared_size", "check_pixels", "number_of_frames"]

LARGEST_IMAGE = 2**29  # values of all frames and colours
_UNDEFINED = 0xFFFFFFFF
_STARTS = (b"\xff\xd8", b"\xff\x4f\xff\x51", b"\x00\x00\x00\x0cjP  ")  # JPEG and JPEG-LS, JPEG 2000, JP2
_SIZ = b"\xff\x4f\xff\x51"
_NO_FRAME_HEADER = (0xC4, 0xC8, 0xCC)  # among the markers C0 to CF of JPEG
_SMALLEST_STREAM = 8  # bytes: the item that a frame is in


def number_of_frames(header: Any) -> int:
    """Number of frames that an object states; 1 where it states none."""
    return max(1, int(number(header, "NumberOfFrames") or 1))


def check_declared_size(header: Dataset, file_size: int, which: str) -> int:
    """Hold the size that a header declares against the file's, before any memory is taken for it.

    Args:
        header: the header.
        file_size: in bytes.
        which: what it is, for messages.

    Returns:
        Bytes of the pixels, decompressed; of no more frames than the file can hold.

    Raises:
        InputError: when the size is missing, the file is too small for a frame, or the image is larger than any that
            is read.
    """
    rows, columns = (int(number(header, keyword) or 0) for keyword in ("Rows", "Columns"))
    if rows <= 0 or columns <= 0:
        raise InputError(f"The header of {which} states no size of its image (Rows, Columns): give one that does.")
    values = rows * columns * max(1, int(number(header, "SamplesPerPixel") or 1))
    frame = max(1, values * max(1, int(number(header, "BitsAllocated") or 8)) // 8)
    syntax = _syntax(header)
    held = file_size * (INFLATION if syntax == DeflatedExplicitVRLittleEndian else 1)
    smallest = _SMALLEST_STREAM if syntax.is_encapsulated else max(1, frame * 2 // 3)  # the latter with halved colours
    if smallest > held:
        raise InputError(
            f"The file of {which} is too small for the {rows} x {columns} pixels that its header declares: it is "
            "truncated, or its header is wrong."
        )
    frames = min(number_of_frames(header), held // smallest)
    if frames * values > LARGEST_IMAGE:
        raise InputError(
            f"The header of {which} declares {frames * values} values, more than the {LARGEST_IMAGE} that are read: "
            "give an image of fewer frames or pixels."
        )
    return frames * frame


def check_pixels(ds: FileDataset, which: str) -> None:
    """Hold a header against the pixels that were read, and mend in it what they leave no doubt about.

    That is the number of frames where whole frames are there, bits that are missing or cannot be, and the transfer
    syntax of pixels that are not compressed although it says so.

    Args:
        ds: header and pixels; it is changed.
        which: what it is, for messages.

    Raises:
        InputError: when pixels are missing or are not what the header says.
    """
    element: Any = ds.get_item("PixelData")
    if element is None or not element.value:
        raise InputError(f"The pixels of {which} are missing: its file is truncated, copy or export it again.")
    content = element.value
    compressed = getattr(element, "length", _UNDEFINED) == _UNDEFINED
    if not compressed and len(content) < element.length:
        raise InputError(f"The pixels of {which} are truncated: the file ends before them: copy or export it again.")
    _complete(ds, len(content), which)
    stated = number_of_frames(ds)
    frame_bits = ds.Rows * ds.Columns * ds.SamplesPerPixel * ds.BitsAllocated
    frame_bytes = frame_bits // 8 * (2 if ds.PhotometricInterpretation == "YBR_FULL_422" else 3) // 3
    if _syntax(ds).is_encapsulated and not compressed and len(content) - stated * frame_bytes in (0, 1):
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    if compressed and not _syntax(ds).is_encapsulated:
        raise InputError(f"The pixels of {which} are compressed, but its transfer syntax is one without: mend it.")
    frames = _streams(ds, which) if _syntax(ds).is_encapsulated else _whole_frames(len(content), frame_bytes, stated)
    if not frames or (frames > 1 and stated == 1 and not _syntax(ds).is_encapsulated):
        raise InputError(
            f"The pixels of {which} are {len(content)} bytes, but {stated} x {ds.Rows} x {ds.Columns} with "
            f"{ds.SamplesPerPixel} x {ds.BitsAllocated} bits are {stated * frame_bytes}: the file is truncated, or its "
            "header is wrong."
        )
    ds.NumberOfFrames = frames


def _syntax(ds: Any) -> Any:
    return ds.file_meta.TransferSyntaxUID


def _complete(ds: Dataset, length: int, which: str) -> None:
    """State as numbers what decoders need, and what is missing where only one value fits."""
    photometric = text(ds, "PhotometricInterpretation").upper()
    if not photometric:
        raise InputError(f"The header of {which} does not state its Photometric Interpretation: mend it.")
    grey = photometric.startswith("MONOCHROME") or photometric == "PALETTE COLOR"
    ds.PhotometricInterpretation = photometric
    ds.Rows, ds.Columns = (int(number(ds, keyword) or 0) for keyword in ("Rows", "Columns"))
    ds.SamplesPerPixel = int(number(ds, "SamplesPerPixel") or (1 if grey else 3))
    if ds.SamplesPerPixel > 1:
        ds.PlanarConfiguration = int(number(ds, "PlanarConfiguration") or 0)
    values = ds.Rows * ds.Columns * ds.SamplesPerPixel * number_of_frames(ds)
    allocated = int(number(ds, "BitsAllocated") or 0)
    if not allocated and (whole := [bits for bits in (8, 16) if length - values * bits // 8 in (0, 1)]):
        allocated = whole[0]
    if allocated == 1:
        raise InputError(f"The pixels of {which} have 1 bit, so it is a mask and no image: give the image.")
    if allocated not in (8, 16, 32):
        raise InputError(f"The header of {which} does not state how many bits its pixels have: mend Bits Allocated.")
    stored = int(number(ds, "BitsStored") or 0)
    ds.BitsAllocated, ds.BitsStored = allocated, stored if 1 < stored <= allocated else allocated
    ds.HighBit = ds.BitsStored - 1
    ds.PixelRepresentation = int(number(ds, "PixelRepresentation") or 0)
    for keyword in ("RescaleSlope", "RescaleIntercept"):
        if keyword in ds and number(ds, keyword) is None:
            if ds.get_item(keyword).value:
                raise InputError(f"The header of {which} has a {keyword} that is no number: mend it.")
            del ds[keyword]


def _whole_frames(length: int, frame: int, stated: int) -> int:
    """Frames in pixels that are not compressed; 0 where they are no whole number of frames.

    Padding that is no whole frame may follow the frames that are stated.
    """
    rest = length - stated * frame
    if 0 <= rest < frame:
        return stated
    return length // frame if length % frame in (0, 1) else stated if rest > 0 else 0


def _streams(ds: Dataset, which: str) -> int:
    """Frames in compressed pixels, each of which begins a stream of its own, of the size that the header states."""
    fragments = list(generate_fragments(ds.PixelData))[1:]  # the first is the table of offsets
    if _syntax(ds) == RLELossless:
        return len(fragments)
    starts = [fragment for fragment in fragments if fragment.startswith(_STARTS)]
    expected = (ds.Rows, ds.Columns, ds.SamplesPerPixel)
    for size in (_stream_size(start) for start in starts):
        if size is not None and size != expected:
            raise InputError(
                f"The compressed pixels of {which} are {size[0]} x {size[1]} with {size[2]} colours, but its header "
                f"states {expected[0]} x {expected[1]} with {expected[2]}: mend it."
            )
    return len(starts) or number_of_frames(ds)


def _stream_size(stream: bytes) -> tuple[int, int, int] | None:
    """Rows, columns and components that a JPEG, JPEG-LS or JPEG 2000 stream declares; None where it is none."""

    def at(place: int, size: int) -> int:
        return int.from_bytes(stream[place : place + size], "big")

    if (siz := stream[:1024].find(_SIZ)) >= 0:
        return at(siz + 12, 4) - at(siz + 20, 4), at(siz + 8, 4) - at(siz + 16, 4), at(siz + 40, 2)
    place = 2
    while place + 10 <= len(stream) and stream[place] == 0xFF:
        marker = stream[place + 1]
        if (0xC0 <= marker <= 0xCF and marker not in _NO_FRAME_HEADER) or marker == 0xF7:
            return at(place + 5, 2), at(place + 7, 2), stream[place + 9]
        place += 1 if marker == 0xFF else 2 + at(place + 2, 2)
    return None
