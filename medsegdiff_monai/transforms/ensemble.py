# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
from monai.config import KeysCollection
from monai.transforms import InvertibleTransform, MapTransform
from monai.utils import CommonKeys, convert_to_dst_type, convert_to_tensor

from medsegdiff_monai.data.grids import spacing_in_metadata
from medsegdiff_monai.data.regions import Regions
from medsegdiff_monai.inferers import SegmentationPrediction
from medsegdiff_monai.measurements import MemberValues, measure_members, measurement_intervals
from medsegdiff_monai.transforms.regions import NestRegionsd
from medsegdiff_monai.transforms.save import groups_on_image_grid
from medsegdiff_monai.utils import return_freed_memory

__all__ = ["EnsembleMapsd", "MeasureRegionsd"]

_MAPS = ("uncertainty", "deviation", "mutual_information", "expected_entropy")


class EnsembleMapsd(MapTransform):
    """Calculate the maps and scores of an ensemble from its members, on the network's grid.

    Args:
        keys: key of the members, one behind the other, of shape ``(N * C, *spatial)``. A host that does not hand them
            on, such as MONAI Label, gets no maps.
        maps: maps to calculate, each put under its name, ``(C, *spatial)``: ``uncertainty``, ``deviation``,
            ``mutual_information``, ``expected_entropy``, see :class:`SegmentationPrediction`. With a single member
            there is no deviation and no mutual information.
        scores: whether ``scores``, the :class:`~medsegdiff_monai.inferers.EnsembleScores` of the case as a batch of
            one, are calculated too, with the fused probability under ``pred``, of shape ``(C, *spatial)``.

    Raises:
        ValueError: when there is no such map.
    """

    def __init__(self, keys: KeysCollection, maps: Sequence[str] = ("uncertainty",), scores: bool = False) -> None:
        super().__init__(keys, allow_missing_keys=True)
        if not set(maps) <= set(_MAPS):
            raise ValueError(f"maps must be some of {', '.join(_MAPS)}, got {maps}.")
        self.maps = tuple(maps)
        self.scores = scores

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """The case with the maps, and ``scores``."""
        d = dict(data)
        for key in self.key_iterator(d):
            pred = d[CommonKeys.PRED]
            fused, members = (convert_to_tensor(item, track_meta=False) for item in (pred, d[key]))
            prediction = SegmentationPrediction.from_members(members.unflatten(0, (-1, len(fused)))[None])
            for name in self.maps:
                if (item := getattr(prediction, name)) is not None:
                    d[name] = convert_to_dst_type(item[0], pred)[0]
            if self.scores:
                d["scores"] = prediction.statistics.scores(fused[None])
        return d


class MeasureRegionsd(MapTransform):
    """Measure the fused regions of a case, with the intervals that its members give.

    The members' probabilities are under ``members``, one behind the other, of shape ``(N * len(regions), *spatial)``.
    The result, a list of :class:`~medsegdiff_monai.measurements.Measurement`, is left under ``measurements``: in mm
    where the metadata state the spacing, which :class:`LoadCased` puts there, else in pixels.

    Args:
        keys: key of the fused binary masks of shape ``(len(regions), *spatial)``, on the image's own grid.
        regions: label values of each region by name, in the order of the channels. A region without any is one that
            the data set does not label: it is not measured.
        ratio: names of two regions, such as cup and disc, whose ratio of vertical extents is measured where both are
            labelled; None for no ratio.
        preprocessing: what the image has gone through, which is inverted for the members; None where these are on the
            image's own grid.

    Raises:
        ValueError: when the ratio is not of two of the regions.
    """

    def __init__(
        self,
        keys: KeysCollection,
        regions: Mapping[str, Sequence[int]],
        ratio: Sequence[str] | None = None,
        preprocessing: InvertibleTransform | None = None,
    ) -> None:
        super().__init__(keys)
        self.count = len(regions)
        self.channels = {name: c for c, (name, values) in enumerate(Regions.from_values(regions).items()) if values}
        if ratio is not None and (len(ratio) != 2 or not set(ratio) <= set(regions)):
            raise ValueError(f"ratio must name two of the regions {', '.join(regions)}, got {ratio}.")
        both = ratio is not None and set(ratio) <= set(self.channels)
        self.ratio = (ratio[0], ratio[1]) if ratio is not None and both else None
        self.preprocessing = preprocessing
        self.nest = NestRegionsd("members", regions)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """The case with ``measurements``."""
        d = dict(data)
        for key in self.key_iterator(d):
            if len(d[key]) != self.count:
                raise ValueError(f"Masks must have {self.count} channels, one for each region, got {len(d[key])}.")
            spacing = spacing_in_metadata(d[key].meta)
            masks = {name: mask > 0.5 for name, mask in self._by_region(d[key])[0].items()}
            d["measurements"] = measurement_intervals(masks, self._member_values(d, spacing), spacing, self.ratio)
        return d

    def _member_values(self, case: Mapping[Hashable, Any], spacing: Sequence[float] | None) -> list[MemberValues]:
        """Measurements of each member, of which only some are on the image's grid at a time: that may be huge."""
        if (count := len(case["members"])) % self.count:
            raise ValueError(f"Members must have {self.count} channels, one for each region, got {count} in all.")
        values: list[MemberValues] = []
        for group in groups_on_image_grid(case, "members", self.preprocessing, self.count):
            members = self._by_region(self.nest({"members": group})["members"])
            values += measure_members(members, spacing, self.ratio)
            if len(members) == 1:
                return_freed_memory()
        return values

    def _by_region(self, maps: Any) -> list[dict[str, np.ndarray]]:
        """Channels ``(*spatial)`` by region, of each member of ``(N * len(regions), *spatial)``."""
        array = maps.detach().cpu().as_tensor().numpy()
        starts = range(0, len(array), self.count)
        return [{name: array[first + c] for name, c in self.channels.items()} for first in starts]
