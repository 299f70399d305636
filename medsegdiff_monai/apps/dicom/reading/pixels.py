# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileDataset
from pydicom.encaps import generate_fragments
from pydicom.pixels import apply_color_lut, apply_modality_lut, get_decoder, pixel_array
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, RLELossless

from medsegdiff_monai.apps.dicom.limits import is_out_of_memory
from medsegdiff_monai.apps.dicom.reading.attributes import first_value, is_valid_uid, number, text
from medsegdiff_monai.apps.dicom.reading.header import Instance, read_with_pixels
from medsegdiff_monai.data.reading.header import DEFLATE_RATIO, MAX_VALUES
from medsegdiff_monai.utils import InputError

__all__ = ["decode_frames", "number_of_frames"]

_UNDEFINED = 0xFFFFFFFF
_STARTS = (b"\xff\xd8", b"\xff\x4f\xff\x51", b"\x00\x00\x00\x0cjP  ")  # JPEG and JPEG-LS, JPEG 2000, JP2
_SIZ = b"\xff\x4f\xff\x51"
_NO_FRAME_HEADER = (0xC4, 0xC8, 0xCC)  # among the markers C0 to CF of JPEG
_RESCALE = ("RescaleSlope", "RescaleIntercept")
_SMALLEST_STREAM = 8  # bytes: the item that a frame is in


def number_of_frames(header: Any) -> int:
    """Number of frames that an object states; 1 where it states none."""
    return max(1, int(number(header, "NumberOfFrames") or 1))


def decode_frames(instance: Instance, which: str, mask_padding: bool = False) -> np.ndarray:
    """Pixels ``(frames, rows, columns)`` of an object, decompressed, or ``(frames, rows, columns, 3)`` in RGB.

    Modality values (PS3.3 C.11.1) are applied where the object states them at its top level; those of functional groups
    are not. Padding (PS3.3 C.7.5.1.1.2) can be masked. An :class:`InputError` calls the object ``which``.
    """
    _check_decoder(instance, which)
    pixel_bytes = _check_declared_size(instance.header, instance.path.stat().st_size, which)
    try:
        ds = read_with_pixels(instance.path, pixel_bytes)
        ds.file_meta.TransferSyntaxUID = instance.header.file_meta.TransferSyntaxUID
        _check_pixels(ds, which)
        pixels = pixel_array(ds)
        shape = (number_of_frames(ds), int(ds.Rows), int(ds.Columns))
        if text(ds, "PhotometricInterpretation") == "PALETTE COLOR":
            return apply_color_lut(pixels, ds)[..., :3].reshape(*shape, 3)
        if ds.SamplesPerPixel != 1:
            return pixels.reshape(*shape, 3)
        values = apply_modality_lut(pixels, ds)
        padding = _padding(ds) if mask_padding else None
        if padding is not None:
            values = np.ma.masked_array(values, (pixels >= padding[0]) & (pixels <= padding[1]))
        return values.reshape(shape)
    except InputError:
        raise
    except Exception as e:  # the decoders raise whatever they raise
        if is_out_of_memory(e):
            raise
        others = _other_decoders(get_decoder(instance.header.file_meta.TransferSyntaxUID))
        advice = f"export it again{f', or install {others} to decode it' if others else ''}"
        raise InputError(f"The pixels of {which} are truncated, damaged or in a form that is unknown: {advice}.") from e


def _padding(ds: FileDataset) -> tuple[int, int] | None:
    """Lowest and highest of the stored values that are padding, with the sign that Pixel Representation states."""
    bits, ends = int(ds.BitsAllocated), []
    for keyword in ("PixelPaddingValue", "PixelPaddingRangeLimit"):
        value = first_value(ds, keyword)
        if isinstance(value, bytes) and 0 < len(value) <= 4:
            value = int.from_bytes(value, "little")
        if isinstance(value, int):
            value %= 2**bits
            ends.append(value - 2**bits if ds.PixelRepresentation == 1 and value >= 2 ** (bits - 1) else value)
        elif not ends:
            return None
    return min(ends), max(ends)


def _other_decoders(decoder: Any) -> str:
    """Packages that would decode pixels and are not installed, in pydicom's words; empty where there are none."""
    return " or ".join(missing.split("requires ")[-1] for missing in decoder.missing_dependencies)


