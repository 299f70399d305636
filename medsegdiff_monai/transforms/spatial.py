# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
from monai.config import KeysCollection
from monai.transforms import (
    CropForegroundd,
    InvertibleTransform,
    MapTransform,
    RandAffined,
    RandCropByPosNegLabeld,
    Resize,
    Resized,
    SpatialPad,
)
from monai.utils import convert_to_dst_type, convert_to_tensor
from monai.utils.enums import TraceKeys
from torch import nn

__all__ = [
    "AntialiasedResized",
    "CropFieldOfViewd",
    "FitToSized",
    "RandCropRegionsd",
    "RandRelativeAffined",
    "in_field_of_view",
]

_SURROUND = 0.08  # share of the largest value up to which a pixel may be black surround, with noise of compression


def in_field_of_view(image: torch.Tensor) -> torch.Tensor:
    """Mask ``(1, *spatial)`` of the camera's field of view in a fundus photograph ``(C, *spatial)`` with black at 0."""
    brightness = torch.as_tensor(image).amax(0, keepdim=True).float()
    return brightness > _SURROUND * brightness.max()


class CropFieldOfViewd(CropForegroundd):
    """Crop photographs to the camera's field of view, so that the eye has the same size whatever the surround.

    The arguments are those of MONAI's ``CropForegroundd``; ``source_key`` is that of the photograph.
    """

    def __init__(self, keys: KeysCollection, source_key: str = "image", allow_missing_keys: bool = False) -> None:
        super().__init__(keys, source_key, select_fn=in_field_of_view, allow_missing_keys=allow_missing_keys)


class FitToSized(MapTransform, InvertibleTransform):
    """Scale images ``(C, *spatial)`` to fit into a size, keeping their proportions, and pad them to it with zeros.

    What shrinks is averaged over areas, so that nothing aliases; what grows is interpolated. The inverse, of maps in
    the fitted size, interpolates.
    """

    def __init__(self, keys: KeysCollection, image_size: Sequence[int], allow_missing_keys: bool = False) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        self.image_size = list(image_size)
        self.smooth = {2: "bilinear", 3: "trilinear"}[len(self.image_size)]
        self.pad = SpatialPad(self.image_size)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """The case with images of shape ``(C, *image_size)``."""
        d = dict(data)
        for key in self.key_iterator(d):
            size = d[key].shape[1:]
            scale = min(target / s for target, s in zip(self.image_size, size))
            resize = Resize([max(1, round(s * scale)) for s in size], mode="area" if scale < 1 else self.smooth)
            d[key] = self.pad(resize(d[key]))
        return d

    def inverse(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """The case with maps of shape ``(C, *image_size)`` brought to the sizes that the images had."""
        d = dict(data)
        for key in self.key_iterator(d):
            cropped = self.pad.inverse(d[key])
            resizing = cropped.applied_operations.pop()
            resizing[TraceKeys.EXTRA_INFO]["mode"] = self.smooth
            d[key] = Resize(self.image_size).inverse_transform(cropped, resizing)
        return d


class _AntialiasedResize(Resize):
    """MONAI's ``Resize`` of 2D images by PyTorch's antialiased interpolation, whose filter ends at the border."""

    def __call__(self, img: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:  # type: ignore[override]
        """Image of shape ``(C, *spatial_size)`` from one of shape ``(C, X, Y)``."""
        plain = convert_to_tensor(img, track_meta=False)
        small = nn.functional.interpolate(plain[None], self.spatial_size, mode="bilinear", antialias=True)[0]
        traced = super().__call__(img, *args, **kwargs)  # with the affine, and what the inverse needs
        return convert_to_dst_type(small, traced)[0]


class AntialiasedResized(Resized):
    """Resize 2D images ``(C, X, Y)`` by averaging with a triangle filter; the inverse interpolates.

    What lies beyond the border has no part in it. MONAI's ``Resized(anti_aliasing=True)`` takes it for 0, which darkens
    the rim and makes the result depend on the zero point of the intensities.
    """

    def __init__(self, keys: KeysCollection, spatial_size: Sequence[int], allow_missing_keys: bool = False) -> None:
        super().__init__(keys, spatial_size, mode="bilinear", allow_missing_keys=allow_missing_keys)
        self.resizer = _AntialiasedResize(spatial_size, mode="bilinear")


class RandCropRegionsd(RandCropByPosNegLabeld):
    """MONAI's ``RandCropByPosNegLabeld``, whose positive crops lie around a voxel of any region.

    MONAI takes the first of several channels for background and leaves it out. The arguments are MONAI's.
    """

    def randomize(self, label: Any = None, fg_indices: Any = None, bg_indices: Any = None, image: Any = None) -> None:
        """Choose the crops' centres, from masks of shape ``(C, *spatial)`` as one."""
        union = None if label is None else (label > 0).any(0, keepdim=True)
        super().randomize(union, fg_indices, bg_indices, image)


class RandRelativeAffined(RandAffined):
    """MONAI's ``RandAffined``, with the shift as a share of the image's size.

    Args:
        keys: keys of the images and masks, one of each mode and padding.
        image_size: spatial size that the images have.
        translate: largest shift along each axis, as a share of its size.
        mode: as in ``RandAffined``, as are ``padding_mode`` and ``settings``.
    """

    def __init__(
        self,
        keys: KeysCollection,
        image_size: Sequence[int],
        translate: float = 0.0,
        mode: Sequence[str] = ("bilinear", "nearest"),
        padding_mode: Sequence[str] = ("border", "zeros"),
        **settings: Any,
    ) -> None:
        shift = [translate * size for size in image_size]
        super().__init__(keys, translate_range=shift, mode=mode, padding_mode=padding_mode, **settings)
