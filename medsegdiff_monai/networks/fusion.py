# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

import math

import torch

from medsegdiff_monai.utils import InputError

__all__ = [
    "FUSIONS",
    "check_temperature",
    "fuse_members",
    "scale_temperature",
    "staple",
    "staple_of_patterns",
]

FUSIONS = ("mean", "majority", "staple")


def check_temperature(temperature: float) -> None:
    """Refuse a temperature that is no positive number.

    Raises:
        InputError: when it is not.
    """
    if not 0.0 < temperature < math.inf:
        raise InputError(f"temperature must be a positive number, got {temperature}.")


def scale_temperature(probability: torch.Tensor, temperature: float) -> torch.Tensor:
    """Probabilities with their logits divided by a temperature (Guo et al., ICML 2017, arXiv 1706.04599, Sec. 4.2).

    Above 1 they move towards one half, below 1 away from it; which of them exceed one half stays as it is.

    Args:
        probability: of any shape, in [0, 1]. Further than 1e-6 from neither end, it is taken as that far from it.
        temperature: positive; 1 returns the probabilities themselves.
    """
    if temperature == 1.0:
        return probability
    # float64 would not be finer than its input; float16 could not hold the limits.
    p = probability.float().clamp(1e-6, 1.0 - 1e-6)
    return torch.sigmoid(torch.logit(p) / temperature).to(probability.dtype)


def staple_of_patterns(
    patterns: torch.Tensor, counts: torch.Tensor, tolerance: float = 1e-7, max_iterations: int = 100000
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """:func:`staple` from the combinations of votes and how often each occurs, with the raters' performance.

    Args:
        patterns: binary votes of shape ``(N, P)``: N raters, P different combinations.
        counts: number of elements with each combination, of shape ``(P,)``.
        tolerance: see :func:`staple`.
        max_iterations: see :func:`staple`.

    Returns:
        Probability of each combination ``(P,)``, the raters' sensitivity ``(N,)`` and specificity ``(N,)``, in double
        precision. Where nobody has ever voted, there is no sensitivity (NaN); where all always have, no specificity.
    """
    d = patterns.to(torch.float64)
    n = counts.to(torch.float64)
    w = d.mean(0)
    prior = float((w * n).sum() / n.sum())
    one, none = torch.ones_like(d[:, 0]), torch.full_like(d[:, 0], float("nan"))
    if prior == 0.0:
        return w, none, one
    if prior == 1.0:
        return w, one, none
    voted, voted_not = d > 0.5, 1.0 - d
    rates = torch.zeros(2, d.shape[0], dtype=torch.float64, device=d.device)
    change = 1.0
    iteration = 0
    while change > tolerance and iteration < max_iterations:
        # M step, Eqs. 18 and 19 of the paper: the raters' sensitivity and specificity from the weights.
        inside = w * n
        outside = n - inside
        updated = torch.stack([d @ inside / inside.sum(), voted_not @ outside / outside.sum()])
        updated.clamp_(max=1.0)  # sums of another order are not the same to the last digit
        change = float((updated - rates).abs_().max())
        rates = updated
        # E step, Eq. 14: the weights from the raters' performance.
        right = rates.unsqueeze(2)
        wrong = 1.0 - right
        positive = torch.where(voted, right[0], wrong[0]).prod(0).mul_(prior)
        negative = torch.where(voted, wrong[1], right[1]).prod(0).mul_(1.0 - prior)
        w = positive / negative.add_(positive)
        iteration += 1
    return w, rates[0], rates[1]


def staple(votes: torch.Tensor, tolerance: float = 1e-7, max_iterations: int = 100000) -> torch.Tensor:
    """Probability of the true segmentation given binary votes, by expectation maximisation.

    Simultaneous Truth and Performance Level Estimation (Warfield, Zou and Wells, IEEE TMI 23(7), 2004), with the
    global prior, the start (the mean vote) and the end of ITK's ``STAPLEImageFilter``. Elements with the same votes
    have the same probability, so the work is done once for each combination of votes that occurs.

    Args:
        votes: binary votes of shape ``(N, V)``: N raters, V elements.
        tolerance: the end is reached when no rater's sensitivity or specificity moves by more; ITK's value.
        max_iterations: upper bound of the number of iterations. Raters who hardly agree need thousands.

    Returns:
        Probability of shape ``(V,)`` in double precision. Where every vote is the same there is nothing to estimate,
        and the result is that vote (ITK returns NaN).
    """
    patterns, pattern_of, counts = torch.unique(votes, dim=1, return_inverse=True, return_counts=True)
    return staple_of_patterns(patterns, counts, tolerance, max_iterations)[0][pattern_of]


def fuse_members(members: torch.Tensor, fusion: str) -> torch.Tensor:
    """Fuse the members of an ensemble into one probability.

    Args:
        members: probabilities of shape ``(B, N, C, *spatial)`` in [0, 1]; N members.
        fusion: ``"mean"`` of the probabilities; ``"majority"``, the share of members that vote for the class (more
            than 0.5 is the majority); ``"staple"``, the posterior of :func:`staple` for each case and channel. A
            member votes for a class where its probability is at least 0.5.

    Returns:
        Probability of shape ``(B, C, *spatial)`` and of the dtype of ``members``.

    Raises:
        ValueError: when there is no such fusion.
    """
    if fusion == "mean":
        return members.mean(1)
    votes = (members >= 0.5).to(members.dtype)
    if fusion == "majority":
        return votes.mean(1)
    if fusion == "staple":
        fused = torch.empty_like(members[:, 0])
        for b in range(members.shape[0]):
            for c in range(members.shape[2]):
                truth = staple(votes[b, :, c].flatten(1))
                fused[b, c] = truth.to(members.dtype).reshape(members.shape[3:])
        return fused
    raise ValueError(f"fusion must be 'mean', 'majority' or 'staple', got {fusion}.")
