# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import os
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform, SpatialResample
from monai.utils import ensure_tuple

from medsegdiff_monai.data.cases import case_name
from medsegdiff_monai.data.grids import GRID_TOLERANCE_MM, grid_shift
from medsegdiff_monai.data.reading import FileHeader, label_turn, read_header, read_image, read_label, turned
from medsegdiff_monai.data.reading.unreadable import naming
from medsegdiff_monai.transforms.background import background_value
from medsegdiff_monai.utils import InputError, check_memory

__all__ = ["LoadCased", "grid_difference", "in_dims", "on_grid_of"]


def in_dims(image: Any, dims: int) -> Any:
    """One slice ``(C, X, Y, 1)`` as a 2D image ``(C, X, Y)``, or the reverse; anything else stays as it is.

    Args:
        image: image or label with its metadata.
        dims: number of spatial dimensions that it is wanted in.
    """
    if image.dim() == 4 and dims == 2 and image.shape[-1] == 1:
        flat = image[..., 0]
        if "spacing" in getattr(flat, "meta", {}):
            flat.meta["spacing"] = flat.meta["spacing"][:2]
        return flat
    return image[..., None] if image.dim() == 3 and dims == 3 else image


def grid_difference(a: MetaTensor, b: MetaTensor) -> str | None:
    """How the grid of an image differs from another's: in words, or None where it does not.

    Args:
        a: image of shape ``(C, *spatial)`` with its affine (mm).
        b: another one.
    """
    if a.shape[1:] != b.shape[1:]:
        return f"{tuple(b.shape[1:])} voxels against {tuple(a.shape[1:])}"
    shift = grid_shift(a.affine.numpy(), b.affine.numpy(), a.shape[1:])
    return f"its corners lie up to {shift:.3g} mm apart" if shift > GRID_TOLERANCE_MM else None


def on_grid_of(first: MetaTensor, image: MetaTensor) -> Any:
    """A contrast resampled onto the grid of another one; what lies beyond it becomes its background.

    Args:
        first: the contrast whose grid is taken, of shape ``(1, *spatial)``.
        image: the contrast that is resampled, of shape ``(1, *spatial)``.
    """
    background = background_value(image.as_tensor()[0]) or 0.0
    shifted = image - background if background else image
    placed = SpatialResample()(shifted, first.affine, first.shape[1:], mode="bilinear", padding_mode="zeros")
    return placed + background if background else placed


