# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import pytest
import torch
from scipy import ndimage
from scipy.stats import entropy

from medsegdiff_monai.inferers import EnsembleStatistics, SegmentationPrediction, binary_entropy
from medsegdiff_monai.inferers.prediction import EnsembleScores, fuse_statistics
from medsegdiff_monai.networks.fusion import fuse_members, staple_performance


def blobs(cases: int = 2, members: int = 5, channels: int = 2, size: tuple[int, ...] = (24, 20)) -> torch.Tensor:
    """Members whose expected_entropyred discs lie a little beside each other, of shape ``(B, N, C, *spatial)``."""
    rng = np.random.default_rng(0)
    found = np.zeros((cases, members, channels, *size), dtype=np.float32)
    for index in np.ndindex(cases, members, channels):
        centre = np.array(size) / 2 + rng.normal(0, 1.5, len(size))
        grid = np.stack(np.meshgrid(*map(np.arange, size), indexing="ij"), -1)
        found[index] = 1 / (1 + np.exp(np.linalg.norm(grid - centre, axis=-1) - 5 - rng.normal()))
    return torch.from_numpy(found)


def dice(a: np.ndarray, b: np.ndarray) -> float:
    total = a.sum() + b.sum()
    return 1.0 if total == 0 else 2.0 * (a & b).sum() / total


def bits(p: np.ndarray) -> np.ndarray:
    return entropy(np.stack([p, 1 - p]), base=2, axis=0)


@pytest.mark.parametrize("batches", [[5], [1, 1, 1, 1, 1], [2, 3]])
def test_maps_are_those_of_all_members_however_they_come(batches):
    members = blobs()
    statistics = EnsembleStatistics()
    for part in members.split(batches, dim=1):
        statistics.update(part)
    p = members.double().numpy()
    np.testing.assert_allclose(statistics.mean.numpy(), p.mean(1), atol=1e-6)
    np.testing.assert_allclose(statistics.deviation.numpy(), p.std(1), atol=1e-6)
    np.testing.assert_allclose(statistics.entropy.numpy(), bits(p.mean(1)), atol=1e-5)
    np.testing.assert_allclose(statistics.expected_entropy.numpy(), bits(p).mean(1), atol=1e-5)
    np.testing.assert_allclose(statistics.mutual_information.numpy(), bits(p.mean(1)) - bits(p).mean(1), atol=1e-5)


def test_entropy_is_that_of_scipy_up_to_certainty():
    p = torch.cat([torch.tensor([0.0, 1e-45, 1e-30, 1e-7, 1 - 6e-8, 1.0]), torch.linspace(0, 1, 1001)])
    found = binary_entropy(p)
    np.testing.assert_allclose(found.numpy(), bits(p.double().numpy()), atol=2e-7)
    assert not torch.signbit(found).any()


def test_mutual_information_is_of_decided_members_and_expected_entropy_of_undecided_ones():
    decided = torch.tensor([1.0, 0.0]).view(1, 2, 1, 1)
    undecided = torch.tensor([0.5, 0.5]).view(1, 2, 1, 1)
    statistics = EnsembleStatistics.of(torch.cat([decided, undecided], dim=-1))
    assert statistics.entropy.flatten().tolist() == [1, 1]
    assert statistics.mutual_information.flatten().tolist() == [1, 0]
    assert statistics.expected_entropy.flatten().tolist() == [0, 1]
    assert statistics.deviation.flatten().tolist() == [0.5, 0]


def test_small_differences_between_members_near_1_are_not_lost():
    members = (0.9999 + 1e-5 * torch.arange(10, dtype=torch.float64)).view(1, 10, 1, 1)
    deviation = EnsembleStatistics.of(members).deviation
    assert float(deviation) == pytest.approx(float(members.std(correction=0)), rel=0.02)


@pytest.mark.parametrize("count", [2, 5, 8, 9, 20])
def test_votes_of_any_number_of_members_are_kept_as_bits(count):
    members = blobs(members=count, size=(9, 7))
    statistics = EnsembleStatistics.of(members)
    for b, c in np.ndindex(2, 2):
        votes = (members[b, :, c] >= 0.5).flatten(1)
        assert torch.equal(statistics.votes(b, c), votes.to(torch.uint8))
        patterns, counts = statistics.patterns(b, c)
        assert int(counts.sum()) == votes.shape[1]
        assert torch.equal((patterns * counts).sum(1), votes.sum(1))
        assert int(patterns[:, 0].sum()) == 0
        seen = Counter(map(tuple, votes.T.int().tolist()))
        assert dict(zip(map(tuple, patterns.T.tolist()), counts.tolist(), strict=True)) == {(0,) * count: 0} | seen


def test_entropy_is_that_of_all_members_so_far():
    members = blobs(size=(9, 7))
    statistics = EnsembleStatistics.of(members[:, :2])
    assert torch.equal(statistics.entropy, binary_entropy(statistics.mean))
    statistics.update(members[:, 2:])
    assert torch.equal(statistics.entropy, binary_entropy(statistics.mean))


