# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

import math
from collections.abc import Sequence

import numpy as np

__all__ = ["FIELD_OF_VIEW_MM", "blend", "covered", "reduce", "render_grid", "smooth_noise", "soft_step", "wobble"]

# 2D phantoms are drawn at least this fine and then averaged, so that small ones look like resized ones.
_RENDER_SIZE = 224
FIELD_OF_VIEW_MM = 192.0  # edge of the box that a brain phantom fills, whatever its number of voxels


def smooth_noise(rng: np.random.Generator, shape: Sequence[int], lengths: Sequence[float] | float) -> np.ndarray:
    """Gaussian noise of zero mean and unit variance, which varies over ``lengths`` pixels, for all axes or for each."""
    sigmas = np.broadcast_to(lengths, len(shape)) / 2
    coarse = [math.ceil(n / sigma) + 6 for n, sigma in zip(shape, sigmas)]
    noise = rng.standard_normal(coarse)  # of bumps as wide as this grid is coarse, so that few numbers are drawn
    for n, sigma, knots in zip(shape, sigmas, coarse):  # each turn does the first axis
        at = (np.arange(n) + 0.5) / sigma + 3.0
        bumps = np.exp(-0.5 * (at[:, None] - np.arange(knots)[None, :]) ** 2)
        noise = np.tensordot(noise, bumps, axes=(0, 1))
    return (noise - noise.mean()) / (noise.std() + 1e-6)


def wobble(rng: np.random.Generator, angle: np.ndarray, strength: float) -> np.ndarray:
    """A random factor about 1 for the radius of an outline at each polar angle; 0.1 of ``strength`` is irregular."""
    total = np.zeros_like(angle)
    for order in range(2, 8):
        total += rng.normal(0.0, strength / (order - 1)) * np.cos(order * angle + rng.uniform(0, 2 * math.pi))
    return np.exp(np.clip(total, -0.5, 0.4))


def soft_step(x: np.ndarray, width: float) -> np.ndarray:
    """0 below and 1 above zero, with a smooth rise of about the given width."""
    return 0.5 * (1.0 + np.tanh(x / width))


def render_grid(size: Sequence[int]) -> tuple[np.ndarray, np.ndarray, int]:
    """Rows ``(H * factor, 1)`` and columns ``(1, W * factor)`` of a fine grid, in shorter sides, and the factor."""
    factor = math.ceil(_RENDER_SIZE / min(size))
    rows, columns = [(np.arange(n * factor) + 0.5) / (min(size) * factor) for n in size]
    return rows[:, None], columns[None, :], factor


def blend(colour: np.ndarray, towards: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Mix a colour, ``(H, W, 3)`` or ``(3,)``, into an image of shape ``(H, W, 3)`` by a weight of shape ``(H, W)``."""
    return colour + weight[..., None] * (towards - colour)


def reduce(fine: np.ndarray, factor: int) -> np.ndarray:
    """Mean over blocks of ``factor`` x ``factor`` pixels of an array of shape ``(H, W, ...)``."""
    height, width = fine.shape[0] // factor, fine.shape[1] // factor
    return fine.reshape(height, factor, width, factor, *fine.shape[2:]).mean(axis=(1, 3))


def covered(inside: np.ndarray, factor: int) -> np.ndarray:
    """A boolean mask on the fine grid as uint8 on the image's, ``(H, W)``: 1 where it covers half of a pixel."""
    return (reduce(inside.astype(float), factor) >= 0.5).astype(np.uint8)