def _check_decoder(instance: Instance, which: str) -> None:
    syntax = str(getattr(instance.header, "file_meta", {}).get("TransferSyntaxUID", ""))
    if not syntax:
        raise InputError(f"The pixels of {which} are compressed, and its file does not say how: mend Transfer Syntax.")
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError:
        shown = f" (transfer syntax {syntax})" if is_valid_uid(syntax) else ""
        raise InputError(
            f"The pixels of {which} are compressed in a way that cannot be read{shown}: export it without compression."
        ) from None
    if not decoder.is_available:
        raise InputError(
            f"The pixels of {which} are compressed (transfer syntax {syntax}) and there is no decoder: install "
            f"{_other_decoders(decoder) or 'one for it'}, or export it without compression."
        )


def _check_declared_size(header: Dataset, file_size: int, which: str) -> int:
    """Bytes of the decompressed pixels, of no more frames than the file can hold, before memory is taken for them."""
    rows, columns = (int(number(header, keyword) or 0) for keyword in ("Rows", "Columns"))
    if rows <= 0 or columns <= 0:
        raise InputError(f"The header of {which} states no size of its image (Rows, Columns): give one that does.")
    values = rows * columns * max(1, int(number(header, "SamplesPerPixel") or 1))
    frame = max(1, values * max(1, int(number(header, "BitsAllocated") or 8)) // 8)
    syntax: Any = header.file_meta.TransferSyntaxUID
    held = file_size * (DEFLATE_RATIO if syntax == DeflatedExplicitVRLittleEndian else 1)
    smallest = _SMALLEST_STREAM if syntax.is_encapsulated else max(1, frame * 2 // 3)  # the latter with halved colours
    if smallest > held:
        raise InputError(
            f"The file of {which} is too small for the {rows} x {columns} pixels that its header declares: it is "
            "truncated, or its header is wrong."
        )
    frames = min(number_of_frames(header), held // smallest)
    if frames * values > MAX_VALUES:
        raise InputError(
            f"The header of {which} declares {frames * values} values, more than the {MAX_VALUES} that are read: "
            "give an image of fewer frames or pixels."
        )
    return frames * frame


def _check_pixels(ds: FileDataset, which: str) -> None:
    """Check a header against its pixels, and mend what they leave no doubt about: frames, bits, transfer syntax."""
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
    encapsulated = ds.file_meta.TransferSyntaxUID.is_encapsulated
    if encapsulated and not compressed and len(content) - stated * frame_bytes in (0, 1):
        ds.file_meta.TransferSyntaxUID, encapsulated = ExplicitVRLittleEndian, False
    if compressed and not encapsulated:
        raise InputError(f"The pixels of {which} are compressed, but its transfer syntax is one without: mend it.")
    frames = _streams(ds, which) if encapsulated else _whole_frames(len(content), frame_bytes, stated)
    if not frames or (frames > 1 and stated == 1 and not encapsulated):
        raise InputError(
            f"The pixels of {which} are {len(content)} bytes, but {stated} x {ds.Rows} x {ds.Columns} with "
            f"{ds.SamplesPerPixel} x {ds.BitsAllocated} bits are {stated * frame_bytes}: the file is truncated, or its "
            "header is wrong."
        )
    ds.NumberOfFrames = frames


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
    slope, intercept = (number(ds, keyword) for keyword in _RESCALE)
    for keyword, value, neutral in zip(_RESCALE, (slope, intercept), (1.0, 0.0)):
        if value is not None:
            continue
        if keyword in ds and ds.get_item(keyword).value:
            raise InputError(f"The header of {which} has a {keyword} that is no number: mend it.")
        ds.pop(keyword, None)
        if (slope, intercept) != (None, None):  # one of the two alone: the other changes nothing
            setattr(ds, keyword, neutral)


def _whole_frames(length: int, frame: int, stated: int) -> int:
    """Frames in uncompressed pixels, which padding may follow; 0 where they are no whole number of frames."""
    rest = length - stated * frame
    if 0 <= rest < frame:
        return stated
    return length // frame if length % frame in (0, 1) else stated if rest > 0 else 0


def _streams(ds: Dataset, which: str) -> int:
    """Frames in compressed pixels; each begins a stream of its own, of the size that the header states."""
    fragments = list(generate_fragments(ds.PixelData))[1:]  # the first is the table of offsets
    if ds.file_meta.TransferSyntaxUID == RLELossless:
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
