# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn

__all__ = ["EnsembleStatistics", "binary_entropy", "predictive_entropy"]

_VOTES_A_BYTE = 8
_PARTS = 8
_LEAST_PART = 2**13  # smaller ones cost more in calls than they spare
_LARGEST_PART = 2**18  # what is calculated of larger ones leaves the processor's cache
BAND = 2
# Where a temperature above 1 has passed, no background is surer than about 1e-3. An image has so much background that
# the sum over it would say how large the image is, and drown what the object's edge says.
_LEAST_PROBABILITY = 0.01


def binary_entropy(probability: torch.Tensor) -> torch.Tensor:
    """Entropy in bits of a yes or no with the probability, of any shape: 0 is certain, 1 is not."""
    # Three times as fast as torch.special.entr on a CPU. Below the least normal number p log p is as good as 0.
    least = torch.finfo(probability.dtype).tiny
    rest = 1.0 - probability
    bits = probability.clamp(min=least).log2_().mul_(probability)
    return bits.addcmul_(rest.clamp(min=least).log2_(), rest).abs_()  # of a sum below 0, and no -0 for certainty


def predictive_entropy(members: torch.Tensor) -> torch.Tensor:
    """Entropy in bits of the members' mean, of shape ``(B, C, *spatial)``, from members ``(B, N, C, *spatial)``."""
    return binary_entropy(members.mean(1))


