# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from collections.abc import Hashable, Mapping
from functools import partial
from itertools import product
from typing import Any

import torch
from monai.config import KeysCollection
from monai.transforms import CropForegroundd, MapTransform

from medsegdiff_monai.data.cases import name_in_metadata
from medsegdiff_monai.utils import InputError

__all__ = ["CropBackgroundd", "SubtractBackgroundd", "SubtractMinimumd", "background_value"]

_BACKGROUND_SHARE = 0.02  # of a volume, which its lowest value fills where that is background and no chance


def background_value(volume: torch.Tensor) -> float | None:
    """The value that a volume ``(*spatial)`` has where there is nothing to see; None where that cannot be told.

    It is what all corners have, else the lowest value where that is 0 or fills a part of the volume, else what most
    corners have. A volume without any background, whose values are all above 0, has the background 0.
    """
    corners = volume[tuple(zip(*product(*((0, s - 1) for s in volume.shape))))]
    values, counts = torch.unique(corners, return_counts=True)
    common, votes = float(values[counts.argmax()]), int(counts.max())
    if votes == len(corners):
        return common
    lowest = float(volume.min())
    if lowest == 0.0 or float((volume == lowest).float().mean()) >= _BACKGROUND_SHARE:
        return lowest
    if votes > len(corners) // 2:
        return common
    return 0.0 if lowest > 0.0 else None


class SubtractBackgroundd(MapTransform):
    """Shift each channel of volumes ``(C, *spatial)`` so that its background is 0, which normalisation leaves out."""

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """The case with shifted volumes; an ``InputError`` where no value can be told to be the background."""
        d = dict(data)
        for key in self.key_iterator(d):
            image = d[key]
            values = [background_value(channel) for channel in image.as_tensor()]
            if None in values:
                raise InputError(
                    f"The {key} of case {name_in_metadata(image.meta)} has no background that can be told (contrast "
                    f"{values.index(None) + 1}: its corners differ and it has voxels below 0): set what is outside of "
                    "the brain to one value."
                )
            if any(values):
                shift = torch.tensor(values, dtype=image.dtype)
                d[key] = image - shift.reshape(-1, *[1] * (image.dim() - 1))
        return d


class SubtractMinimumd(MapTransform):
    """Shift pictures so that their lowest value is 0.

    A constant that is added to a picture then changes nothing that follows, not even by rounding.
    """

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """The case with shifted pictures."""
        d = dict(data)
        for key in self.key_iterator(d):
            lowest = float(d[key].min())
            d[key] = d[key] - lowest if lowest != 0.0 else d[key]
        return d


class CropBackgroundd(CropForegroundd):
    """Crop volumes to the box around all voxels that are not background, which :class:`SubtractBackgroundd` made 0.

    The arguments are those of MONAI's ``CropForegroundd``; ``source_key`` is that of the volume.
    """

    def __init__(self, keys: KeysCollection, source_key: str = "image", allow_missing_keys: bool = False) -> None:
        is_foreground = partial(torch.ne, other=0)
        super().__init__(keys, source_key, is_foreground, allow_smaller=True, allow_missing_keys=allow_missing_keys)
