# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

import os
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import InvertibleTransform, MapTransform
from nibabel.orientations import apply_orientation, io_orientation

from medsegdiff_monai.data.cases import name_in_metadata
from medsegdiff_monai.data.grids import spacing_in_metadata
from medsegdiff_monai.data.regions import Regions
from medsegdiff_monai.transforms.load import LoadCased, in_dims
from medsegdiff_monai.transforms.save import on_image_grid
from medsegdiff_monai.utils import check_writable
from medsegdiff_monai.visualize import PicturedCase, save_overlay

__all__ = ["SaveOverlayd", "ShownImage"]

_OF_SEVERAL = ("uncertainty", "mutual_information")  # shown where there are several members
_MOST_PIXELS = 2048  # along an axis; a picture's panel has a few hundred


class SaveOverlayd(MapTransform):
    """Draw ``<case>_overlay.png``: contours on the image, fused probability, uncertainty and mutual_information.

    The image is read anew from its file, as it came, for what the network has seen is resampled and normalised. Of
    several contrasts one is shown. Volumes of known directions are shown as radiologists look at them, with the
    patient's right on the left.

    Beside the masks under its key, a case has ``probability`` and may have ``label``, both of shape
    ``(len(regions), *spatial)`` on the image's own grid, ``uncertainty`` and ``mutual_information``, and ``scores``, a
    :class:`~medsegdiff_monai.inferers.EnsembleScores`. Where these say that there is a single member, the picture says
    that the uncertainty is not available. Regions that the data set does not label are left out. Of pictures with more
    than 2,048 pixels along an axis every second, third, ... pixel is shown.

    Args:
        keys: key of the binary masks, of shape ``(len(regions), *spatial)``.
        output_dir: folder of the pictures, made where it is missing; None where none are to be written.
        regions: the regions that the channels stand for.
        contrasts: names of the image's contrasts, in order; None for pictures.
        shown: the contrast to show where the image has it, else the first one is.
        preprocessing: what the image has gone through, which is inverted for ``uncertainty`` and
            ``mutual_information``; None where these are on the image's own grid.

    Raises:
        InputError: when the folder cannot be written to.
    """

    def __init__(
        self,
        keys: KeysCollection,
        output_dir: str | os.PathLike[str] | None,
        regions: Mapping[str, Sequence[int]],
        contrasts: Sequence[str] | None = None,
        shown: str | None = None,
        preprocessing: InvertibleTransform | None = None,
    ) -> None:
        super().__init__(keys)
        self.preprocessing = preprocessing
        self.output_dir = None if output_dir is None else check_writable(output_dir)
        self.regions = Regions.from_values(regions)
        self.contrasts = contrasts
        self.shown = shown
        self.load = LoadCased("image")

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """The case unchanged."""
        d = dict(data)
        if self.output_dir is None:
            return d
        for key in self.key_iterator(d):
            case = self._case(d, key)
            save_overlay(self.output_dir / f"{case.name}_overlay.png", case)
        return d

    def _case(self, d: Mapping[Hashable, Any], key: Hashable) -> PicturedCase:
        masks = d[key]
        image = in_dims(self.load({"image": str(masks.meta["filename_or_obj"])})["image"], masks.dim() - 1)
        if image.shape[1:] != masks.shape[1:]:
            raise ValueError(
                f"Masks of shape {tuple(masks.shape[1:])} are not on the grid of their image, "
                f"{tuple(image.shape[1:])}: put Invertd before SaveOverlayd."
            )
        step = -(-max(image.shape[1:]) // _MOST_PIXELS)  # 1 unless there are far too many
        whole = ShownImage(_every(image, step), self.contrasts, self.shown)
        channels = [c for c, values in enumerate(self.regions.values()) if values]
        every = slice(None) if len(channels) == len(self.regions) else channels  # a list would copy a whole volume
        scores = d.get("scores")
        alone = scores is not None and scores.pairwise_dice is None
        shown: dict[str, Any] = {}
        for name in ("probability", *_OF_SEVERAL, "label"):
            if d.get(name) is None or (alone and name in _OF_SEVERAL):
                continue
            invert = name in _OF_SEVERAL and self.preprocessing is not None
            maps = on_image_grid(d, name, self.preprocessing) if invert else d[name]
            shown["reference" if name == "label" else name] = whole.turned(_every(maps, step))[every]
        if scores is not None:
            shown["predicted_dice"] = scores.predicted_dice[0].numpy()[channels]
            shown["agreement"] = None if alone else scores.pairwise_dice[0].numpy()[channels]
        return PicturedCase(
            name=name_in_metadata(masks.meta),
            image=whole.array,
            regions=[list(self.regions)[c] for c in channels],
            masks=whole.turned(_every(masks, step))[every],
            contrast=whole.contrast,
            spacing=None if whole.spacing is None else [s * step for s in whole.spacing],
            frame=whole.frame,
            **shown,
        )


class ShownImage:
    """An image as a picture shows it: one contrast, its axes turned to the patient's right, front and head.

    Pictures, and volumes whose file does not say how they lie, are not turned.

    Args:
        image: as it was loaded, ``(C, *spatial)``.
        contrasts: names of its channels; None for pictures, grey or RGB.
        shown: the contrast to show where the image has it, else the first one is.

    Attributes:
        array: what is shown, of shape ``(*spatial)``, or ``(*spatial, 3)`` for RGB.
        contrast: the contrast that it is, or None.
        frame: ``"RAS"``, or None where the directions are not known.
        spacing: distances of voxels along the turned axes in mm, or None where they are not known.
    """

    def __init__(self, image: MetaTensor, contrasts: Sequence[str] | None = None, shown: str | None = None) -> None:
        codes = [int(image.meta[code]) for code in ("sform_code", "qform_code") if code in image.meta]
        self.frame = "RAS" if image.dim() == 4 and (not codes or any(code > 0 for code in codes)) else None
        self.spacing = spacing_in_metadata(image.meta)
        self._orientation = io_orientation(image.affine.numpy())
        if self.frame is not None and self.spacing is not None:
            # The first column tells for each axis which one it becomes.
            self.spacing = [self.spacing[axis] for axis in np.argsort(self._orientation[:, 0])]
        channels = self.turned(image)
        self.contrast: str | None = None
        if contrasts is None:
            self.array = _bytes(np.moveaxis(channels, 0, -1) if len(channels) == 3 else channels[0])
        else:
            names = list(contrasts)[: len(channels)]
            chosen = names.index(shown) if shown in names else 0
            self.array, self.contrast = channels[chosen], names[chosen]

    def turned(self, array: torch.Tensor) -> np.ndarray:
        """An array ``(C, *spatial)`` on the grid of the image as it is shown."""
        plain = np.asarray(array.detach().cpu())
        if self.frame is None:
            return plain
        return np.moveaxis(apply_orientation(np.moveaxis(plain, 0, -1), self._orientation), -1, 0)


def _every(image: Any, step: int) -> Any:
    return image[(slice(None), *[slice(None, None, step)] * (image.dim() - 1))] if step > 1 else image


def _bytes(picture: np.ndarray) -> np.ndarray:
    """Bytes of intensities that a picture file holds as bytes: they are shown as they are."""
    is_bytes = picture.min() >= 0 and picture.max() <= 255 and not np.any(picture % 1)
    return picture.astype(np.uint8) if is_bytes and picture.max() > 1 else picture
