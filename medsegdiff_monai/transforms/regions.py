# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform, Randomizable
from monai.utils import ensure_tuple_rep

from medsegdiff_monai.data.regions import Regions
from medsegdiff_monai.utils import InputError

__all__ = ["NestRegionsd", "RegionsToLabelMapd", "SampleReaderd"]


class NestRegionsd(MapTransform):
    """Let no region be more probable than one that contains it: no cup outside the disc, no core outside the tumour.

    Args:
        keys: keys of probabilities of shape ``(len(regions), *spatial)``, or of those of several members, one behind
            the other, ``(N * len(regions), *spatial)``.
        regions: the regions; which contains which follows from their label values.
        allow_missing_keys: whether keys may be absent.
    """

    def __init__(self, keys: KeysCollection, regions: Mapping[str, Any], allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        self.regions = Regions.from_values(regions)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """The case with probabilities of the same shape, each at most that of every region around it."""
        d = dict(data)
        names = list(self.regions)
        around = [[names.index(outer) for outer in self.regions.containing(name)] for name in names]
        for key in self.key_iterator(d):
            nested = d[key].clone() if any(around) else d[key]
            for c in range(len(nested)):
                first = c - c % len(names)
                for outer in around[c - first]:
                    nested[c].clamp_(max=d[key][first + outer])
            d[key] = nested
        return d


class RegionsToLabelMapd(MapTransform):
    """Binary regions, which may overlap, to one label map in the label values of the data set.

    The label map is painted from the outermost region to the innermost, each with the value of its own part; a pixel
    of no region gets the first background value. A region that the data set does not label is not painted.

    Args:
        keys: keys of binary masks of shape ``(len(regions), *spatial)``.
        names: key of the label map for each of them.
        regions: the regions with their label values.
        allow_missing_keys: whether keys may be absent.

    Raises:
        InputError: when no value is background, or a region has no value of its own.
    """

    def __init__(
        self, keys: KeysCollection, names: KeysCollection, regions: Mapping[str, Any], allow_missing_keys: bool = False
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.names = ensure_tuple_rep(names, len(self.keys))
        self.regions = Regions.from_values(regions)
        self.values = self.regions.own_values
        if not all(0 <= v <= 255 for v in self.values.values()):
            raise InputError(f"Label maps hold values from 0 to 255, got {self.values}: give the regions such values.")
        if not self.regions.background:
            raise InputError(
                "No label value is background, which a label map needs for what is in no region: state one, as "
                '"background": [0], in the datalist.'
            )

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """The case with, in addition, label maps of shape ``(1, *spatial)`` and type uint8."""
        d = dict(data)
        channels = list(self.regions)
        for key, name in self.key_iterator(d, self.names):
            label = torch.full_like(d[key][:1], float(self.regions.background[0]))
            for region, value in self.values.items():
                label[0, d[key][channels.index(region)] > 0.5] = value
            d[name] = label.to(torch.uint8)
        return d


class SampleReaderd(Randomizable, MapTransform):
    """Take the masks of one reader, drawn anew each time and all alike likely.

    A network that is trained so sees each image with every reader's mask in turn, and its samples vary as the readers
    do. Where it learns from their mean or majority instead, there is no variation to learn.

    Args:
        keys: keys of the masks of R readers, ``(R * len(regions), *spatial)``, reader by reader.
        regions: the regions, one for each channel of a reader's masks.
        allow_missing_keys: whether keys may be absent.
    """

    def __init__(
        self, keys: KeysCollection, regions: Mapping[str, Sequence[int]], allow_missing_keys: bool = False
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        self.channels = len(regions)
        self.reader = 0

    def randomize(self, readers: int) -> None:
        """Draw one of a number of readers."""
        self.reader = int(self.R.randint(readers))

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """The case with the masks of one reader, ``(len(regions), *spatial)``, the same one under each key."""
        d = dict(data)
        for i, key in enumerate(self.key_iterator(d)):
            if i == 0:
                self.randomize(d[key].shape[0] // self.channels)
            d[key] = d[key][self.reader * self.channels : (self.reader + 1) * self.channels]
        return d
