# Copyright (c) MedSegDiff-MONAI contributors
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#     http://www.apache.org/licenses/LICENSE-2.0
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.


from __future__ import annotations

from typing import Any

import numpy as np
from pydicom import dcmread
from pydicom.pixels import apply_color_lut, apply_modality_lut, get_decoder, pixel_array

from medsegdiff_monai.apps.dicom.discovery import Instance
from medsegdiff_monai.apps.dicom.headers import number, text
from medsegdiff_monai.utils import InputError

__all__ = ["decode_frames", "is_multiframe", "number_of_frames"]

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


def number_of_frames(header: Any) -> int:
    """Number of frames that an object states; 1 where it states none."""
    return max(1, int(number(header, "NumberOfFrames") or 1))


def is_multiframe(header: Any) -> bool:
    """Whether an object holds several frames."""
    return number_of_frames(header) > 1


def decode_frames(instance: Instance, which: str) -> np.ndarray:
    """Pixels of all frames of an object, decompressed, in RGB where it has colours.

    Modality values (PS3.3 C.11.1) are applied where the object states them at its top level; those of functional
    groups are not.

    Args:
        instance: the object.
        which: what it is, for messages: without patient data.

    Returns:
        Array ``(frames, rows, columns)``, or ``(frames, rows, columns, 3)`` for colours.

    Raises:
        InputError: when there is no decoder for its compression, or the pixels are truncated or damaged.
    """
    _check_decoder(instance, which)
    try:
        ds = dcmread(instance.path)
        pixels = pixel_array(ds)
        shape = (number_of_frames(ds), int(ds.Rows), int(ds.Columns))
        if text(ds, "PhotometricInterpretation") == "PALETTE COLOR":
            return apply_color_lut(pixels, ds)[..., :3].reshape(*shape, 3)
        if int(ds.SamplesPerPixel) == 1:
            return apply_modality_lut(pixels, ds).reshape(shape)
        return pixels.reshape(*shape, 3)
    except Exception as e:  # the decoders raise whatever they raise
        package = _PACKAGES.get(_syntax(instance))
        advice = "export it again" if package is None else f"export it again, or install {package} to decode it"
        raise InputError(f"The pixels of {which} are truncated, damaged or in a form that is unknown: {advice}.") from e


def _syntax(instance: Instance) -> str:
    return str(getattr(instance.header, "file_meta", {}).get("TransferSyntaxUID", ""))


def _check_decoder(instance: Instance, which: str) -> None:
    syntax = _syntax(instance)
    if not syntax:
        raise InputError(f"The file of {which} does not state its transfer syntax: export it again.")
    try:
        available = get_decoder(syntax).is_available
    except NotImplementedError:
        raise InputError(
            f"The pixels of {which} are compressed in a way that cannot be read (transfer syntax {syntax}): export it "
            "without compression."
        ) from None
    if not available:
        package = _PACKAGES.get(syntax, "a decoder for it")
        raise InputError(
            f"The pixels of {which} are compressed (transfer syntax {syntax}) and there is no decoder: install "
            f"{package}, or export it without compression."
        )
