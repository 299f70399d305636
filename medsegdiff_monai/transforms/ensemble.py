# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

from monai.config import KeysCollection
from monai.transforms import MapTransform
from monai.utils import convert_to_dst_type

from medsegdiff_monai.inferers import SegmentationPrediction

__all__ = ["EnsembleMapsd"]

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
            one, are calculated too.
        pred_key: key of the fused probability, of shape ``(C, *spatial)``.

    Raises:
        ValueError: when there is no such map.
    """

    def __init__(
        self,
        keys: KeysCollection,
        maps: Sequence[str] = ("uncertainty",),
        scores: bool = False,
        pred_key: str = "pred",
    ) -> None:
        super().__init__(keys, allow_missing_keys=True)
        if not set(maps) <= set(_MAPS):
            raise ValueError(f"maps must be some of {', '.join(_MAPS)}, got {maps}.")
        self.maps = tuple(maps)
        self.scores = scores
        self.pred_key = pred_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """The case with the maps, and ``scores``."""
        d = dict(data)
        for key in self.key_iterator(d):
            pred = d[self.pred_key]
            members = d[key].as_tensor() if hasattr(d[key], "as_tensor") else d[key]
            prediction = SegmentationPrediction.from_members(members.unflatten(0, (-1, pred.shape[0]))[None])
            for name in self.maps:
                if (item := getattr(prediction, name)) is not None:
                    d[name] = convert_to_dst_type(item[0], pred)[0]
            if self.scores:
                fused = pred.as_tensor() if hasattr(pred, "as_tensor") else pred
                d["scores"] = prediction.statistics.scores(fused[None])
        return d
