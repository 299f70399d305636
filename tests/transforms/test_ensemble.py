# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from typing import Any

import pytest
import torch
from monai.data import MetaTensor

from medsegdiff_monai.inferers import SegmentationPrediction
from medsegdiff_monai.transforms import EnsembleMapsd

MAPS = ("uncertainty", "deviation", "mutual_information", "expected_entropy")


def case(count: int = 4, fusion: str = "mean", plain: bool = False) -> tuple[dict[str, Any], SegmentationPrediction]:
    """A case as the evaluator hands it on, and the prediction that it is made of."""
    members = torch.rand(1, count, 2, 9, 7, generator=torch.Generator().manual_seed(0))
    prediction = SegmentationPrediction.from_members(members, fusion)
    tensors = {"pred": prediction.probability[0], "members": members[0].flatten(0, 1)}
    meta = {"filename_or_obj": "scan.png"}
    return {k: t if plain else MetaTensor(t, meta=meta) for k, t in tensors.items()}, prediction


@pytest.mark.parametrize("plain", [False, True], ids=["metatensor", "tensor"])
def test_maps_are_those_of_the_prediction_and_know_their_case(plain: bool) -> None:
    item, prediction = case(plain=plain)
    made = EnsembleMapsd("members", MAPS)(item)
    assert set(made) == {*item, *MAPS}
    for name in MAPS:
        torch.testing.assert_close(torch.as_tensor(made[name]), getattr(prediction, name)[0], check_dtype=True)
        if not plain:
            assert made[name].meta["filename_or_obj"] == "scan.png"
    assert made["members"] is item["members"]


def test_by_default_the_uncertainty_is_made() -> None:
    item, prediction = case()
    made = EnsembleMapsd("members")(item)
    assert set(made) - set(item) == {"uncertainty"}
    torch.testing.assert_close(made["uncertainty"].as_tensor(), prediction.uncertainty[0])


@pytest.mark.parametrize("fusion", ["mean", "majority", "staple"])
def test_scores_are_those_of_the_fused_probability(fusion: str) -> None:
    item, prediction = case(fusion=fusion)
    scores = EnsembleMapsd("members", (), scores=True)(item)["scores"]
    for ours, theirs in zip(vars(scores).values(), vars(prediction.scores).values(), strict=True):
        torch.testing.assert_close(ours, theirs)
    assert scores.predicted_dice.shape == (1, 2)
    assert scores.sensitivity.shape == (1, 4, 2)


def test_a_single_member_leaves_out_what_needs_two() -> None:
    made = EnsembleMapsd("members", MAPS, scores=True)(case(1)[0])
    assert {"uncertainty", "expected_entropy"} < set(made)
    assert not {"deviation", "mutual_information"} & set(made)
    assert made["scores"].pairwise_dice is None


def test_a_host_that_hands_on_no_members_gets_no_maps() -> None:
    item = {"pred": case()[0]["pred"]}
    assert EnsembleMapsd("members", MAPS, scores=True)(item) == item


def test_other_maps_are_refused() -> None:
    with pytest.raises(ValueError, match=r"maps must be some of uncertainty, deviation, .*got .*variance"):
        EnsembleMapsd("members", ("uncertainty", "variance"))
