# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

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
from medsegdiff_monai.data.reading import FileHeader, label_turn, naming, read_header, read_image, read_label, turned
from medsegdiff_monai.transforms.background import background_value
from medsegdiff_monai.utils import InputError, check_memory, is_on

__all__ = ["LoadCased", "grid_difference", "in_dims", "on_grid_of"]


def in_dims(image: Any, dims: int) -> Any:
    """One slice ``(C, X, Y, 1)`` as a 2D image ``(C, X, Y)``, or the reverse, with ``dims`` axes; others stay."""
    if image.dim() == 4 and dims == 2 and image.shape[-1] == 1:
        flat = image[..., 0]
        if "spacing" in getattr(flat, "meta", {}):
            flat.meta["spacing"] = flat.meta["spacing"][:2]
        return flat
    return image[..., None] if image.dim() == 3 and dims == 3 else image


def grid_difference(a: MetaTensor, b: MetaTensor) -> str | None:
    """The difference between the grids of two images ``(C, *spatial)`` in words; None where there is none."""
    if a.shape[1:] != b.shape[1:]:
        return f"{tuple(b.shape[1:])} voxels against {tuple(a.shape[1:])}"
    shift = grid_shift(a.affine.numpy(), b.affine.numpy(), a.shape[1:])
    return f"its corners lie up to {shift:.3g} mm apart" if shift > GRID_TOLERANCE_MM else None


def on_grid_of(first: MetaTensor, image: MetaTensor) -> Any:
    """A contrast ``(1, *spatial)`` resampled onto the grid of the first; what lies beyond it becomes its background."""
    background = background_value(image.as_tensor()[0]) or 0.0
    shifted = image - background if background else image
    placed = SpatialResample()(shifted, first.affine, first.shape[1:], mode="bilinear", padding_mode="zeros")
    return placed + background if background else placed


class LoadCased(MapTransform):
    """Load the files of a case, channel first, with errors that name the file and say what to do.

    PNG, JPEG, BMP, TIFF and NIfTI are read, see :mod:`medsegdiff_monai.data.reading`: a picture as its EXIF orientation
    shows it, an image's numbers as intensities and a label's as they are. A label lies on its image as it is shown, in
    whichever form it was drawn, see :func:`~medsegdiff_monai.data.reading.label_turn`. A ``MetaTensor`` stays as it is.

    The metadata get ``case``, the name of the case (its ``case``, or else :func:`~medsegdiff_monai.data.case_name` of
    its files); ``spacing``, the distances of pixels or voxels in mm; and ``kind`` and ``orientation`` (1 where it is
    not stated) of the file. The spacing of PNG, JPEG, BMP and TIFF, which state at most their printed size, is NaN.

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
        self.resample = is_on(resample, "resample_contrasts")
        self.image_key = next((key for key in self.keys if key not in self.label_keys), "image")

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """The case with a ``MetaTensor`` of shape ``(C, *spatial)`` under each key."""
        d = dict(data)
        for key in self.key_iterator(d):
            if not isinstance(d[key], MetaTensor):
                image = data.get(self.image_key)
                of_image = image.meta.get("filename_or_obj") if isinstance(image, MetaTensor) else image
                case = str(d.get("case") or case_name(d[key] or of_image or ""))
                d[key] = self._load(key, d[key], case, image)
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
            if several:
                _check_readers(images, names, case)
        else:
            images = [_tensor(*read_image(file, w), file) for file, w in zip(files, which)]
            self._put_on_one_grid(images, names, case)
        loaded: Any = images[0] if len(images) == 1 else torch.cat(images)
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

    def _put_on_one_grid(self, images: list[Any], names: list[str], case: str) -> None:
        for i, (name, image) in enumerate(zip(names, images)):
            if (difference := grid_difference(images[0], image)) is None:
                continue
            if not self.resample:
                raise InputError(
                    f"The {name} of case {case} is on another grid than its {names[0]}: {difference}; resample it, or "
                    "let it be resampled (--resample_contrasts true)."
                )
            images[i] = on_grid_of(images[0], image)


def _tensor(pixels: np.ndarray, header: FileHeader, file: str | os.PathLike[str]) -> Any:
    meta = {
        **header.metadata,
        "filename_or_obj": str(file),
        "kind": header.kind,
        "orientation": header.orientation or 1,
        "spacing": np.array([np.nan] * len(header.shape) if header.spacing is None else header.spacing),
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
