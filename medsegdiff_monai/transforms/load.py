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

from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor, PILReader
from monai.transforms import LoadImage, MapTransform, SpatialResample
from monai.utils import ensure_tuple
from PIL import Image

from medsegdiff_monai.data.cases import case_name
from medsegdiff_monai.data.grids import GRID_TOLERANCE_MM, grid_shift, grid_spacing
from medsegdiff_monai.utils import InputError

__all__ = ["LoadCased", "grid_difference", "standard_mode"]

_LENGTH_UNIT = 0b111  # bits of NIfTI's xyzt_units
_IN_MM = {1: 1000.0, 3: 0.001}  # metres and micrometres; 2 is mm, and 0, unknown, is taken for mm


def standard_mode(image: Image.Image) -> Image.Image:
    """An image in a mode whose numbers are intensities.

    The numbers of a palette image are places in its palette and those of a black-and-white image are bits: they become
    RGB or grey. Images without colour information in their alpha channel lose it.

    Args:
        image: as PIL opened it, of any mode.
    """
    if image.mode in ("P", "PA"):
        return image.convert("RGB")
    if image.mode in ("1", "LA"):
        return image.convert("L")
    if image.mode == "RGBA" and image.getchannel("A").getextrema() == (255, 255):
        return image.convert("RGB")
    return image


def _channel_first(reader: PILReader | None = None) -> LoadImage:
    return LoadImage(reader=reader, image_only=True, ensure_channel_first=True)


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


def _spacing(image: MetaTensor, raster: bool) -> np.ndarray:
    """Distances in mm as the file states them; NaN, which batches like any number, where it does not."""
    dims = image.dim() - 1
    if raster:
        return np.full(dims, np.nan)
    unit = int(image.meta.get("xyzt_units", 0)) & _LENGTH_UNIT
    return np.array(grid_spacing(image.affine.numpy(), dims)) * _IN_MM.get(unit, 1.0)


class LoadCased(MapTransform):
    """Load the files of a case, channel first, with errors that name the file and say what to do.

    PNG, JPEG, BMP and TIFF are read by PIL (the image as intensities, see :func:`standard_mode`; a label's numbers
    as they are), anything else by MONAI's readers.

    The name of the case, which is its ``case`` or else follows from its files
    (:func:`~medsegdiff_monai.data.case_name`), is put into the metadata as ``case``, and the distances of its pixels
    or voxels in mm as ``spacing``: those of a NIfTI file, whose lengths are mm unless it states metres or micrometres,
    and NaN for PNG, JPEG, BMP and TIFF, which state how large they are printed at most
    (:func:`~medsegdiff_monai.data.grids.spacing_in_metadata` reads them).

    Args:
        keys: keys of the paths; a list of paths, one for each contrast of an image or each reader of a label, is loaded
            as channels.
        label_keys: those of the keys that hold label maps.
        contrasts: names of the contrasts, in the order of a list of paths; None where any number may come.
        resample: whether contrasts on another grid than the first are resampled onto it; otherwise they are refused,
            as labels always are.
        allow_missing_keys: whether keys may be absent.
    """

    RASTER = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")

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
        self.load_volume = _channel_first()
        self.load_picture = _channel_first(PILReader(converter=standard_mode))
        self.load_label_picture = _channel_first(PILReader())

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """
        Args:
            data: case with paths under the keys.

        Returns:
            The case with a ``MetaTensor`` of shape ``(C, *spatial)`` under each key.

        Raises:
            InputError: when a file is missing, cannot be read, or has no extent, or the files of a case do not fit.
        """
        d = dict(data)
        for key in self.key_iterator(d):
            d[key] = self._load(key, d[key], str(d.get("case") or case_name(d[key] or d.get("image", ""))))
        return d

    def _load(self, key: Hashable, value: Any, case: str) -> Any:
        if value is None:
            raise InputError(f"The case {case} has no {key} in the datalist: add it, or take the case out.")
        several = isinstance(value, (list, tuple))
        files = [Path(f) for f in (value if several else [value])]
        names = self._names(str(key), files, case) if several else [str(key)]
        images = [self._load_file(key, name, file, case if several else None) for name, file in zip(names, files)]
        if several and key in self.label_keys:
            _check_readers(images, names, case)
        image: Any = images[0] if len(images) == 1 else torch.cat(self._on_one_grid(images, names, case))
        image.meta["case"] = case
        image.meta["spacing"] = _spacing(images[0], raster=files[0].suffix.lower() in self.RASTER)
        return image

    def _names(self, key: str, files: list[Path], case: str) -> list[str]:
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

    def _load_file(self, key: Hashable, name: str, file: Path, case: str | None) -> Any:
        which = f"The {name} file {file}" if case is None else f"The {name} of case {case}, {file},"
        if not file.is_file():
            raise InputError(f"{which} does not exist: restore it or mend the datalist.")
        load = self.load_volume
        if file.suffix.lower() in self.RASTER:
            load = self.load_label_picture if key in self.label_keys else self.load_picture
        try:
            image = load(file)
        except Exception as e:  # the readers raise whatever their decoders raise
            raise InputError(f"{which} cannot be read: it is damaged, truncated or not an image; replace it.") from e
        if image.numel() == 0:
            raise InputError(f"{which} has no pixels: replace it.")
        return image

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
            images[i] = SpatialResample()(image, first.affine, first.shape[1:], mode="bilinear", padding_mode="zeros")
        return images


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
