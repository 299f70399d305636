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

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

from monai.config import KeysCollection
from monai.transforms import MapTransform, Randomizable

__all__ = ["MembersToChannelsd", "SampleReaderd"]


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


class MembersToChannelsd(MapTransform):
    """Members of an ensemble as channels, member by member, so that what handles images handles them as well.

    Args:
        keys: keys of members of shape ``(N, C, *spatial)``.
        allow_missing_keys: whether keys may be absent.
    """

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """
        Args:
            data: case with members under the keys.

        Returns:
            The case with channels of shape ``(N * C, *spatial)`` under the keys.
        """
        d = dict(data)
        for key in self.key_iterator(d):
            d[key] = d[key].flatten(0, 1)
        return d
