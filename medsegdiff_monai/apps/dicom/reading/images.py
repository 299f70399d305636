# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from highdicom.volume import VolumeGeometry
from monai.data import MetaTensor
from PIL import Image
from pydicom.dataset import Dataset

from medsegdiff_monai.apps.dicom.codes import ImageKind
from medsegdiff_monai.apps.dicom.reading.attributes import decimals, number, numbers, text, value_of
from medsegdiff_monai.apps.dicom.reading.discovery import Series
from medsegdiff_monai.apps.dicom.reading.header import Instance
from medsegdiff_monai.apps.dicom.reading.identity import complete_header, reference_header
from medsegdiff_monai.apps.dicom.reading.pixels import decode_frames
from medsegdiff_monai.apps.dicom.reading.stack import Stack, stack_series
from medsegdiff_monai.data.grids import grid_spacing
from medsegdiff_monai.transforms.load import grid_difference, on_grid_of
from medsegdiff_monai.utils import InputError

__all__ = ["PictureInput", "VolumeInput", "pixel_spacing", "placed_frame", "ras_affine"]
__all__ += ["read_picture", "read_volume", "swap_image_axes"]

_FAR = 1e6  # mm: where no slice is
_CENTIMETRES = 3  # Physical Units X/Y Direction (PS3.3 C.8.5.5.1.15)
_TWO_DIMENSIONAL = 1  # Region Spatial Format: a B-mode picture, no spectrum
_MM_PER_CM = 10.0


@dataclass(frozen=True)
class VolumeInput:
    """A study's contrasts as one image."""

    image: MetaTensor  # of shape (C, columns, rows, slices) with its affine (RAS, mm)
    geometry: VolumeGeometry  # of the first contrast (slices, rows, columns; LPS, mm)
    sources: list[Dataset]  # headers of the first contrast's objects, as highdicom takes them
    further: list[Dataset]  # headers of the other contrasts' objects

    @property
    def images(self) -> list[MetaTensor]:
        """The image, as the only one."""
        return [self.image]

    @property
    def axis_spacing(self) -> list[float]:
        """Distances of voxels along the axes of the image, mm."""
        return grid_spacing(self.image.affine.numpy(), 3)


def ras_affine(geometry: VolumeGeometry) -> np.ndarray:
    """Voxel ``(column, row, slice)`` to world (RAS, mm): the one place where DICOM's LPS becomes NIfTI's RAS.

    DICOM's world axes point left, posterior and up (PS3.3 C.7.6.2.1.1). highdicom's voxels are (slice, row, column),
    and the image's is the reverse, as that of NIfTI files made from DICOM.
    """
    return np.diag([-1.0, -1.0, 1.0, 1.0]) @ geometry.affine[:, [2, 1, 0, 3]]


def swap_image_axes(array: np.ndarray) -> np.ndarray:
    """Array ``(..., slices, rows, columns)`` to ``(..., columns, rows, slices)`` or back; no copy."""
    return np.swapaxes(array, -1, -3)


def read_volume(series: Sequence[Series], contrasts: Sequence[str], resample: bool = False) -> VolumeInput:
    """Read the series of the contrasts as the channels of one image, in one frame of reference.

    Contrasts on another grid than the first are resampled onto it or refused, as is a series that is no regular volume.
    """
    names = [f"The {name} ({one.title})" for name, one in zip(contrasts, series)]
    stacks = [stack_series(one, name) for one, name in zip(series, names)]
    frames = [text(one.header, "FrameOfReferenceUID") for one in series]
    for name, frame in zip(names, frames):
        if frame != frames[0]:
            raise InputError(
                f"{name} is in another frame of reference than the {contrasts[0]}: register it, for how the two lie "
                "to each other is not known."
            )
    images = [_image(stack, name) for stack, name in zip(stacks, names)]
    for i, name in enumerate(names):
        if (difference := grid_difference(images[0], images[i])) is None:
            continue
        if not resample:
            raise InputError(
                f"{name} is on another grid than the {contrasts[0]} ({difference}): resample it, or give --resample."
            )
        images[i] = on_grid_of(images[0], images[i])
    return VolumeInput(
        image=MetaTensor(torch.cat([i.as_tensor() for i in images]), affine=images[0].affine),
        geometry=stacks[0].geometry,
        sources=_source_headers(stacks[0]),
        further=[reference_header(i.header) for one in series[1:] for i in one.instances],
    )


