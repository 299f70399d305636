# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw
from scipy import ndimage

from medsegdiff_monai.data.phantoms.drawing import blend, covered, reduce, render_grid, smooth_noise, soft_step, wobble

__all__ = ["draw_fundus"]


def _vessel_tree(rng: np.random.Generator, shape: Sequence[int], disc: np.ndarray, nasal: float) -> np.ndarray:
    """Density in [0, 1] of the vessels of the optic disc, ``(H, W)``; ``nasal`` is 1 with the nose on the right."""
    picture = Image.new("L", (shape[1], shape[0]))
    canvas, unit = ImageDraw.Draw(picture), float(min(shape))

    def draw_vessel(point: np.ndarray, heading: float, turn: float, width: float) -> None:
        """Draw a vessel, which tapers, and its branches; lengths are in shorter sides, angles in radians."""
        bend = 0.0
        while width > 0.002:
            bend = 0.8 * bend + rng.normal(0.0, 0.05)
            heading += turn + bend
            following = point + 0.02 * np.array([math.cos(heading), math.sin(heading)])
            canvas.line([*(point * unit), *(following * unit)], fill=255, width=max(1, round(width * unit)))
            point, width = following, width * 0.975
            if rng.random() < 0.07:
                side = rng.choice((-1.0, 1.0))
                draw_vessel(point, heading + side * rng.uniform(0.5, 1.0), -side * 0.02, width * 0.65)
                width *= 0.9

    for vertical in (-1.0, 1.0):
        for _ in range(2):  # an artery and a vein each to the temporal arcades
            heading = math.atan2(vertical, -nasal * rng.uniform(-0.3, 0.7))
            turn = -vertical * nasal * rng.uniform(0.005, 0.035)
            start = disc + rng.normal(0.0, 0.012, 2) + np.array([0.02 * nasal, 0.0])
            draw_vessel(start, heading, turn, rng.uniform(0.012, 0.022))
        heading = math.atan2(vertical * rng.uniform(0.2, 1.0), nasal)
        draw_vessel(disc, heading, 0.0, rng.uniform(0.007, 0.012))
    return ndimage.gaussian_filter(np.asarray(picture) / 255.0, 0.0025 * unit)


def _disc_and_cup(rng: np.random.Generator, dy: np.ndarray, dx: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Approximate distances to the borders of disc and cup, positive within, ``(H, W)``; all in radii of the disc."""
    dx = dx / rng.uniform(0.82, 1.0)  # discs are taller than wide
    disc = wobble(rng, np.arctan2(dy, dx), 0.02) - np.hypot(dy, dx)
    ratio = rng.uniform(0.4, 0.75)
    offset = rng.uniform(-0.35, 0.35, 2) * (1.0 - ratio)
    dy, dx = (dy - offset[0]) / ratio, (dx - offset[1]) / (ratio * rng.uniform(0.9, 1.1))
    cup = ratio * (wobble(rng, np.arctan2(dy, dx), 0.04) - np.hypot(dy, dx))
    return disc, np.minimum(cup, disc - 0.08)


def _paint_retina(
    rng: np.random.Generator, y: np.ndarray, x: np.ndarray, disc: np.ndarray, side: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Retina ``(H, W, 3)`` in [0, 1], by the distance ``(1, W)`` from the disc to the temple, and its mean colour."""
    unit = disc.shape[0] / (y.max() - y.min())
    retina = np.array([rng.uniform(0.55, 0.8), rng.uniform(0.24, 0.36), rng.uniform(0.08, 0.18)])
    choroid = 0.035 * smooth_noise(rng, disc.shape, 0.08 * unit) + 0.05 * smooth_noise(rng, disc.shape, 0.4 * unit)
    fovea = np.hypot(side - rng.uniform(0.4, 0.5), y - y[np.argmax(disc.max(axis=1))] - 0.04)
    colour = retina * ((1.0 + choroid) * (1.0 - 0.35 * np.exp(-((fovea / 0.09) ** 2))))[..., None]
    if rng.random() < 0.5:  # peripapillary atrophy
        crescent = soft_step(disc + rng.uniform(0.2, 0.45) * np.clip(side / 0.1, 0.0, 1.0), 0.05)
        colour = blend(colour, np.array([0.85, 0.6, 0.35]), 0.45 * crescent * (disc < 0))
    for _ in range(rng.integers(0, 6)):
        at, spread = rng.uniform(0.0, 1.0, 2) * (y.max(), x.max()), rng.uniform(0.008, 0.035)
        spot = np.exp(-((np.hypot(y - at[0], x - at[1]) / spread) ** 4))
        colour = blend(colour, np.array([0.9, 0.75, 0.4]), rng.uniform(0.3, 0.8) * spot * (disc < 0))
    return colour, retina


def _photograph(rng: np.random.Generator, y: np.ndarray, x: np.ndarray, colour: np.ndarray) -> np.ndarray:
    """Uneven light, the round field of view, blur and noise of a camera on a picture of shape ``(H, W, 3)``."""
    row, column = y - y.mean(), x - x.mean()
    light = 1.0 - rng.uniform(0.5, 1.2) * ((row + rng.normal(0.0, 0.15)) ** 2 + (column + rng.normal(0.0, 0.15)) ** 2)
    field = soft_step(rng.uniform(0.47, 0.75) - np.hypot(row, column), 0.006)
    seen = np.clip(colour * (rng.uniform(0.75, 1.15) * light * field)[..., None], 0.0, 1.0)
    blur = rng.uniform(0.002, 0.006) * min(colour.shape[:2])
    return np.clip(ndimage.gaussian_filter(seen, (blur, blur, 0.0)) + rng.normal(0.0, 0.02, seen.shape), 0.0, 1.0)


def draw_fundus(rng: np.random.Generator, size: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Fundus photograph, uint8 RGB of shape ``(H, W, 3)``, and disc rim (1) and cup (2), uint8 of shape ``(H, W)``."""
    y, x, factor = render_grid(size)
    shift, bearing = 0.24 * math.sqrt(rng.random()), rng.uniform(0.0, 2 * math.pi)
    centre = np.array([x.mean() + shift * math.cos(bearing), y.mean() + shift * math.sin(bearing)])
    nasal, radius = float(rng.choice((-1.0, 1.0))), rng.uniform(0.1, 0.17)
    disc, cup = _disc_and_cup(rng, (y - centre[1]) / radius, (x - centre[0]) / radius)
    colour, retina = _paint_retina(rng, y, x, disc, -nasal * (x - centre[0]))
    tint, soft = rng.uniform(0.9, 1.1, 3), rng.uniform(0.05, 0.12)
    rim = retina + rng.uniform(0.45, 0.9) * (np.array([0.92, 0.5, 0.28]) * tint - retina)
    bowl = rim + rng.uniform(0.4, 0.95) * (np.array([1.0, 0.86, 0.6]) * tint - rim)
    colour = blend(blend(colour, rim, soft_step(disc, soft)), bowl, soft_step(cup, 1.2 * soft))
    vessels = _vessel_tree(rng, disc.shape, centre, nasal)
    colour = blend(colour, colour * (1.0 - rng.uniform(0.7, 1.0) * np.array([0.38, 0.62, 0.5])), vessels)
    image = np.round(255.0 * reduce(_photograph(rng, y, x, colour), factor))
    whole, inner = (covered(part > 0, factor) for part in (disc, cup))
    return image.astype(np.uint8), whole + (whole & inner)
