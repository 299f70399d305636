# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform

from medsegdiff_monai.data.grids import spacing_in_metadata
from medsegdiff_monai.data.regions import Regions
from medsegdiff_monai.measurements import measure_members, measurement_intervals

__all__ = ["MeasureMembersd", "MeasureRegionsd"]


class _LabelledRegions:
    """The regions that the data set labels, as arrays by name, and the ratio of two of them where it labels both.

    Args:
        regions: label values of each region by name, in the order of the channels.
        ratio: names of two regions; None for no ratio.

    Raises:
        ValueError: when the ratio is of other regions.
    """

    def __init__(self, regions: Mapping[str, Sequence[int]], ratio: Sequence[str] | None) -> None:
        self.count = len(regions)
        self.channels = {name: c for c, (name, values) in enumerate(Regions.from_values(regions).items()) if values}
        if ratio is not None and (len(ratio) != 2 or not set(ratio) <= set(regions)):
            raise ValueError(f"ratio must name two of the regions {', '.join(regions)}, got {ratio}.")
        both = ratio is not None and set(ratio) <= set(self.channels)
        self.ratio = (ratio[0], ratio[1]) if ratio is not None and both else None

    def of_members(self, maps: torch.Tensor) -> list[dict[str, np.ndarray]]:
        """The channels ``(*spatial)`` of each member from maps ``(N * C, *spatial)``."""
        if maps.shape[0] % self.count:
            raise ValueError(
                f"Members must have {self.count} channels, one for each region, got {maps.shape[0]} in all."
            )
        whole: Any = maps.detach().cpu()
        array = (whole.as_tensor() if isinstance(whole, MetaTensor) else whole).numpy()
        starts = range(0, len(array), self.count)
        return [{name: array[first + c] for name, c in self.channels.items()} for first in starts]

    def arrays(self, maps: torch.Tensor) -> dict[str, np.ndarray]:
        """The channels ``(*spatial)`` of maps ``(C, *spatial)``."""
        if maps.shape[0] != self.count:
            raise ValueError(f"Maps must have {self.count} channels, one for each region, got {maps.shape[0]}.")
        return self.of_members(maps)[0]


class MeasureMembersd(MapTransform):
    """Measure members of an ensemble, so that they need not be kept: the evaluator's ``member_postprocessing``.

    What :func:`~medsegdiff_monai.measurements.measure_members` finds in each is left as a list under ``measured``, in
    mm where the metadata state the spacing, which :class:`LoadCased` puts there, else in pixels.

    Args:
        keys: key of the members' probabilities, one behind the other as :class:`MembersToChannelsd` leaves them, of
            shape ``(N * len(regions), *spatial)``, on the image's own grid.
        regions: label values of each region by name, in the order of the channels. A region without any is one that
            the data set does not label: it is not measured.
        ratio: names of two regions, such as cup and disc, whose ratio of vertical extents is measured where both are
            labelled; None for no ratio.

    Raises:
        ValueError: when the ratio is not of two of the regions.
    """

    def __init__(
        self, keys: KeysCollection, regions: Mapping[str, Sequence[int]], ratio: Sequence[str] | None = None
    ) -> None:
        super().__init__(keys)
        self.labelled = _LabelledRegions(regions, ratio)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """
        Args:
            data: case with the members as ``MetaTensor`` under the key.

        Returns:
            The case with ``measured``.

        Raises:
            ValueError: when the members' channels are not as many for each as there are regions.
        """
        d = dict(data)
        for key in self.key_iterator(d):
            spacing = spacing_in_metadata(d[key].meta)
            d["measured"] = measure_members(self.labelled.of_members(d[key]), spacing, self.labelled.ratio)
        return d


class MeasureRegionsd(MapTransform):
    """Measure the fused regions of a case, with the intervals that its members give.

    The members' measurements are those that the evaluator has collected under ``member_measurements`` with
    :class:`MeasureMembersd` of the same regions and ratio. The result, a list of
    :class:`~medsegdiff_monai.measurements.Measurement`, is left under ``measurements``.

    Args:
        keys: key of the fused binary masks of shape ``(len(regions), *spatial)``, on the image's own grid.
        regions: see :class:`MeasureMembersd`.
        ratio: see :class:`MeasureMembersd`.

    Raises:
        ValueError: when the ratio is not of two of the regions.
    """

    def __init__(
        self, keys: KeysCollection, regions: Mapping[str, Sequence[int]], ratio: Sequence[str] | None = None
    ) -> None:
        super().__init__(keys)
        self.labelled = _LabelledRegions(regions, ratio)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """
        Args:
            data: case with masks as ``MetaTensor`` under the key, and ``member_measurements``.

        Returns:
            The case with ``measurements``.

        Raises:
            ValueError: when the members have not been measured, or there is another number of masks than regions.
        """
        d = dict(data)
        if "member_measurements" not in d:
            raise ValueError(
                "The case has no member_measurements: give the evaluator a member_postprocessing with MeasureMembersd."
            )
        for key in self.key_iterator(d):
            masks = {name: mask > 0.5 for name, mask in self.labelled.arrays(d[key]).items()}
            spacing = spacing_in_metadata(d[key].meta)
            members = d["member_measurements"].items
            d["measurements"] = measurement_intervals(masks, members, spacing, self.labelled.ratio)
        return d
