# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0


from __future__ import annotations

import itk
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from medsegdiff_monai.networks.fusion import FUSIONS, fuse_members, scale_temperature, staple, staple_of_patterns


def performance_of(votes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """STAPLE of votes ``(N, V)`` by their combinations: probability ``(V,)``, sensitivity and specificity ``(N,)``."""
    patterns, pattern_of, counts = torch.unique(votes, dim=1, return_inverse=True, return_counts=True)
    w, sensitivity, specificity = staple_of_patterns(patterns, counts)
    return w[pattern_of], sensitivity, specificity


forms = pytest.mark.parametrize("form", [lambda f: f, torch.jit.script], ids=["eager", "scripted"])


def itk_staple(votes: np.ndarray) -> np.ndarray:
    """ITK's answer for votes of shape ``(N, V)``."""
    image_type = itk.Image[itk.D, 2]
    fusion = itk.STAPLEImageFilter[image_type, image_type].New(ForegroundValue=1.0)
    for i, vote in enumerate(votes):
        fusion.SetInput(i, itk.image_from_array(np.ascontiguousarray(vote[None], dtype=np.float64)))
    fusion.Update()
    return itk.array_from_image(fusion.GetOutput())[0]


def raters(truth: np.ndarray, sensitivity: list[float], specificity: list[float], seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    chance = np.where(truth, np.array(sensitivity)[:, None], 1 - np.array(specificity)[:, None])
    return (rng.random(chance.shape) < chance).astype(np.float32)


TRUTH = np.random.default_rng(0).random(400) < 0.3
DEGENERATE = {
    "one rater": TRUTH[None],
    "one empty rater": np.stack([TRUTH, TRUTH, 0 * TRUTH]),
    "one full rater": np.stack([TRUTH, TRUTH, 0 * TRUTH + 1]),
    "an empty and a full rater": np.stack([TRUTH, 0 * TRUTH, 0 * TRUTH + 1]),
    "complementary raters": np.stack([TRUTH, ~TRUTH]),
    "complementary raters of one element each": np.array([[1, 0], [0, 1]]),
    "agreeing raters": np.stack([TRUTH] * 5),
    "one dissenting element": np.stack([TRUTH, TRUTH, TRUTH ^ (np.arange(400) == 7)]),
    "one foreground vote of all": np.eye(5, 400),
    "one background vote of all": 1 - np.eye(5, 400),
}


@forms
@pytest.mark.parametrize(
    ("sensitivity", "specificity"),
    [
        ([0.9, 0.8, 0.7], [0.95, 0.9, 0.99]),
        ([0.9, 0.9, 0.2, 0.9], [0.9, 0.9, 0.3, 0.9]),
        ([0.5, 0.5], [0.5, 0.5]),
        ([0.95] * 25, [0.98] * 25),
    ],
)
@pytest.mark.parametrize("seed", [0, 1])
def test_staple_equals_itk_on_random_votes(sensitivity, specificity, seed, form):
    votes = raters(TRUTH, sensitivity, specificity, seed)
    actual = form(staple)(torch.from_numpy(votes))
    assert actual.dtype == torch.float64
    np.testing.assert_allclose(actual.numpy(), itk_staple(votes), atol=1e-4)


@pytest.mark.parametrize("votes", DEGENERATE.values(), ids=DEGENERATE.keys())
def test_staple_equals_itk_on_degenerate_votes(votes):
    votes = votes.astype(np.float32)
    np.testing.assert_allclose(staple(torch.from_numpy(votes)).numpy(), itk_staple(votes), atol=1e-4)


@pytest.mark.parametrize("seed", range(12))
def test_staple_equals_itk_on_votes_that_say_little(seed):
    """Raters who agree no more than by chance, for whom expectation maximisation takes thousands of iterations."""
    rng = np.random.default_rng(seed)
    votes = rng.random((rng.integers(2, 7), rng.integers(30, 100))) < rng.uniform(0.2, 0.8)
    np.testing.assert_allclose(staple(torch.from_numpy(votes)).numpy(), itk_staple(votes), atol=1e-4)


def test_rounding_leaves_staple_a_probability():
    votes = torch.tensor([[1, 1, 1, 0, 0], [0, 1, 1, 1, 0], [0, 0, 0, 0, 0], [1, 0, 1, 0, 0]])
    truth, *rates = performance_of(votes)
    for values in (truth, *rates):
        assert 0.0 <= float(values.min()) <= float(values.max()) <= 1.0


@settings(max_examples=60, deadline=None, derandomize=True)
@given(data=st.data())
def test_staple_is_a_probability_for_any_votes(data):
    shape = data.draw(st.tuples(st.integers(1, 6), st.integers(1, 12)))
    bits = data.draw(st.lists(st.booleans(), min_size=shape[0] * shape[1], max_size=shape[0] * shape[1]))
    votes = np.array(bits).reshape(shape)
    truth = staple(torch.from_numpy(votes)).numpy()
    assert truth.shape == (shape[1],)
    assert (truth >= 0).all()
    assert (truth <= 1).all()
    _, pattern = np.unique(votes, axis=1, return_inverse=True)
    for same_votes in range(pattern.max() + 1):
        assert np.ptp(truth[pattern == same_votes]) < 1e-12


@pytest.mark.parametrize("vote", [0.0, 1.0])
@pytest.mark.parametrize("members", [1, 4])
def test_staple_of_unanimous_votes_is_the_vote(vote, members):
    actual = staple(torch.full((members, 9), vote))
    assert torch.equal(actual, torch.full((9,), vote, dtype=torch.float64))


def test_staple_trusts_the_better_raters():
    votes = raters(TRUTH, [0.98, 0.95, 0.5, 0.5, 0.5], [0.98, 0.95, 0.5, 0.5, 0.5], 0)
    majority_errors = ((votes.mean(0) > 0.5) != TRUTH).sum()
    staple_errors = ((staple(torch.from_numpy(votes)).numpy() > 0.5) != TRUTH).sum()
    assert staple_errors < 0.5 * majority_errors


@forms
def test_mean_and_majority_by_hand(form):
    members = torch.tensor([[0.9, 0.5, 0.1], [0.6, 0.49, 0.0], [0.3, 0.9, 0.2]]).reshape(1, 3, 1, 1, 3)
    fuse = form(fuse_members)
    torch.testing.assert_close(fuse(members, "mean"), torch.tensor([0.6, 0.63, 0.1]).reshape(1, 1, 1, 3))
    torch.testing.assert_close(fuse(members, "majority"), torch.tensor([2 / 3, 2 / 3, 0.0]).reshape(1, 1, 1, 3))


@forms
@pytest.mark.parametrize("size", [(6, 7), (3, 4, 5)], ids=["2d", "3d"])
def test_staple_is_estimated_for_each_case_and_channel(size, form):
    generator = torch.Generator().manual_seed(0)
    prevalence = torch.tensor([0.8, 0.5, 0.2]).reshape(1, 1, 3, *[1] * len(size))
    truth = (torch.rand(2, 1, 3, *size, generator=generator) < prevalence).float()
    members = 0.4 * truth + 0.6 * torch.rand(2, 5, 3, *size, generator=generator)
    members[:, 0] = torch.rand(2, 3, *size, generator=generator)
    fused = form(fuse_members)(members, "staple")
    assert fused.shape == (2, 3, *size)
    assert fused.dtype == members.dtype
    for b in range(2):
        for c in range(3):
            votes = (members[b, :, c] >= 0.5).flatten(1).numpy()
            np.testing.assert_allclose(fused[b, c].flatten().numpy(), itk_staple(votes), atol=1e-4)


@pytest.mark.parametrize("fusion", FUSIONS)
def test_one_certain_member_is_its_own_fusion(fusion):
    member = (torch.rand(2, 1, 1, 5, 5, generator=torch.Generator().manual_seed(0)) > 0.5).float()
    torch.testing.assert_close(fuse_members(member, fusion), member[:, 0])


@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_fusion_keeps_the_dtype_and_the_range(fusion, dtype):
    members = torch.rand(1, 5, 2, 8, 8, generator=torch.Generator().manual_seed(0)).to(dtype)
    fused = fuse_members(members, fusion)
    assert fused.dtype == dtype
    assert 0 <= fused.min() < fused.max() <= 1


def test_refuses_an_unknown_fusion():
    with pytest.raises(ValueError, match="'mean', 'majority' or 'staple', got median"):
        fuse_members(torch.zeros(1, 1, 1, 2, 2), "median")


def test_performance_of_raters_is_itks():
    votes = raters(TRUTH, [0.95, 0.8, 0.6], [0.9, 0.97, 0.8], seed=3)
    image_type = itk.Image[itk.D, 2]
    fusion = itk.STAPLEImageFilter[image_type, image_type].New(ForegroundValue=1.0)
    for i, vote in enumerate(votes):
        fusion.SetInput(i, itk.image_from_array(np.ascontiguousarray(vote[None], dtype=np.float64)))
    fusion.Update()
    truth, sensitivity, specificity = performance_of(torch.from_numpy(votes))
    np.testing.assert_allclose(sensitivity.numpy(), [fusion.GetSensitivity(i) for i in range(3)], atol=1e-4)
    np.testing.assert_allclose(specificity.numpy(), [fusion.GetSpecificity(i) for i in range(3)], atol=1e-4)
    assert torch.equal(truth, staple(torch.from_numpy(votes)))


def test_performance_is_not_known_where_nothing_can_show_it():
    for value, known, unknown in ((0.0, 2, 1), (1.0, 1, 2)):
        answer = performance_of(torch.full((3, 10), value))
        assert answer[known].tolist() == [1, 1, 1]
        assert torch.isnan(answer[unknown]).all()


@forms
def test_temperature_divides_logits(form):
    p = torch.tensor([0.1, 0.5, 0.9, 0.999], dtype=torch.float32)
    odds = p.double() / (1 - p.double())
    for temperature in (0.5, 2.0):
        expected = odds ** (1 / temperature)
        torch.testing.assert_close(
            form(scale_temperature)(p, temperature).double(), expected / (1 + expected), atol=1e-5, rtol=0
        )
    assert form(scale_temperature)(p, 1.0) is p or torch.equal(form(scale_temperature)(p, 1.0), p)
    ends = form(scale_temperature)(torch.tensor([0.0, 1.0]), 2.0)
    assert 0 < float(ends[0]) < 0.002
    assert 0.998 < float(ends[1]) < 1
