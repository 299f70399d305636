# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from scipy import ndimage
from scipy.stats import entropy

from medsegdiff_monai.inferers import EnsembleStatistics, SegmentationPrediction, binary_entropy
from medsegdiff_monai.networks.fusion import fuse_members, staple_of_patterns


def blobs(cases: int = 2, members: int = 5, channels: int = 2, size: tuple[int, ...] = (24, 20)) -> torch.Tensor:
    """Members whose blurred discs lie a little beside each other, of shape ``(B, N, C, *spatial)``."""
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


def performance_of(votes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Sensitivity and specificity by STAPLE of votes ``(N, *spatial)``, each voxel for itself."""
    each = votes.flatten(1)
    return staple_of_patterns(each, torch.ones(each.shape[1]))[1:]


def bits(p: np.ndarray) -> np.ndarray:
    return entropy(np.stack([p, 1 - p]), base=2, axis=0)


@pytest.mark.parametrize("size", [(24, 20), (9, 8, 7)])
def test_maps_are_those_of_all_members(size):
    members = blobs(size=size)
    kept = members.clone()
    statistics = EnsembleStatistics(members)
    p = members.double().numpy()
    np.testing.assert_allclose(statistics.mean.numpy(), p.mean(1), atol=1e-6)
    np.testing.assert_allclose(statistics.deviation.numpy(), p.std(1), atol=1e-6)
    np.testing.assert_allclose(statistics.entropy.numpy(), bits(p.mean(1)), atol=1e-5)
    np.testing.assert_allclose(statistics.expected_entropy.numpy(), bits(p).mean(1), atol=1e-5)
    np.testing.assert_allclose(statistics.mutual_information.numpy(), bits(p.mean(1)) - bits(p).mean(1), atol=1e-5)
    assert torch.equal(members, kept)  # no map is made in the members' own memory


def test_maps_and_scores_of_members_in_half_precision_are_those_of_their_values():
    members = blobs().half()
    half, full = EnsembleStatistics(members), EnsembleStatistics(members.float())
    for name in ("mean", "deviation", "entropy", "expected_entropy", "mutual_information"):
        assert getattr(half, name).dtype == torch.float32
        torch.testing.assert_close(getattr(half, name), getattr(full, name))
    for ours, theirs in zip(vars(half.scores(half.mean)).values(), vars(full.scores(full.mean)).values(), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_entropy_is_that_of_scipy_up_to_certainty():
    p = torch.cat([torch.tensor([0.0, 1e-45, 1e-30, 1e-7, 1 - 6e-8, 1.0]), torch.linspace(0, 1, 1001)])
    found = binary_entropy(p)
    np.testing.assert_allclose(found.numpy(), bits(p.double().numpy()), atol=2e-7)
    assert not torch.signbit(found).any()


def test_mutual_information_is_of_decided_members_and_expected_entropy_of_undecided_ones():
    decided = torch.tensor([1.0, 0.0]).view(1, 2, 1, 1)
    undecided = torch.tensor([0.5, 0.5]).view(1, 2, 1, 1)
    statistics = EnsembleStatistics(torch.cat([decided, undecided], dim=-1))
    assert statistics.entropy.flatten().tolist() == [1, 1]
    assert statistics.mutual_information.flatten().tolist() == [1, 0]
    assert statistics.expected_entropy.flatten().tolist() == [0, 1]
    assert statistics.deviation.flatten().tolist() == [0.5, 0]


def test_small_differences_between_members_near_1_are_not_lost():
    members = (0.9999 + 1e-5 * torch.arange(10, dtype=torch.float64)).view(1, 10, 1, 1)
    deviation = EnsembleStatistics(members).deviation
    assert float(deviation) == pytest.approx(float(members.std(correction=0)), rel=0.02)


@pytest.mark.parametrize("count", [1, 2, 5, 8, 9, 20, 31, 32, 33, 40, 63, 64, 65, 100])
def test_patterns_are_the_columns_that_numpy_finds_in_the_votes_of_any_number_of_members(count):
    members = blobs(members=count, size=(9, 7))
    members[1, :, 1] = 0.7  # everyone votes everywhere: the pattern of no vote occurs nowhere
    statistics = EnsembleStatistics(members)
    for b, c in np.ndindex(2, 2):
        votes = (members[b, :, c] >= 0.5).flatten(1).numpy()
        columns, times = np.unique(votes, axis=1, return_counts=True)
        patterns, counts = statistics.patterns(b, c)
        assert not patterns[:, 0].any()
        found = dict(zip(map(tuple, patterns.T.tolist()), counts.tolist(), strict=True))
        seen = dict(zip(map(tuple, columns.T.astype(int).tolist()), times.tolist(), strict=True))
        assert found == {(0,) * count: 0} | seen


def test_scores_of_forty_members_are_those_by_hand():
    members = blobs(cases=1, members=40, channels=1)
    masks = members.numpy()[0, :, 0] >= 0.5
    scores = EnsembleStatistics(members).scores(members.mean(1))
    pairs = [dice(a, b) for a, b in itertools.combinations(masks, 2)]
    assert float(scores.pairwise_dice) == pytest.approx(np.mean(pairs))
    sensitivity, specificity = performance_of(torch.from_numpy(masks))
    torch.testing.assert_close(scores.sensitivity[0, :, 0], sensitivity)
    torch.testing.assert_close(scores.specificity[0, :, 0], specificity)


@pytest.mark.parametrize("fusion", ["mean", "majority", "staple"])
def test_prediction_of_members_is_their_fusion(fusion):
    members = blobs(size=(9, 8, 7))
    prediction = SegmentationPrediction.from_members(members, fusion)
    torch.testing.assert_close(prediction.probability, fuse_members(members, fusion), atol=1e-6, rtol=0)
    assert prediction.members is members
    expected = EnsembleStatistics(members)
    probability, uncertainty, kept = prediction
    assert probability is prediction.probability
    assert torch.equal(uncertainty, expected.entropy)
    assert kept is members
    for name in ("deviation", "mutual_information", "expected_entropy"):
        assert torch.equal(getattr(prediction, name), getattr(expected, name))
    for ours, theirs in zip(
        vars(prediction.scores).values(), vars(expected.scores(prediction.probability)).values(), strict=True
    ):
        assert torch.equal(ours, theirs)


def test_pairwise_dice_is_the_mean_over_all_pairs():
    members = blobs()
    masks = members.numpy() >= 0.5
    values = EnsembleStatistics(members).pairwise_dice()
    for b, c in np.ndindex(2, 2):
        pairs = [dice(masks[b, i, c], masks[b, j, c]) for i, j in itertools.combinations(range(5), 2)]
        assert float(values[b, c]) == pytest.approx(np.mean(pairs))


def test_pairwise_dice_of_empty_masks():
    members = torch.zeros(1, 3, 2, 4, 4)
    members[0, 0, 1, 1, 1] = 1  # one of three members sees something: only the other two agree
    assert EnsembleStatistics(members).pairwise_dice()[0].tolist() == pytest.approx([1, 1 / 3])


def test_predicted_dice_is_that_of_the_formula_and_close_to_that_with_drawn_masks():
    members = blobs(cases=1, channels=1)
    probability = members.mean(1)
    mask = probability.numpy()[0, 0] >= 0.5
    p = probability.double().numpy()[0, 0]
    value = float(EnsembleStatistics(members).predicted_dice(probability))
    p[p < 0.01] = 0
    assert value == pytest.approx(2 * p[mask].sum() / (mask.sum() + p.sum()), abs=1e-6)
    rng = np.random.default_rng(1)
    assert value == pytest.approx(np.mean([dice(mask, rng.random(p.shape) < p) for _ in range(400)]), abs=0.01)


def test_predicted_dice_does_not_depend_on_how_much_sure_background_there_is():
    members = torch.full([1, 2, 1, 400, 300], 1e-3)  # 120 pixels' worth, all around an object of 16
    members[..., 200:204, 200:204] = 0.9
    members[..., 204:206, 200:204] = 0.25
    value = EnsembleStatistics(members).predicted_dice(members.mean(1))
    assert float(value) == pytest.approx(2 * 16 * 0.9 / (16 + 16 * 0.9 + 8 * 0.25))


def test_predicted_dice_of_nothing_and_of_certainty():
    members = torch.zeros(2, 2, 1, 5, 5)
    members[1, :, :, :2] = 1
    assert EnsembleStatistics(members).predicted_dice(members.mean(1)).flatten().tolist() == [1, 1]


@pytest.mark.parametrize("size", [(24, 20), (16, 14, 12)])
def test_boundary_entropy_is_the_mean_within_two_elements_of_the_edge(size):
    members = blobs(cases=1, channels=1, size=size)
    probability = members.mean(1)
    mask = probability.numpy()[0, 0] >= 0.5
    cube = np.ones([5] * len(size))
    band = ndimage.binary_dilation(mask, cube) & ndimage.binary_dilation(~mask, cube)
    value = float(EnsembleStatistics(members).boundary_entropy(probability))
    assert value == pytest.approx(bits(probability.double().numpy()[0, 0])[band].mean(), abs=1e-6)


def test_a_mask_without_an_edge_has_no_boundary_entropy():
    members = torch.full((2, 2, 1, 6, 6), 0.2)
    members[1] = 0.9
    assert torch.isnan(EnsembleStatistics(members).boundary_entropy(members.mean(1))).all()


def test_performance_of_members_is_that_of_staple_on_all_votes():
    members = blobs()
    scores = EnsembleStatistics(members).scores(members.mean(1))
    assert scores.sensitivity.shape == scores.specificity.shape == (2, 5, 2)
    assert scores.pairwise_dice.shape == scores.predicted_dice.shape == scores.boundary_entropy.shape == (2, 2)
    for b, c in np.ndindex(2, 2):
        sensitivity, specificity = performance_of(members[b, :, c] >= 0.5)
        torch.testing.assert_close(scores.sensitivity[b, :, c], sensitivity)
        torch.testing.assert_close(scores.specificity[b, :, c], specificity)


def test_one_member_has_an_entropy_but_no_mutual_information():
    members = blobs(members=1)
    prediction = SegmentationPrediction.from_members(members)
    assert prediction.deviation is None
    assert prediction.mutual_information is None
    torch.testing.assert_close(prediction.expected_entropy, prediction.uncertainty)
    scores = prediction.scores
    assert (scores.pairwise_dice, scores.sensitivity, scores.specificity) == (None, None, None)
    assert ((scores.predicted_dice > 0) & (scores.predicted_dice < 1)).all()
