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

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from PIL import Image

from medsegdiff_monai.data.layouts.files import grid_difference, label_values
from medsegdiff_monai.utils import InputError, check_writable, replace_atomically

__all__ = ["unite_masks"]

_VOLUMES = (".nii", ".nii.gz")


def unite_masks(masks: Sequence[Path], folder: Path, name: str, background: Sequence[int] = ()) -> Path:
    """Write one label map of several masks of an image, each of which holds a part, as BUSI gives its lesions.

    Args:
        masks: the masks, on one grid.
        folder: folder of the label map, made where it is missing.
        name: name of the label map without suffix; a file of this name is replaced.
        background: label values of no region; without any, 0.

    Returns:
        Path of the label map: PNG, or NIfTI where the masks are volumes.

    Raises:
        InputError: when the masks are on different grids or hold different values at one place, or the label map
            cannot be written.
    """
    rest = list(background) or [0]
    union = _label_map(masks[0])
    for mask in masks[1:]:
        if difference := grid_difference(mask, masks[0]):
            raise InputError(f"{mask.name} {difference}: give all masks of an image on its grid.")
        part = _label_map(mask)
        drawn = ~np.isin(part, rest)
        if (drawn & ~np.isin(union, rest) & (part != union)).any():
            raise InputError(f"{mask.name} has another value than a further mask at one place: give one label map.")
        union = np.where(drawn, part, union)
    is_volume = masks[0].name.lower().endswith(_VOLUMES)
    path = check_writable(folder) / f"{name}{'.nii.gz' if is_volume else '.png'}"
    replace_atomically(path, _volume(union, masks[0]) if is_volume else _picture(union))
    return path


def _label_map(path: Path) -> np.ndarray:
    """Label values of shape ``(X, Y)`` or ``(X, Y, Z)``."""
    label_values(path)  # refuses what cannot be read
    if path.name.lower().endswith(_VOLUMES):
        volume: Any = nib.load(path)
        return np.asanyarray(volume.dataobj)
    with Image.open(path) as picture:
        array = np.asarray(picture)
        return (array if array.ndim == 2 else array[..., 0]).T  # colours that are equal


def _picture(label: np.ndarray) -> Any:
    whole = label.astype(np.uint8 if label.max() <= np.iinfo(np.uint8).max else np.uint16)
    return Image.fromarray(np.ascontiguousarray(whole.T)).save


def _volume(label: np.ndarray, like: Path) -> Any:
    original: Any = nib.load(like)
    header = original.header.copy()
    header.set_data_dtype(label.dtype)
    return nib.Nifti1Image(label, original.affine, header).to_filename
