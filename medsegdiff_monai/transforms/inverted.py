# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Mapping
from typing import Any

from monai.transforms import Invertd, InvertibleTransform
from monai.utils import convert_to_dst_type

from medsegdiff_monai.transforms.save import SaveSegmentationd

__all__ = ["SaveInvertedd", "groups_on_image_grid", "on_image_grid"]

_LARGEST_GROUP = 2**22  # elements that are resampled at a time: more save no time and cost memory


def groups_on_image_grid(
    case: Mapping[Hashable, Any], key: Hashable, preprocessing: Any, unit: int = 1
) -> Iterator[Any]:
    """Maps of a case, put from the network's grid onto that of the image's file, some channels at a time.

    Resampling takes several times the memory of what it makes, and the image may be far larger than what the network
    has seen. The case is not changed.

    Args:
        case: case with the preprocessed ``image`` and the maps.
        key: key of the maps, of shape ``(C, *spatial)``.
        preprocessing: the invertible transform that the image has gone through; None where they are on its grid.
        unit: number of channels that must stay together.
    """
    maps, image = case[key], case["image"]
    sizes = [o["orig_size"] for o in getattr(image, "applied_operations", ()) if "orig_size" in o]
    elements = max(math.prod(int(s) for s in size) for size in [*sizes, maps.shape[1:]])
    invert = None
    if preprocessing is not None:
        invert = Invertd(key, preprocessing, "image", nearest_interp=False, to_tensor=True)
    for group in maps.split(unit * max(1, _LARGEST_GROUP // (elements * unit))):
        yield group if invert is None else invert({"image": image, key: group})[key]


def on_image_grid(case: Mapping[Hashable, Any], key: Hashable, preprocessing: Any) -> Any:
    """Maps of a case on the grid of the image's file, of shape ``(C, *spatial)``, see :func:`groups_on_image_grid`."""
    whole: Any = None
    first = 0
    for group in groups_on_image_grid(case, key, preprocessing):
        if whole is None:
            if len(group) == len(case[key]):
                return group
            empty = group.as_tensor().new_empty((len(case[key]), *group.shape[1:]))
            whole = convert_to_dst_type(empty, group)[0]
        whole[first : first + len(group)] = group
        first += len(group)
    return whole


class SaveInvertedd(SaveSegmentationd):
    """Write maps that are still on the network's grid, each channel put onto the image's grid for its file alone.

    Args:
        preprocessing: what the image has gone through, which is inverted.
        args: those of :class:`SaveSegmentationd`.
        kwargs: those of :class:`SaveSegmentationd`.
    """

    def __init__(self, *args: Any, preprocessing: InvertibleTransform, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.preprocessing = preprocessing

    def _result(self, case: Mapping[Hashable, Any], key: Hashable, channel: Any) -> Any:
        return on_image_grid({"image": case["image"], key: channel}, key, self.preprocessing)
