# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from medsegdiff_monai.data.phantoms.drawing import smooth_noise

__all__ = ["BRAIN_CONTRASTS", "draw_brain"]

BRAIN_CONTRASTS = ("FLAIR", "T1w", "T1gd", "T2w")
BRAIN_TISSUES = {  # mean of each contrast, relative to a scanner's full scale
    "fluid": (0.16, 0.18, 0.2, 0.95),
    "grey": (0.56, 0.46, 0.5, 0.56),
    "white": (0.45, 0.66, 0.7, 0.4),
    "necrosis": (0.42, 0.26, 0.28, 0.82),
    "oedema": (0.88, 0.42, 0.45, 0.8),
    "enhancing": (0.72, 0.48, 1.0, 0.66),
}


def _tumour(rng: np.random.Generator, axes: Sequence[np.ndarray], brain: np.ndarray) -> np.ndarray:
    """Nested tumour: necrotic core (1) in an enhancing rim (4) in oedema (2), uint8 of shape ``(X, Y, Z)``."""
    shape = brain.shape
    side = rng.choice((-1.0, 1.0))
    centre = (side * rng.uniform(0.25, 0.5), rng.uniform(-0.4, 0.4), rng.uniform(-0.25, 0.3))
    stretch = rng.uniform(0.85, 1.2, 3)
    away = np.sqrt(sum(((a - c) / s) ** 2 for a, c, s in zip(axes, centre, stretch)))
    fingers = smooth_noise(rng, shape, [0.15 * n for n in shape])
    whole = brain & (away / rng.uniform(0.32, 0.5) + 0.2 * fingers < 1.0)
    lumps = away + 0.035 * smooth_noise(rng, shape, [0.075 * n for n in shape]) + 0.02 * fingers
    core = whole & (lumps <= np.quantile(lumps[whole], rng.uniform(0.25, 0.55)))
    necrosis = core & (lumps <= np.quantile(lumps[core], rng.uniform(0.25, 0.55)))
    label = np.where(necrosis, 1, np.where(core, 4, np.where(whole, 2, 0)))
    return label.astype(np.uint8)


def _anatomy(rng: np.random.Generator, axes: Sequence[np.ndarray], size: Sequence[int]) -> dict[str, np.ndarray]:
    """Tissues of a healthy brain: masks of shape ``(X, Y, Z)`` that exclude one another."""
    right, front, up = axes
    folds = smooth_noise(rng, size, [0.09 * n for n in size])
    outline = 0.03 * smooth_noise(rng, size, [0.3 * n for n in size])
    depth = 1.0 - np.sqrt((right / 0.78) ** 2 + (front / 0.92) ** 2 + ((up + 0.05) / 0.8) ** 2) + outline
    nuclei = ((np.abs(right) - 0.25) / 0.13) ** 2 + (front / 0.25) ** 2 + (up / 0.2) ** 2 < 1
    bow, tall = np.abs(right) - 0.1 - 0.25 * front**2, up - 0.12 + 0.2 * front**2
    fluid = (bow / rng.uniform(0.05, 0.1)) ** 2 + ((front + 0.05) / 0.45) ** 2 + (tall / 0.16) ** 2 < 1  # ventricles
    fluid |= (depth < 0.16) & (np.abs(folds) < 0.18)  # sulci
    fluid |= (np.abs(right + 0.3 * outline) < 0.02) & (depth < 0.3) & (up > -0.3)  # fissure
    grey = (nuclei | (depth < 0.12 + 0.09 * folds)) & ~fluid
    brain = depth > 0
    return {"fluid": fluid & brain, "grey": grey & brain, "white": brain & ~fluid & ~grey}


def _scan(rng: np.random.Generator, tissue: np.ndarray, brain: np.ndarray) -> np.ndarray:
    """One contrast: partial volume, uneven field, texture, Rician noise and an arbitrary scale, 0 outside the brain."""
    signal = ndimage.gaussian_filter(tissue, [0.006 * n for n in tissue.shape])
    signal *= 1.0 + 0.06 * smooth_noise(rng, tissue.shape, [0.45 * n for n in tissue.shape])
    signal *= 1.0 + 0.04 * smooth_noise(rng, tissue.shape, [0.03 * n for n in tissue.shape])
    noisy = np.hypot(signal + rng.normal(0.0, 0.03, tissue.shape), rng.normal(0.0, 0.03, tissue.shape))
    return noisy * brain * rng.uniform(600.0, 1400.0)


def draw_brain(rng: np.random.Generator, size: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Skull-stripped MRI, int16 of shape ``(X, Y, Z, 4)``, and BraTS label, uint8 of shape ``(X, Y, Z)``, both RAS."""
    axes = np.meshgrid(*[(np.arange(n) + 0.5) / n * 2.0 - 1.0 for n in size], indexing="ij", sparse=True)
    tissues = _anatomy(rng, axes, size)
    brain = tissues["fluid"] | tissues["grey"] | tissues["white"]
    label = _tumour(rng, axes, brain)
    tissues |= {name: label == value for name, value in (("necrosis", 1), ("oedema", 2), ("enhancing", 4))}
    contrasts = np.zeros((*size, len(BRAIN_CONTRASTS)))
    for name, where in tissues.items():  # the tumour last, over what it replaces
        contrasts[where] = np.array(BRAIN_TISSUES[name]) * rng.normal(1.0, 0.06, len(BRAIN_CONTRASTS))
    for _ in range(rng.integers(0, 5)):  # small bright spots of white matter in FLAIR and T2, not part of the tumour
        spot = sum(((a - c) / 0.05) ** 2 for a, c in zip(axes, rng.uniform(-0.5, 0.5, 3))) < 1
        contrasts[spot & tissues["white"] & (label == 0)] *= np.array([1.7, 0.9, 0.9, 1.5])
    image = np.stack([_scan(rng, contrasts[..., c], brain) for c in range(len(BRAIN_CONTRASTS))], axis=-1)
    return np.round(image).astype(np.int16), label
