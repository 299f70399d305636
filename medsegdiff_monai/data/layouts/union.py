# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from PIL import Image

from medsegdiff_monai.data.layouts.files import grid_difference
from medsegdiff_monai.data.reading import NIFTI, FileHeader, as_shown, read_label
from medsegdiff_monai.utils import InputError, check_writable, replace_atomically

__all__ = ["unite_masks"]


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
    union, header = _label_map(masks[0])
    for mask in masks[1:]:
        if difference := grid_difference(mask, masks[0]):
            raise InputError(f"{mask.name} {difference}: give all masks of an image on its grid.")
        part, _ = _label_map(mask)
        drawn = ~np.isin(part, rest)
        if (drawn & ~np.isin(union, rest) & (part != union)).any():
            raise InputError(f"{mask.name} has another value than a further mask at one place: give one label map.")
        union = np.where(drawn, part, union)
    suffix, write = (".nii.gz", _volume) if header.kind == NIFTI else (".png", _picture)
    path = check_writable(folder) / f"{name}{suffix}"
    replace_atomically(path, write(union, header))
    return path


def _label_map(path: Path) -> tuple[np.ndarray, FileHeader]:
    """Label values of shape ``(X, Y)`` or ``(X, Y, Z)``, as the loader reads them, and the header."""
    label, header = read_label(path, path.name)
    if len(label) > 1:
        raise InputError(f"{path.name} has {len(label)} channels: give a map of label values of one channel.")
    return label[0].astype(np.int32), header


def _picture(label: np.ndarray, header: FileHeader) -> Any:
    whole = Image.fromarray(np.ascontiguousarray(label.T).astype(np.uint8 if label.max() < 256 else np.uint16))
    # Masks that stated how they are to be turned have been turned.
    return partial(whole.save, exif=as_shown()) if header.orientation else whole.save


def _volume(label: np.ndarray, header: FileHeader) -> Any:
    image = nib.Nifti1Image(label, header.affine)
    image.header["xyzt_units"] = header.metadata["xyzt_units"]
    return image.to_filename
