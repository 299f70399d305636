# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

from monai.transforms import Invertd, InvertibleTransform
from monai.utils import convert_to_dst_type

from medsegdiff_monai.transforms.save import SaveSegmentationd

__all__ = ["SaveInvertedd", "on_image_grid"]


def on_image_grid(case: Mapping[Hashable, Any], key: Hashable, preprocessing: Any) -> Any:
    """A map of a case, put from the network's grid onto that of the image's file; the case is not changed.

    It goes channel by channel: resampling takes several times the memory of what it makes.

    Args:
        case: case with the preprocessed ``image`` and the map.
        key: key of the map, of shape ``(C, *spatial)``.
        preprocessing: the invertible transform that the image has gone through.
    """
    invert = Invertd(key, preprocessing, "image", nearest_interp=False, to_tensor=True)
    whole: Any = None
    for c, channel in enumerate(case[key].split(1)):
        inverted = invert({"image": case["image"], key: channel})[key]
        if whole is None:
            size = (case[key].shape[0], *inverted.shape[1:])
            whole = convert_to_dst_type(inverted.as_tensor().new_empty(size), inverted)[0]
        whole[c] = inverted[0]
    return whole


class SaveInvertedd(SaveSegmentationd):
    """Write maps that are still on the network's grid, each channel put onto the image's grid for its file alone.

    The image may be far larger than what the network has seen, so that several maps on its grid would fill the memory.

    Args:
        preprocessing: what the image has gone through, which is inverted.
        args: those of :class:`SaveSegmentationd`.
        kwargs: those of :class:`SaveSegmentationd`.
    """

    def __init__(self, *args: Any, preprocessing: InvertibleTransform, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.preprocessing = preprocessing

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """
        Args:
            data: case with the preprocessed ``image`` and the maps, which are not changed.

        Raises:
            InputError: when a file cannot be written.
        """
        for key, postfix in self.key_iterator(dict(data), self.postfixes):
            for channel, name in self._parts(data[key], postfix, is_label=False):
                part = {"image": data["image"], key: channel}
                self._save(on_image_grid(part, key, self.preprocessing), name, is_label=False)
        return dict(data)