class EnsembleStatistics:
    """What the members of an ensemble say together, gathered while they pass: none of them is kept.

    There are three maps of the size of one member (mean, deviation and expected_entropy: further members change them),
    the mean's entropy once it was asked for, and a bit for each vote, which STAPLE and the overlap between members
    need. What is calculated on the way is done part by part, so that it needs no further map. Maps are given out as
    they are and not as copies: who changes one changes what is calculated of it.

    Attributes:
        count: number of members so far.
    """

    def __init__(self) -> None:
        self.count = 0
        self._mean = torch.empty(0)
        self._deviation = torch.empty(0)
        self._expected_entropy = torch.empty(0)
        self._entropy: torch.Tensor | None = None  # of the mean, once it was asked for
        self._votes: list[torch.Tensor] = []
        self._patterns: dict[tuple[int, int], tuple[torch.Tensor, torch.Tensor]] = {}

    @classmethod
    def of(cls, members: torch.Tensor) -> EnsembleStatistics:
        """The statistics of members ``(B, N, C, *spatial)``."""
        statistics = cls()
        statistics.update(members)
        return statistics

    def update(self, members: torch.Tensor) -> None:
        """Take in further members.

        Args:
            members: probabilities of shape ``(B, n, C, *spatial)`` in [0, 1].
        """
        if self.count == 0:
            shape, device = members[:, 0].shape, members.device
            self._mean, self._deviation, self._expected_entropy = (torch.zeros(shape, device=device) for _ in range(3))
        first = self.count
        self.count += members.shape[1]
        while len(self._votes) * _VOTES_A_BYTE < self.count:
            self._votes.append(torch.zeros_like(self._mean, dtype=torch.uint8))
        self._patterns.clear()
        self._entropy = None
        step = math.ceil(_part(self._mean.numel()) * members.shape[3] / self._mean.numel())
        for start in range(0, members.shape[3], step):
            self._merge(members[:, :, :, start : start + step], slice(start, start + step), first)

    def _merge(self, members: torch.Tensor, slab: slice, before: int) -> None:
        """Take a slab ``(B, n, C, x, ...)`` of members into the maps, where there is already that of others."""
        mean, deviation, expected_entropy = (
            m[:, :, slab] for m in (self._mean, self._deviation, self._expected_entropy)
        )
        squares = deviation.square_().mul_(before)
        for i, member in enumerate(members.unbind(1), before):
            self._votes[i // _VOTES_A_BYTE][:, :, slab] |= (member >= 0.5).to(torch.uint8) << i % _VOTES_A_BYTE
            p = member.float()
            expected_entropy.add_(binary_entropy(p).sub_(expected_entropy), alpha=1.0 / (i + 1))
            # Squared differences from the mean, one member at a time (Welford 1962): sums of squares of numbers near 1
            # would lose the small differences between members.
            shift = p - mean
            mean.add_(shift, alpha=1.0 / (i + 1))
            squares.addcmul_(shift, p - mean)
        squares.div_(self.count).sqrt_()

    @property
    def mean(self) -> torch.Tensor:
        """Mean probability of shape ``(B, C, *spatial)``."""
        return self._mean

    @property
    def entropy(self) -> torch.Tensor:
        """Entropy in bits of the mean probability, of shape ``(B, C, *spatial)``."""
        if self._entropy is None:
            self._entropy = torch.empty_like(self._mean)
            size = _part(self._mean.numel())
            for out, part in zip(*(m.view(-1).split(size) for m in (self._entropy, self._mean)), strict=True):
                out.copy_(binary_entropy(part))
        return self._entropy

    @property
    def deviation(self) -> torch.Tensor | None:
        """Standard deviation over the members (that of the members themselves: divided by N); None with one."""
        return self._deviation if self.count > 1 else None

    @property
    def expected_entropy(self) -> torch.Tensor:
        """Mean entropy in bits of the members: how undecided each is by itself."""
        return self._expected_entropy

    @property
    def mutual_information(self) -> torch.Tensor | None:
        """Mutual information in bits: what the entropy of the mean has beyond the members' own; None with one.

        It is large where each member is decided and they decide differently (Depeweg et al., ICML 2018, arXiv
        1710.07283, Eq. 1 and what follows; Smith and Gal, UAI 2018, arXiv 1803.08533).
        """
        if self.count < 2:
            return None
        return (self.entropy - self._expected_entropy).clamp_(min=0.0)  # rounding may leave a little below 0

    def votes(self, case: int, channel: int) -> torch.Tensor:
        """Votes at 0.5 of shape ``(N, V)``, uint8, of all V elements of a case and channel."""
        maps = [v[case, channel].flatten() for v in self._votes]
        return _unpacked(torch.stack(maps), self.count)

    def patterns(self, case: int, channel: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The combinations of votes that occur, ``(N, P)``, and how often each does, ``(P,)``.

        The first one is that of no vote at all, whose count may be 0.
        """
        if (case, channel) not in self._patterns:
            combinations, counts = _combinations([v[case, channel].flatten() for v in self._votes])
            self._patterns[case, channel] = (_unpacked(combinations, self.count), counts)
        return self._patterns[case, channel]

    def pairwise_dice(self) -> torch.Tensor | None:
        """Mean Dice over all pairs of the members' masks at 0.5, of shape ``(B, C)``; None with one member.

        Two empty masks agree. (Roy et al., MICCAI 2018, arXiv 1804.07046, use it to tell a segmentation's quality.)
        """
        if self.count < 2:
            return None
        first, second = torch.triu_indices(self.count, self.count, offset=1).unbind()
        values = torch.empty(self._mean.shape[:2], dtype=torch.float64)
        for b in range(values.shape[0]):
            for c in range(values.shape[1]):
                patterns, counts = (t.double().cpu() for t in self.patterns(b, c))
                overlap = (patterns * counts) @ patterns.T
                sizes = overlap.diagonal()
                total = (sizes[:, None] + sizes)[first, second]
                dice = torch.where(total > 0, 2.0 * overlap[first, second] / total.clamp(min=1.0), 1.0)
                values[b, c] = dice.mean()
        return values

    def predicted_dice(self, probability: torch.Tensor) -> torch.Tensor:
        """Dice that the fused mask has with a mask drawn by the members' mean probability, of shape ``(B, C)``.

        With expectations in numerator and denominator: ``2 sum_{v in M} p_v / (|M| + sum_v p_v)``; 1 where both are
        empty. Probabilities below 1 % are taken as 0.

        Args:
            probability: fused probability ``(B, C, *spatial)``, whose mask M at 0.5 is meant.
        """
        values = torch.ones(probability.shape[:2], dtype=torch.float64)
        for b in range(values.shape[0]):
            for c in range(values.shape[1]):
                inside = total = torch.zeros([], dtype=torch.float64, device=probability.device)
                size = _part(self._mean[b, c].numel())
                parts = (m[b, c].flatten().split(size) for m in (probability, self._mean))
                for fused, p in zip(*parts, strict=True):
                    mask = fused >= 0.5
                    inside = inside + (p * mask).sum(dtype=torch.float64)
                    total = total + mask.sum() + (p * (p >= _LEAST_PROBABILITY)).sum(dtype=torch.float64)
                if float(total) > 0.0:
                    values[b, c] = 2.0 * inside / total
        return values

    def boundary_entropy(self, probability: torch.Tensor) -> torch.Tensor:
        """Mean entropy in bits of the members' mean within 2 elements of the fused mask's edge, of shape ``(B, C)``.

        Where the mask is empty or fills the image there is no edge: NaN.

        Args:
            probability: fused probability ``(B, C, *spatial)``, whose mask at 0.5 is meant.
        """
        values = torch.full(probability.shape[:2], math.nan, dtype=torch.float64)
        for b in range(values.shape[0]):
            for c in range(values.shape[1]):
                mask = probability[b, c] >= 0.5
                box = _box(mask, BAND)
                if box is None:
                    continue
                band = _edge_band(mask[box], BAND)
                if bool(band.any()):
                    values[b, c] = binary_entropy(self._mean[b, c][box][band]).mean(dtype=torch.float64)
        return values


def _part(elements: int) -> int:
    """Number of elements that are worked on at a time, so that what it takes besides is small beside a map."""
    parts = min(max(elements // _LEAST_PART, 1), _PARTS)
    return min(math.ceil(elements / parts), _LARGEST_PART)


def _combinations(votes: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """The combinations that occur in ``n`` bytes ``(V,)``, of shape ``(n, P)``, and how often each does, ``(P,)``.

    The first one is that of zeros, whose count may be 0.
    """
    if len(votes) == 1:
        counts = torch.bincount(votes[0], minlength=1)
        occur = counts > 0
        occur[0] = True
        return occur.nonzero().T.to(torch.uint8), counts[occur]
    packed = torch.stack(tuple(votes))
    voted = packed[:, (packed != 0).any(0)]  # sorting is for the object, not for the image
    combinations, counts = _columns(voted)
    nobody = counts.new_tensor([packed.shape[1] - voted.shape[1]])
    return torch.cat([torch.zeros_like(packed[:, :1]), combinations], dim=1), torch.cat([nobody, counts])


def _columns(packed: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The columns that occur in bytes ``(n, V)``, of shape ``(n, P)``, and how often each does, ``(P,)``.

    ``torch.unique`` of columns compares them byte by byte, which is far slower than numbers.
    """
    code = torch.zeros(packed.shape[1], dtype=torch.long, device=packed.device)
    for i, row in enumerate(packed):
        if i % 4 == 3:  # four bytes more than a number below V stay within 64 bits
            code = torch.unique(code, return_inverse=True)[1]
        code = code * 256 + row
    values, place, counts = torch.unique(code, return_inverse=True, return_counts=True)
    some = torch.empty_like(values).scatter_(0, place, torch.arange(len(code), device=code.device))
    return packed[:, some], counts


def _unpacked(packed: torch.Tensor, count: int) -> torch.Tensor:
    """Votes ``(count, V)`` from bytes ``(ceil(count / 8), V)`` of eight votes each."""
    places = torch.arange(_VOTES_A_BYTE, device=packed.device, dtype=torch.uint8)[None, :, None]
    return ((packed[:, None] >> places) & 1).flatten(0, 1)[:count]


def _box(mask: torch.Tensor, margin: int) -> tuple[slice, ...] | None:
    """The part of an image that holds a mask, with a margin where there is room; None where the mask is empty."""
    box = []
    for axis, size in enumerate(mask.shape):
        others = [i for i in range(mask.dim()) if i != axis]
        filled = torch.nonzero(mask.amax(dim=others) if others else mask).flatten()
        if len(filled) == 0:
            return None
        box.append(slice(max(0, int(filled[0]) - margin), min(size, int(filled[-1]) + 1 + margin)))
    return tuple(box)


def _edge_band(mask: torch.Tensor, radius: int) -> torch.Tensor:
    """Elements that have one of the other kind within ``radius`` along the axes and diagonals."""
    inside = mask.float()[None, None]
    outside = 1.0 - inside
    for axis in range(mask.dim()):  # a cube is dilated axis by axis
        kernel = [1] * mask.dim()
        kernel[axis] = 2 * radius + 1
        padding = [k // 2 for k in kernel]
        pool = nn.functional.max_pool2d if mask.dim() == 2 else nn.functional.max_pool3d
        inside, outside = (pool(m, kernel, 1, padding) for m in (inside, outside))
    return (inside * outside)[0, 0] > 0
