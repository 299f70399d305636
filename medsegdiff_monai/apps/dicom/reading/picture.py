# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from dataclasses import dataclass

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
    allocated = int(number(instance.header, "BitsAllocated") or 8)
    stored = int(number(instance.header, "BitsStored") or allocated)
    full = float(2 ** (stored if 1 <= stored <= allocated else allocated) - 1)
    colour = frames.ndim == 4
    if colour and frames.dtype != np.uint8:
        white = float(np.iinfo(frames.dtype).max) if photometric == "PALETTE COLOR" else full
        frames = np.clip(np.rint(frames * (255.0 / white)), 0, 255).astype(np.uint8)
    elif photometric == "MONOCHROME1" and not colour:
        frames = frames.max() - frames if frames.dtype.kind != "u" else full - frames
    if kind is ImageKind.RGB and not colour:
        raise InputError("The object is grey, colour photographs are expected: give those.")
    if kind is ImageKind.GREY and colour:
        frames = np.stack([np.asarray(Image.fromarray(frame).convert("L")) for frame in frames])
    channels = np.moveaxis(frames, -1, 1) if frames.ndim == 4 else frames[:, None]
    images = [MetaTensor(torch.as_tensor(c)) for c in np.ascontiguousarray(channels.swapaxes(2, 3), dtype=np.float32)]
    return PictureInput(images, pixel_spacing(instance.header), instance.header)


def pixel_spacing(header: Dataset) -> tuple[float, float] | None:
    """Spacing between rows and between columns, mm; None where an object does not state one for all of its pixels.

    It is Pixel Spacing, or else that of the ultrasound regions (PS3.3 C.8.5.5) where all B-mode ones agree.
    """
    stated = numbers(value_of(header, "PixelSpacing"), 2)
    if stated is not None and min(stated) > 0:
        return stated[0], stated[1]
    spacings: set[tuple[float, float]] = set()
    for region in header.get("SequenceOfUltrasoundRegions") or []:
        units = [number(region, f"PhysicalUnits{axis}Direction") for axis in "YX"]
        rows, columns = (abs(number(region, f"PhysicalDelta{axis}") or 0.0) * _MM_PER_CM for axis in "YX")
        two_dimensional = number(region, "RegionSpatialFormat") == _TWO_DIMENSIONAL
        if two_dimensional and units == [_CENTIMETRES, _CENTIMETRES] and rows and columns:
            spacings.add((round(rows, 9), round(columns, 9)))
    return spacings.pop() if len(spacings) == 1 else None