def _image(stack: Stack, which: str) -> MetaTensor:
    """Image of shape ``(1, columns, rows, slices)`` with its affine (RAS, mm), float32.

    The affine is rounded as a NIfTI header holds it. A last bit more moves interpolation at the edge of the brain by as
    little, and voxels from 0 to nearly 0; what crops and normalises by voxels other than 0 then sees another image.
    """
    decoded: dict[int, np.ndarray] = {}
    planes = []
    for s in stack.slices:
        key = id(s.instance)
        if key not in decoded:
            decoded[key] = frames = decode_frames(s.instance, which.replace("The", "the", 1), mask_padding=True)
            if frames.ndim != 3:
                raise InputError(f"{which} is in colour, grey images are expected: give the original series.")
            described = len(s.instance.header.get("PerFrameFunctionalGroupsSequence") or [0])
            if len(frames) != described:
                raise InputError(
                    f"{which} holds {len(frames)} frames in an object that describes {described}: give all of them."
                )
        planes.append(decoded[key][s.frame] * s.slope + s.intercept)
    stacked: Any = np.ma.stack(planes) if any(isinstance(p, np.ma.MaskedArray) for p in planes) else np.stack(planes)
    if isinstance(stacked, np.ma.MaskedArray):  # padding is background: it has the lowest of the other values
        stacked = stacked.filled(0 if stacked.min() is np.ma.masked else stacked.min())
    array = swap_image_axes(stacked)
    affine = torch.as_tensor(ras_affine(stack.geometry).astype(np.float32).astype(np.float64))
    return MetaTensor(torch.as_tensor(np.ascontiguousarray(array, dtype=np.float32))[None], affine=affine)


def _source_headers(stack: Stack) -> list[Dataset]:
    """Headers of a volume's objects with their geometry stated, once for all slices, the way highdicom reads it.

    Frames of a multi-frame object that are no part of the volume, as of another kind, are put far away.
    """
    first = stack.slices[0]
    orientation, spacing = decimals(first.orientation), decimals(first.spacing)
    (thickness,) = decimals([stack.geometry.spacing_between_slices])
    made = complete_header(first.instance.header)
    per_frame = first.instance.header.get("PerFrameFunctionalGroupsSequence")
    if not per_frame:  # patient and study are copied from the first
        headers = [made, *(reference_header(s.instance.header) for s in stack.slices[1:])]
        for header, s in zip(headers, stack.slices):
            header.ImageOrientationPatient, header.ImagePositionPatient = orientation, decimals(s.position)
            header.PixelSpacing, header.SliceThickness = spacing, thickness
        return headers
    if any(s.instance is not first.instance for s in stack.slices):
        raise InputError("A volume in several multi-frame objects cannot be segmented: export it as one object.")
    shared, measures, plane = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, plane.ImageOrientationPatient = spacing, orientation
    measures.SliceThickness = measures.SpacingBetweenSlices = thickness
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [plane]
    made.SharedFunctionalGroupsSequence = [shared]
    positions = {s.frame: s.position for s in stack.slices}
    places = [decimals(positions.get(i, (_FAR, _FAR, _FAR + i))) for i in range(len(per_frame))]
    made.PerFrameFunctionalGroupsSequence = [placed_frame(place) for place in places]
    return [made]


def placed_frame(position: Sequence[Any]) -> Dataset:
    """Functional groups of a frame with its position (LPS, mm)."""
    group, place = Dataset(), Dataset()
    place.ImagePositionPatient = list(position)
    group.PlanePositionSequence = [place]
    return group


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
    bright. Values of more than 8 bits are scaled to 0 to 255 for a bundle that takes RGB, which refuses grey.
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
    """Spacing between rows and between columns, mm, where stated or the same in all B-mode regions (PS3.3 C.8.5.5)."""
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
