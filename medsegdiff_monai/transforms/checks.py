# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform

from medsegdiff_monai.data.cases import case_name
from medsegdiff_monai.data.grids import GRID_TOLERANCE_MM, grid_shift
from medsegdiff_monai.data.regions import Regions
from medsegdiff_monai.transforms.load import in_dims
from medsegdiff_monai.utils import InputError

__all__ = ["CheckImaged", "LabelToRegionsd"]


def _source(image: torch.Tensor) -> str:
    return str(getattr(image, "meta", {}).get("filename_or_obj", "in memory"))


def _is_grey(image: torch.Tensor) -> bool:
    # Compression may move the three channels of a grey image of whole numbers by a rounding step apart.
    tolerance = 2.0 if all(bool((channel == channel.round()).all()) for channel in image) else 0.0
    return float((image.amax(0) - image.amin(0)).max()) <= tolerance


def _check_values(values: torch.Tensor, which: str, points: str, hint: str) -> None:
    lowest, highest = float(values.amin()), float(values.amax())  # these tell of NaN, without a copy of all
    if not (math.isfinite(lowest) and math.isfinite(highest)):
        raise InputError(f"{which} has NaN or infinite {points}s: mend or replace it.")
    if lowest == highest:
        raise InputError(f"{which} is constant (every {points} is {lowest:g}){hint}: replace it.")


class CheckImaged(MapTransform):
    """Refuse images ``(C, *spatial)`` from which no honest segmentation can come.

    A grey image stored as RGB, with three equal channels, is taken as the one channel that it is. Where 2D images are
    expected, a volume of one slice, ``(C, X, Y, 1)``, is taken as that slice.

    Args:
        keys: keys of the images.
        num_channels: number of channels that they must have.
        spatial_dims: number of spatial dimensions that they must have.
        contrasts: in place of ``num_channels``, the names of channels that are images of their own, such as the
            contrasts of MRI, none of which may be constant.
        allow_missing_keys: whether keys may be absent.

    Raises:
        ValueError: when not either the number or the names of the channels are given.
    """

    def __init__(
        self,
        keys: KeysCollection,
        num_channels: int | None = None,
        spatial_dims: int = 2,
        contrasts: Sequence[str] = (),
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        if (num_channels is None) == (not contrasts):
            raise ValueError(f"Give num_channels or contrasts, got {num_channels} and {list(contrasts)}.")
        self.num_channels = num_channels or len(contrasts)
        self.spatial_dims = spatial_dims
        self.contrasts = tuple(contrasts)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """The case with images that are fit to be segmented, none of them constant or with NaN or infinite pixels."""
        d = dict(data)
        for key in self.key_iterator(d):
            d[key] = self._check(d[key], str(key))
        return d

    def _check(self, image: torch.Tensor, key: str) -> torch.Tensor:
        source = _source(image)
        image = in_dims(image, self.spatial_dims) if self.spatial_dims == 2 else image
        if image.dim() != self.spatial_dims + 1:
            size = " x ".join(str(n) for n in image.shape[1:])
            slices = f"its size is {size}, give one slice of it (X x Y or X x Y x 1)."
            raise InputError(
                f"The {key} {source} has {image.dim() - 1} spatial dimensions, {self.spatial_dims} are expected: "
                + (slices if image.dim() == 4 else "give a volume, X x Y x Z.")
            )
        if self.num_channels == 1 and image.shape[0] == 3 and _is_grey(image):
            image = image[:1]
        if image.shape[0] != self.num_channels:
            expected = f"{self.num_channels} expected" + (f" ({', '.join(self.contrasts)})" if self.contrasts else "")
            raise InputError(f"The {key} {source} has {image.shape[0]} channels, {expected}: convert it.")
        case = getattr(image, "meta", {}).get("case")
        whose = source if case is None or case == case_name(source) else f"case {case}"
        for name, channel in zip(self.contrasts, image):
            _check_values(channel, f"The {name} of {whose}", "voxel", "")
        _check_values(image, f"The {key} {source}", "pixel", ", so there is nothing to segment")
        return image


class LabelToRegionsd(MapTransform):
    """Label maps to one binary channel for each region, refusing values that nobody declared.

    A label of one slice may be stored as 2D or as a volume, whichever its image is.

    Args:
        keys: keys of label maps of shape ``(1, *spatial)``.
        regions: the regions, in the order of the channels, or the label values that make up each of them.
        image_key: key of the image, whose spatial shape the label must have; None where it is not to be compared.
        allow_missing_keys: whether keys may be absent.
        several_readers: whether a label may hold a map for each of several readers, as channels.
    """

    def __init__(
        self,
        keys: KeysCollection,
        regions: Mapping[str, Sequence[int]],
        image_key: str | None = "image",
        allow_missing_keys: bool = False,
        several_readers: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.regions = Regions.from_values(regions)
        self.image_key = image_key
        self.several_readers = several_readers

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """The case with float masks of shape ``(len(regions), *spatial)`` in {0, 1}.

        Those of R readers have the shape ``(R * len(regions), *spatial)``, reader by reader.
        """
        d = dict(data)
        for key in self.key_iterator(d):
            image = d.get(self.image_key)
            label = d[key] if image is None else in_dims(d[key], image.dim() - 1)
            self._check(label, str(key), image)
            masks = [torch.isin(label, torch.tensor(v, dtype=label.dtype)) for v in self.regions.values()]
            d[key] = torch.stack(masks, dim=1).flatten(0, 1).to(torch.float32)
        return d

    def _check(self, label: torch.Tensor, key: str, image: torch.Tensor | None) -> None:
        source = _source(label)
        if label.shape[0] != 1 and not self.several_readers:
            raise InputError(
                f"The {key} {source} has {label.shape[0]} channels: give a map of label values, or say that several "
                "readers have drawn one each (several_readers of LabelToRegionsd, as configs/readers.json sets it)."
            )
        if image is not None and image.shape[1:] != label.shape[1:]:
            raise InputError(
                f"The {key} {source} has the size {tuple(label.shape[1:])} and its image {tuple(image.shape[1:])}: "
                "give a label on the image's grid."
            )
        if isinstance(label, MetaTensor) and isinstance(image, MetaTensor):
            shift = grid_shift(image.affine.numpy(), label.affine.numpy(), image.shape[1:])
            if shift > GRID_TOLERANCE_MM:
                raise InputError(
                    f"The {key} {source} has another affine than its image (its corners lie up to {shift:.3g} mm "
                    "apart): resample it onto the image's grid."
                )
        undeclared = [v for v in torch.unique(label).tolist() if v not in self.regions.declared]
        if undeclared:
            shown = ", ".join(f"{v:g}" for v in undeclared[:5]) + (", ..." if len(undeclared) > 5 else "")
            raise InputError(
                f"The {key} {source} holds the undeclared values {shown} (declared: "
                f"{', '.join(map(str, self.regions.declared))}): mend it or declare them."
            )
