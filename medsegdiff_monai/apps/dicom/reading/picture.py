# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from PIL import Image
from pydicom.dataset import Dataset

from medsegdiff_monai.apps.dicom.codes import ImageKind
from medsegdiff_monai.apps.dicom.reading.attributes import number, numbers, text, value_of
from medsegdiff_monai.apps.dicom.reading.header import Instance
from medsegdiff_monai.apps.dicom.reading.pixels import decode_frames
from medsegdiff_monai.utils import InputError

__all__ = ["PictureInput", "pixel_spacing", "read_picture"]

_CENTIMETRES = 3  # Physical Units X/Y Direction (PS3.3 C.8.5.5.1.15)
_TWO_DIMENSIONAL = 1  # Region Spatial Format: a B-mode picture, no spectrum
_MM_PER_CM = 10.0


@dataclass(frozen=True)
class PictureInput:
    """The frames of an object as images."""

    images: list[MetaTensor]  # of shape (C, columns, rows), one for each frame
    spacing: tuple[float, float] | None  # between rows and between columns, mm; None where not stated
    header: Dataset

    @property
    def axis_spacing(self) -> list[float] | None:
        """Distances of pixels along the axes of the images, mm; None where they are not known."""
        return None if self.spacing is None else list(self.spacing[::-1])


def read_picture(instance: Instance, kind: ImageKind) -> PictureInput:
    """Read an ultrasound or fundus object in the colours that a bundle wants.

    Colours are made grey by their luminance (ITU-R 601, as PIL does it); MONOCHROME1 is turned round, so that white is
    bright. Values of more than 8 bits are scaled to 0 to 255 for a bundle that takes RGB.

    Raises:
        InputError: when it cannot be decoded, or is grey where the bundle needs colours.
    """
    which = "the object"
    frames = decode_frames(instance, which)
    photometric = text(instance.header, "PhotometricInterpretation")
    full = float(2 ** _bits(instance.header) - 1)
    colour = frames.ndim == 4
    if colour:
        frames = _eight_bits(frames, full if photometric != "PALETTE COLOR" else None)
    elif photometric == "MONOCHROME1":
        frames = frames.max() - frames if frames.dtype.kind != "u" else full - frames
    if kind is ImageKind.RGB and not colour:
        raise InputError("The object is grey, colour photographs are expected: give those.")
    if kind is ImageKind.GREY and colour:
        frames = np.stack([np.asarray(Image.fromarray(frame).convert("L")) for frame in frames])
    images = [MetaTensor(_channel_first(frame)) for frame in frames]
    return PictureInput(images, pixel_spacing(instance.header), instance.header)


def _bits(header: Dataset) -> int:
    """Number of bits of a stored value: Bits Stored where it can be, else Bits Allocated."""
    allocated = int(number(header, "BitsAllocated") or 8)
    stored = int(number(header, "BitsStored") or allocated)
    return stored if 1 <= stored <= allocated else allocated


def _eight_bits(frames: np.ndarray, full: float | None) -> np.ndarray:
    """Colours of any depth as 8 bits; ``full`` is the value of white, None for that of the array's type."""
    if frames.dtype == np.uint8:
        return frames
    full = float(np.iinfo(frames.dtype).max) if full is None else full
    return np.clip(np.rint(frames * (255.0 / full)), 0, 255).astype(np.uint8)


def _channel_first(frame: np.ndarray) -> torch.Tensor:
    """Frame ``(rows, columns[, 3])`` as ``(C, columns, rows)``, the axes of pictures that MONAI reads from files."""
    axes = (2, 1, 0) if frame.ndim == 3 else (1, 0)
    array = np.ascontiguousarray(np.transpose(frame, axes), dtype=np.float32)
    return torch.as_tensor(array if frame.ndim == 3 else array[None])


def pixel_spacing(header: Dataset) -> tuple[float, float] | None:
    """Spacing between rows and between columns, mm; None where an object does not state one for all of its pixels.

    It is Pixel Spacing, or else that of the ultrasound regions (PS3.3 C.8.5.5) where all B-mode ones agree.
    """
    stated = numbers(value_of(header, "PixelSpacing"), 2)
    if stated is not None and min(stated) > 0:
        return stated[0], stated[1]
    found = {_region_spacing(region) for region in header.get("SequenceOfUltrasoundRegions") or []} - {None}
    return found.pop() if len(found) == 1 else None


def _region_spacing(region: Any) -> tuple[float, float] | None:
    if number(region, "RegionSpatialFormat") != _TWO_DIMENSIONAL:
        return None
    units = [number(region, f"PhysicalUnits{axis}Direction") for axis in "YX"]
    deltas = [number(region, f"PhysicalDelta{axis}") for axis in "YX"]
    if units != [_CENTIMETRES, _CENTIMETRES] or not all(deltas):
        return None
    rows, columns = (round(abs(d or 0.0) * _MM_PER_CM, 9) for d in deltas)
    return rows, columns
