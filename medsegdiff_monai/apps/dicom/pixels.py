# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from pydicom.dataset import FileDataset
from pydicom.pixels import apply_color_lut, apply_modality_lut, get_decoder, pixel_array

from medsegdiff_monai.apps.dicom.headers import first_value, text
from medsegdiff_monai.apps.dicom.limits import is_out_of_memory
from medsegdiff_monai.apps.dicom.pixel_sizes import check_declared_size, check_pixels, number_of_frames
from medsegdiff_monai.apps.dicom.reading import Instance, read_with_pixels
from medsegdiff_monai.apps.dicom.uids import is_valid_uid
from medsegdiff_monai.utils import InputError

__all__ = ["decode_frames", "is_multiframe", "number_of_frames", "pixel_digest"]

_OPENJPEG = "pylibjpeg and pylibjpeg-openjpeg"
_LIBJPEG = "pylibjpeg and pylibjpeg-libjpeg, or python-gdcm"
_PACKAGES = {  # transfer syntaxes (PS3.5 A.4) and what decodes them
    "1.2.840.10008.1.2.4.50": "pillow",
    "1.2.840.10008.1.2.4.51": _LIBJPEG,
    "1.2.840.10008.1.2.4.57": _LIBJPEG,
    "1.2.840.10008.1.2.4.70": _LIBJPEG,
    "1.2.840.10008.1.2.4.80": "pyjpegls",
    "1.2.840.10008.1.2.4.81": "pyjpegls",
    "1.2.840.10008.1.2.4.90": _OPENJPEG,
    "1.2.840.10008.1.2.4.91": _OPENJPEG,
    "1.2.840.10008.1.2.4.201": _OPENJPEG,
    "1.2.840.10008.1.2.4.202": _OPENJPEG,
    "1.2.840.10008.1.2.4.203": _OPENJPEG,
}


def is_multiframe(header: Any) -> bool:
    """Whether an object holds several frames."""
    return number_of_frames(header) > 1


def decode_frames(instance: Instance, which: str, mask_padding: bool = False) -> np.ndarray:
    """Pixels of all frames of an object, decompressed, in RGB where it has colours.

    Modality values (PS3.3 C.11.1) are applied where the object states them at its top level; those of functional
    groups are not.

    Args:
        instance: the object.
        which: what it is, for messages: without patient data.
        mask_padding: whether a masked array is given where the object states what its padding is (PS3.3 C.7.5.1.1.2).

    Returns:
        Array ``(frames, rows, columns)``, or ``(frames, rows, columns, 3)`` for colours.

    Raises:
        InputError: when there is no decoder for its compression, its size cannot be, or the pixels are truncated or
            damaged.
    """
    _check_decoder(instance, which)
    pixel_bytes = check_declared_size(instance.header, instance.path.stat().st_size, which)
    try:
        ds = read_with_pixels(instance.path, pixel_bytes)
        ds.file_meta.TransferSyntaxUID = instance.header.file_meta.TransferSyntaxUID
        check_pixels(ds, which)
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
        package = _PACKAGES.get(_syntax(instance))
        advice = "export it again" if package is None else f"export it again, or install {package} to decode it"
        raise InputError(f"The pixels of {which} are truncated, damaged or in a form that is unknown: {advice}.") from e


def pixel_digest(instance: Instance) -> str:
    """What tells the pixels of objects apart, however these are compressed.

    Raises:
        InputError: when they cannot be decoded.
    """
    pixels = decode_frames(instance, "the object")
    return hashlib.sha256(f"{pixels.shape}{pixels.dtype.kind}".encode() + pixels.tobytes()).hexdigest()


def _padding(ds: FileDataset) -> tuple[int, int] | None:
    """The lowest and the highest of the stored values that are padding, or None where that is not stated."""
    stated = [_stored_value(ds, keyword) for keyword in ("PixelPaddingValue", "PixelPaddingRangeLimit")]
    if stated[0] is None:
        return None
    first, last = stated[0], stated[0] if stated[1] is None else stated[1]
    return min(first, last), max(first, last)


def _stored_value(ds: FileDataset, keyword: str) -> int | None:
    """A value in the form of the pixels, whose sign Pixel Representation states and not the attribute's own form."""
    value = first_value(ds, keyword)
    if isinstance(value, bytes):
        value = int.from_bytes(value, "little") if 0 < len(value) <= 4 else None
    if not isinstance(value, int):
        return None
    bits = int(ds.BitsAllocated)
    value %= 2**bits
    return value - 2**bits if ds.PixelRepresentation == 1 and value >= 2 ** (bits - 1) else value


def _syntax(instance: Instance) -> str:
    return str(getattr(instance.header, "file_meta", {}).get("TransferSyntaxUID", ""))


def _check_decoder(instance: Instance, which: str) -> None:
    syntax = _syntax(instance)
    if not syntax:
        raise InputError(f"The pixels of {which} are compressed, and its file does not say how: mend Transfer Syntax.")
    try:
        available = get_decoder(syntax).is_available
    except NotImplementedError:
        shown = f" (transfer syntax {syntax})" if is_valid_uid(syntax) else ""
        raise InputError(
            f"The pixels of {which} are compressed in a way that cannot be read{shown}: export it without compression."
        ) from None
    if not available:
        package = _PACKAGES.get(syntax, "a decoder for it")
        raise InputError(
            f"The pixels of {which} are compressed (transfer syntax {syntax}) and there is no decoder: install "
            f"{package}, or export it without compression."
        )