class LoadCased(MapTransform):
    """Load the files of a case, channel first, with errors that name the file and say what to do.

    PNG, JPEG, BMP, TIFF and NIfTI are read, see :mod:`medsegdiff_monai.data.reading`: a picture as its EXIF orientation
    shows it, an image's numbers as intensities and a label's as they are. A label lies on its image as it is shown, in
    whichever form it was drawn, see :func:`~medsegdiff_monai.data.reading.label_turn`.

    The name of the case, which is its ``case`` or else follows from its files
    (:func:`~medsegdiff_monai.data.case_name`), is put into the metadata as ``case``, and the distances of its pixels
    or voxels in mm as ``spacing``: those of a NIfTI file, whose lengths are mm unless it states metres or micrometres,
    and NaN for PNG, JPEG, BMP and TIFF, which state how large they are printed at most
    (:func:`~medsegdiff_monai.data.grids.spacing_in_metadata` reads them). The kind of the file and its orientation (1
    where it states none) are there as ``kind`` and ``orientation``.

    Args:
        keys: keys of the paths; a list of paths, one for each contrast of an image or each reader of a label, is loaded
            as channels.
        label_keys: those of the keys that hold label maps.
        contrasts: names of the contrasts, in the order of a list of paths; None where any number may come.
        resample: whether contrasts on another grid than the first are resampled onto it; otherwise they are refused,
            as labels always are.
        allow_missing_keys: whether keys may be absent.
    """

    def __init__(
        self,
        keys: KeysCollection,
        label_keys: KeysCollection = ("label",),
        contrasts: Sequence[str] | None = None,
        resample: bool = False,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.label_keys = ensure_tuple(label_keys)
        self.contrasts = contrasts
        self.resample = resample
        self.image_key = next((key for key in self.keys if key not in self.label_keys), "image")

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """
        Args:
            data: case with paths under the keys; a ``MetaTensor`` that a host has in memory stays as it is.

        Returns:
            The case with a ``MetaTensor`` of shape ``(C, *spatial)`` under each key.

        Raises:
            InputError: when a file is missing, cannot be read, or has no extent, the files of a case do not fit one
                another, or its results would not fit into the memory.
        """
        d = dict(data)
        for key in self.key_iterator(d):
            if isinstance(d[key], MetaTensor):
                continue
            case = str(d.get("case") or case_name(d[key] or d.get("image", "")))
            d[key] = self._load(key, d[key], case, data.get(self.image_key))
        return d

    def _load(self, key: Hashable, value: Any, case: str, image: Any) -> Any:
        if value is None:
            raise InputError(f"The case {case} has no {key} in the datalist: add it, or take the case out.")
        several = isinstance(value, (list, tuple))
        files = list(value) if several else [value]
        names = self._names(str(key), files, case) if several else [str(key)]
        which = [f"The {n} of case {case}, {f}," if several else f"The {n} file {f}" for n, f in zip(names, files)]
        elements = sum(read_header(file, w).values for file, w in zip(files, which))
        check_memory(f"The {key} of case {case}", elements)
        if key in self.label_keys:
            images = [_load_label(file, w, image) for file, w in zip(files, which)]
        else:
            images = [_tensor(*read_image(file, w), file) for file, w in zip(files, which)]
        if several and key in self.label_keys:
            _check_readers(images, names, case)
        loaded: Any = images[0] if len(images) == 1 else torch.cat(self._on_one_grid(images, names, case))
        loaded.meta["case"] = case
        return loaded

    def _names(self, key: str, files: list[Any], case: str) -> list[str]:
        if key in self.label_keys:
            return [f"{key} of reader {i}" for i in range(1, len(files) + 1)]
        if self.contrasts is None:
            return [f"{key} {i}" for i in range(len(files))]
        if len(files) != len(self.contrasts):
            raise InputError(
                f"The case {case} has {len(files)} files, {len(self.contrasts)} contrasts are expected "
                f"({', '.join(self.contrasts)}): list one file for each, in this order."
            )
        return list(self.contrasts)

    def _on_one_grid(self, images: list[Any], names: list[str], case: str) -> list[Any]:
        first = images[0]
        for i, (name, image) in enumerate(zip(names, images)):
            difference = grid_difference(first, image)
            if difference is None:
                continue
            if not self.resample:
                raise InputError(
                    f"The {name} of case {case} is on another grid than its {names[0]}: {difference}; resample it, or "
                    "let it be resampled (--resample_contrasts true)."
                )
            images[i] = on_grid_of(first, image)
        return images


def _tensor(pixels: np.ndarray, header: FileHeader, file: str | os.PathLike[str]) -> Any:
    spacing = np.full(len(header.shape), np.nan) if header.spacing is None else np.array(header.spacing)
    meta = {
        **header.metadata,
        "filename_or_obj": str(file),
        "kind": header.kind,
        "orientation": header.orientation or 1,
        "spacing": spacing,
    }
    return MetaTensor(torch.from_numpy(pixels), affine=torch.from_numpy(header.affine), meta=meta)


def _load_label(file: str | os.PathLike[str], which: str, image: Any) -> Any:
    """A label on its image as that is shown; of several files of an image, the first counts."""
    label, header = read_label(file, which)
    reference = image[0] if isinstance(image, (list, tuple)) else image
    if isinstance(reference, (str, os.PathLike)):
        with naming(which):
            turn = label_turn(header, read_header(reference, f"The image file {reference}"))
        if turn != 1:
            label = np.ascontiguousarray(np.moveaxis(turned(np.moveaxis(label, 0, -1), turn), -1, 0))
    return _tensor(label, header, file)


def _check_readers(labels: list[Any], names: list[str], case: str) -> None:
    """Refuse labels of several readers that are no label maps of one grid."""
    for name, label in zip(names, labels):
        if label.shape[0] != 1:
            raise InputError(f"The {name} of case {case} has {label.shape[0]} channels: give a map of label values.")
        if (difference := grid_difference(labels[0], label)) is not None:
            raise InputError(
                f"The {name} of case {case} is on another grid than the {names[0]}: {difference}; resample it onto the "
                "image's grid."
            )
