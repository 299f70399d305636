# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

from monai.config import KeysCollection
from monai.transforms import MapTransform, Randomizable

__all__ = ["SampleReaderd"]


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
        """Draw the reader.

        Args:
            readers: number of readers.
        """
        self.reader = int(self.R.randint(readers))

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """
        Args:
            data: case with masks under the keys.

        Returns:
            The case with the masks of one reader, ``(len(regions), *spatial)``, the same one under each key.
        """
        d = dict(data)
        drawn: int | None = None
        for key in self.key_iterator(d):
            readers = d[key].shape[0] // self.channels
            if drawn is None:
                self.randomize(readers)
                drawn = self.reader
            d[key] = d[key][drawn * self.channels : (drawn + 1) * self.channels]
        return d
