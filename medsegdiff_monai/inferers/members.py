# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from tqdm import tqdm

from medsegdiff_monai.networks.schedulers import linear_step

__all__ = ["MemberSampler", "agreement", "member_noise"]


def member_noise(seed: int | None, members: int, shape: Sequence[int], step: int) -> torch.Tensor:
    """Noise of each member, of shape ``(N, *shape)``: the start (step 0) or that of a sampler's later step.

    It is drawn on the CPU, member by member, so that a seed means the same on every device and for any number of
    members.

    Args:
        seed: seed of the members; None draws anew each time.
        members: number ``N`` of members.
        shape: shape of one member's noise.
        step: number of the sampler's step, 0 for the start.
    """
    noise = []
    for m in range(members):
        generator = torch.Generator()
        if seed is None:
            generator.seed()
        else:
            generator.manual_seed((seed * 1_000_003 + m) * 1_009 + step)
        noise.append(torch.randn(*shape, generator=generator))
    return torch.stack(noise)


def agreement(members: torch.Tensor) -> torch.Tensor:
    """The least Dice between a member's mask and that of the members' mean, over all members, cases and channels.

    Args:
        members: probabilities of shape ``(B, N, C, *spatial)`` in [0, 1].

    Returns:
        Scalar in [0, 1]; two empty masks agree fully.
    """
    masks = (members >= 0.5).flatten(3)
    fused = (members.mean(1, keepdim=True) >= 0.5).flatten(3)
    sizes = masks.sum(-1) + fused.sum(-1)
    dice = 2.0 * (masks & fused).sum(-1) / sizes.clamp(min=1)
    return torch.where(sizes == 0, 1.0, dice).amin()


def _for_each_member(features: torch.Tensor, members: int) -> torch.Tensor:
    """Features ``(B, C, *spatial)`` of images as those of their members, ``(B * members, C, *spatial)``.

    Joined, as ``repeat_interleave`` would put the channels first in memory, and so all that is added to them. (The
    network's ``forward`` has a way of its own, which an ONNX file can hold for any batch.)
    """
    return torch.cat([case for case in features.split(1) for _ in range(members)])


class MemberSampler:
    """Draws the members of an ensemble for images of a size that the network takes.

    Args:
        timesteps: timesteps of the chain.
        coefficients: the four numbers of each step, see :func:`~medsegdiff_monai.networks.schedulers.linear_step`.
        seed: seed of the fresh noise of samplers that need it.
        batch_size: number of members that run as one batch.
        shared_start: whether all members take the first step from one estimate, that of the first member.
        tolerance: no further batch of members is drawn once :func:`agreement` is at least ``1 - tolerance``; None
            draws all.
    """

    def __init__(
        self,
        timesteps: Sequence[int],
        coefficients: Sequence[list[float]],
        seed: int | None,
        batch_size: int,
        shared_start: bool = False,
        tolerance: float | None = None,
    ) -> None:
        self.steps = list(zip(timesteps, coefficients))
        self.seed = seed
        self.batch_size = batch_size
        self.shared_start = shared_start
        self.tolerance = tolerance

    def __call__(
        self, model: Any, image: torch.Tensor, noise: torch.Tensor, progress: bool, first: int = 0
    ) -> torch.Tensor:
        """
        Args:
            model: ``MedSegDiff``, or its scripted form.
            image: image of shape ``(B, context_channels, *spatial)``.
            noise: start of each member, of shape ``(B, N, C, *spatial)``.
            progress: whether to show a bar over the network evaluations.
            first: number of the first of these members in its ensemble.

        Returns:
            Members of shape ``(B, M, C, *spatial)`` in [0, 1]; ``M`` is ``N``, or less where they agree earlier.
        """
        return torch.cat(list(self.batches(model, image, noise, progress, first)), dim=1)

    def batches(
        self, model: Any, image: torch.Tensor, noise: torch.Tensor, progress: bool, first: int = 0
    ) -> Iterator[torch.Tensor]:
        """The members batch by batch, each of shape ``(B, n, C, *spatial)``; see :meth:`__call__`."""
        features = model.encode_image(image)
        estimate = self._first_estimate(model, noise, features) if self.shared_start else None
        chunks = range(0, noise.shape[1], self.batch_size)
        members: list[torch.Tensor] = []
        with tqdm(total=len(chunks) * len(self.steps), disable=not progress, leave=False, unit="step") as bar:
            for begin in chunks:
                start = noise[:, begin : begin + self.batch_size]
                shared = [_for_each_member(f, start.shape[1]) for f in features]
                last = start
                for _, last in self.chain(model, start, first + begin, shared, estimate):  # noqa: B007
                    bar.update()
                batch = model.decode(last).unflatten(0, start.shape[:2])
                yield batch
                if self.tolerance is not None:
                    members.append(batch)
                    if self._agreed(members):
                        break

    def chain(
        self,
        model: Any,
        start: torch.Tensor,
        begin: int,
        features: list[torch.Tensor],
        first: torch.Tensor | None = None,
    ) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """The steps of a batch of members.

        Args:
            model: ``MedSegDiff``, or its scripted form.
            start: noise of shape ``(B, n, C, *spatial)``.
            begin: number of the first of these members in its ensemble.
            features: what ``encode_image`` gave, for each member: ``(B * n, ...)``.
            first: the estimate of ``x_0`` that all members take their first step from, of shape ``(B, C, *spatial)``;
                None where each has its own.

        Yields:
            The estimate of ``x_0`` at each step and the mask behind it, ``(B * n, C, *spatial)``.
        """
        x = start.flatten(0, 1)
        previous = x
        for i, (timestep, coefficients) in enumerate(self.steps):
            fresh = self._fresh(start, begin, i + 1) if coefficients[3] != 0.0 else None
            if i == 0 and first is not None:
                previous = first.repeat_interleave(start.shape[1], 0)
                x = linear_step(coefficients, x, previous, x, fresh)
            else:
                x, previous = model.step(x, previous, timestep, coefficients, features, fresh)
            yield previous, x

    def trajectory(self, model: Any, image: torch.Tensor, noise: torch.Tensor, member: int) -> torch.Tensor:
        """What one member's mask is estimated to be at each step, of shape ``(B, K, C, *spatial)`` in [0, 1].

        Args:
            model: ``MedSegDiff``, or its scripted form.
            image: image of shape ``(B, context_channels, *spatial)``.
            noise: start of each member, of shape ``(B, N, C, *spatial)``.
            member: number of the member.
        """
        features = model.encode_image(image)
        estimate = self._first_estimate(model, noise, features) if self.shared_start else None
        chain = self.chain(model, noise[:, member : member + 1], member, features, estimate)
        return torch.stack([model.decode(original) for original, _ in chain], dim=1)

    def _first_estimate(self, model: Any, noise: torch.Tensor, features: list[torch.Tensor]) -> torch.Tensor:
        """The estimate of ``x_0`` from the first member's noise, of shape ``(B, C, *spatial)``."""
        return model.estimate(noise[:, 0], self.steps[0][0], features)

    def _fresh(self, start: torch.Tensor, begin: int, step: int) -> torch.Tensor:
        count = start.shape[1]
        noise = member_noise(self.seed, begin + count, start.shape[2:], step)[begin:].to(start)
        return noise.expand(start.shape[0], *noise.shape).flatten(0, 1)

    def _agreed(self, members: list[torch.Tensor]) -> bool:
        if self.tolerance is None or sum(m.shape[1] for m in members) < 2:
            return False
        return float(agreement(torch.cat(members, dim=1))) >= 1.0 - self.tolerance