@pytest.mark.parametrize("fusion", ["mean", "majority", "staple"])
def test_fusion_of_members_that_were_not_kept_is_that_of_members(fusion):
    members = blobs(size=(9, 8, 7))
    torch.testing.assert_close(
        fuse_statistics(EnsembleStatistics.of(members), fusion), fuse_members(members, fusion), atol=1e-6, rtol=0
    )


def test_pairwise_dice_is_the_mean_over_all_pairs():
    members = blobs()
    masks = members.numpy() >= 0.5
    values = EnsembleStatistics.of(members).pairwise_dice()
    for b, c in np.ndindex(2, 2):
        pairs = [dice(masks[b, i, c], masks[b, j, c]) for i, j in itertools.combinations(range(5), 2)]
        assert float(values[b, c]) == pytest.approx(np.mean(pairs))


def test_pairwise_dice_of_empty_masks():
    members = torch.zeros(1, 3, 2, 4, 4)
    members[0, 0, 1, 1, 1] = 1  # one of three members sees something: only the other two agree
    assert EnsembleStatistics.of(members).pairwise_dice()[0].tolist() == pytest.approx([1, 1 / 3])


def test_predicted_dice_is_that_of_the_formula_and_close_to_that_with_drawn_masks():
    members = blobs(cases=1, channels=1)
    probability = members.mean(1)
    mask = probability.numpy()[0, 0] >= 0.5
    p = probability.double().numpy()[0, 0]
    value = float(EnsembleStatistics.of(members).predicted_dice(probability))
    p[p < 0.01] = 0
    assert value == pytest.approx(2 * p[mask].sum() / (mask.sum() + p.sum()), abs=1e-6)
    rng = np.random.default_rng(1)
    assert value == pytest.approx(np.mean([dice(mask, rng.random(p.shape) < p) for _ in range(400)]), abs=0.01)


def test_predicted_dice_does_not_depend_on_how_much_sure_background_there_is():
    members = torch.full([1, 2, 1, 400, 300], 1e-3)  # 120 pixels' worth, all around an object of 16
    members[..., 200:204, 200:204] = 0.9
    members[..., 204:206, 200:204] = 0.25
    value = EnsembleStatistics.of(members).predicted_dice(members.mean(1))
    assert float(value) == pytest.approx(2 * 16 * 0.9 / (16 + 16 * 0.9 + 8 * 0.25))


def test_predicted_dice_of_nothing_and_of_certainty():
    members = torch.zeros(2, 2, 1, 5, 5)
    members[1, :, :, :2] = 1
    assert EnsembleStatistics.of(members).predicted_dice(members.mean(1)).flatten().tolist() == [1, 1]


@pytest.mark.parametrize("size", [(24, 20), (16, 14, 12)])
def test_boundary_entropy_is_the_mean_within_two_elements_of_the_edge(size):
    members = blobs(cases=1, channels=1, size=size)
    probability = members.mean(1)
    mask = probability.numpy()[0, 0] >= 0.5
    cube = np.ones([5] * len(size))
    band = ndimage.binary_dilation(mask, cube) & ndimage.binary_dilation(~mask, cube)
    value = float(EnsembleStatistics.of(members).boundary_entropy(probability))
    assert value == pytest.approx(bits(probability.double().numpy()[0, 0])[band].mean(), abs=1e-6)


def test_a_mask_without_an_edge_has_no_boundary_entropy():
    members = torch.full((2, 2, 1, 6, 6), 0.2)
    members[1] = 0.9
    assert torch.isnan(EnsembleStatistics.of(members).boundary_entropy(members.mean(1))).all()


def test_performance_of_members_is_that_of_staple_on_all_votes():
    members = blobs()
    scores = EnsembleScores.of(EnsembleStatistics.of(members), members.mean(1))
    for b, c in np.ndindex(2, 2):
        _, sensitivity, specificity = staple_performance((members[b, :, c] >= 0.5).float().flatten(1))
        torch.testing.assert_close(scores.sensitivity[b, :, c], sensitivity)
        torch.testing.assert_close(scores.specificity[b, :, c], specificity)
    case = scores.of_case(1)
    assert len(case.sensitivity) == 5
    assert case.predicted_dice == scores.predicted_dice[1].tolist()


def test_one_member_has_an_entropy_but_no_mutual_information():
    members = blobs(members=1)
    prediction = SegmentationPrediction(members.mean(1), binary_entropy(members.mean(1)), members)
    assert prediction.deviation is None
    assert prediction.mutual_information is None
    torch.testing.assert_close(prediction.expected_entropy, prediction.uncertainty)
    case = prediction.scores.of_case(0)
    assert (case.pairwise_dice, case.sensitivity, case.specificity) == (None, None, None)
    assert all(0 < d < 1 for d in case.predicted_dice)


def test_a_prediction_without_members_needs_what_was_gathered_of_them():
    p = torch.zeros(1, 1, 4, 4)
    with pytest.raises(ValueError, match="members"):
        _ = SegmentationPrediction(p, p, None).statistics
