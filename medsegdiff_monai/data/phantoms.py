# Copyright (c) MedSegDiff-MONAI contributors
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#     http://www.apache.org/licenses/LICENSE-2.0
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.


from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from PIL import Image, ImageDraw
from scipy import ndimage
from tqdm import tqdm

from medsegdiff_monai.utils import InputError, check_writable

__all__ = ["PHANTOM_KINDS", "make_phantom", "write_phantoms"]

RENDER_SIZE = (
    224  # 2D phantoms are drawn at least this fine and then averaged, so that small ones look like resized ones
)
FIELD_OF_VIEW_MM = 192.0  # edge of the box that a brain phantom fills, whatever its number of voxels


def _smooth_noise(rng: np.random.Generator, shape: Sequence[int], lengths: Sequence[float] | float) -> np.ndarray:
    """Gaussian noise of zero mean and unit variance.

    Args:
        rng: source of randomness.
        shape: shape of the noise.
        lengths: distance in pixels over which it varies, one for all axes or one for each.

    Returns:
        Array of the given shape.
    """
    each = [float(lengths)] * len(shape) if isinstance(lengths, (int, float)) else [float(v) for v in lengths]
    sigmas = [length / 2 for length in each]
    coarse = [math.ceil(n / sigma) + 6 for n, sigma in zip(shape, sigmas)]
    noise = rng.standard_normal(coarse)
    for n, sigma, knots in zip(shape, sigmas, coarse):  # Gaussian bumps on a coarse grid; each turn does the first axis
        at = (np.arange(n) + 0.5) / sigma + 3.0
        bumps = np.exp(-0.5 * (at[:, None] - np.arange(knots)[None, :]) ** 2)
        noise = np.tensordot(noise, bumps, axes=(0, 1))
    return (noise - noise.mean()) / (noise.std() + 1e-6)


def _wobble(rng: np.random.Generator, angle: np.ndarray, strength: float) -> np.ndarray:
    """A random factor about 1 for the radius of a closed outline, from Fourier terms of low order.

    Args:
        rng: source of randomness.
        angle: polar angle in radians, of any shape.
        strength: 0 for a circle; 0.1 is plainly irregular.

    Returns:
        The factor, of the shape of ``angle``.
    """
    total = np.zeros_like(angle)
    for order in range(2, 8):
        total += rng.normal(0.0, strength / (order - 1)) * np.cos(order * angle + rng.uniform(0, 2 * math.pi))
    return np.exp(np.clip(total, -0.5, 0.4))


def _soft_step(x: np.ndarray, width: float) -> np.ndarray:
    """0 below and 1 above zero, with a smooth rise of about the given width."""
    return 0.5 * (1.0 + np.tanh(x / width))


def _render_grid(size: Sequence[int]) -> tuple[np.ndarray, np.ndarray, int]:
    """Pixel centres of a fine grid over an image.

    Args:
        size: ``(height, width)`` of the image.

    Returns:
        Row and column coordinates of shape ``(height * factor, 1)`` and ``(1, width * factor)`` in units of the
        shorter side, and the factor.
    """
    factor = math.ceil(RENDER_SIZE / min(size))
    rows, columns = [(np.arange(n * factor) + 0.5) / (min(size) * factor) for n in size]
    return rows[:, None], columns[None, :], factor


def _blend(colour: np.ndarray, towards: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Mix a colour, ``(H, W, 3)`` or ``(3,)``, into an image of shape ``(H, W, 3)`` by a weight of shape ``(H, W)``."""
    return colour + weight[..., None] * (towards - colour)


def _reduce(fine: np.ndarray, factor: int) -> np.ndarray:
    """Mean over blocks of ``factor`` x ``factor`` pixels of an array of shape ``(H, W, ...)``."""
    height, width = fine.shape[0] // factor, fine.shape[1] // factor
    return fine.reshape(height, factor, width, factor, *fine.shape[2:]).mean(axis=(1, 3))


# ---- ultrasound -----------------------------------------------------------------------------------------------------


def _nodule_distance(rng: np.random.Generator, y: np.ndarray, x: np.ndarray, gland: tuple[float, float]) -> np.ndarray:
    """Approximate distance to the border of a nodule in units of the shorter side, positive within, ``(H, W)``."""
    height, width = y.max(), x.max()
    radius = rng.uniform(0.14, 0.31)
    aspect = rng.uniform(0.8, 1.5)  # wider than tall, as most nodules are
    tall, wide = radius / math.sqrt(aspect), radius * math.sqrt(aspect)
    low, high = max(gland[0], tall + 0.04), min(gland[1], height - tall - 0.04)
    centre_y = rng.uniform(low, high) if low < high else height / 2
    margin = min(wide + 0.02, width / 2)
    centre_x = rng.uniform(margin, width - margin)
    tilt = rng.uniform(-0.4, 0.4)
    dy, dx = y - centre_y, x - centre_x
    v = (dy * math.cos(tilt) - dx * math.sin(tilt)) / tall
    u = (dy * math.sin(tilt) + dx * math.cos(tilt)) / wide
    return radius * (_wobble(rng, np.arctan2(v, u), rng.uniform(0.05, 0.16)) - np.hypot(u, v))


def _tissue_layers(rng: np.random.Generator, y: np.ndarray, x: np.ndarray, gland: tuple[float, float]) -> np.ndarray:
    """Echo level in dB of skin, fat, muscle, gland and what lies below it, with their interfaces, ``(H, W)``."""
    shape = (y.shape[0], x.shape[1])
    unit = shape[0] / (y.max() - y.min())
    grain = _smooth_noise(rng, shape, 0.1 * unit)
    fibres = _smooth_noise(rng, shape, (0.015 * unit, 0.25 * unit))
    echo = rng.uniform(0.5, 2.0) * grain
    edges = np.sort(rng.uniform(0.03, gland[0], rng.integers(1, 4)))
    interfaces = [*edges[:-1], gland[0], gland[1]]
    sag = rng.normal(0.0, 0.08) * (x - x.mean()) ** 2 / x.max() ** 2
    levels = [*rng.uniform(-7.0, 3.0, len(interfaces) - 1), 0.0, rng.uniform(-12.0, 2.0)]
    lines = np.zeros(shape)
    bias = np.full(shape, levels[0])
    texture = np.ones(shape)
    for i, depth in enumerate(interfaces):
        curve = depth + sag + 0.02 * _smooth_noise(rng, (1, shape[1]), 0.35 * unit)
        below = _soft_step(y - curve, 0.006)
        bias += below * (levels[i + 1] - levels[i])
        texture += below * ((0.0 if i == len(interfaces) - 2 else 1.0) - texture)
        glint = np.clip(_smooth_noise(rng, (1, shape[1]), 0.25 * unit) + 0.6, 0.0, 1.5)
        lines += rng.uniform(6.0, 16.0) * glint * np.exp(-(((y - curve) / rng.uniform(0.006, 0.018)) ** 2))
    return echo + bias + lines + texture * rng.uniform(2.0, 4.0) * fibres


def _distractors(
    rng: np.random.Generator, y: np.ndarray, x: np.ndarray, inside: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Vessels and dark patches beside a nodule, none of them labelled.

    Args:
        rng: source of randomness.
        y: row coordinates of shape ``(H, 1)``.
        x: column coordinates of shape ``(1, W)``.
        inside: membership of the nodule in [0, 1], of shape ``(H, W)``, which stays as it is.

    Returns:
        Change of the echo level in dB and presence of fluid in [0, 1], each of shape ``(H, W)``.
    """
    echo, fluid = np.zeros_like(inside), np.zeros_like(inside)
    clutter = _smooth_noise(rng, inside.shape, 0.05 * inside.shape[0] / y.max())
    for _ in range(rng.integers(0, 4)):
        small = rng.uniform(0.025, 0.07)
        long = small * (rng.uniform(1.0, 1.4) if rng.random() < 0.6 else rng.uniform(2.5, 5.0))
        dy, dx = y - rng.uniform(0.15, y.max()), x - rng.uniform(0.0, x.max())
        tilt = rng.uniform(-0.5, 0.5)
        v, u = dy * math.cos(tilt) - dx * math.sin(tilt), dy * math.sin(tilt) + dx * math.cos(tilt)
        rim = 1.0 - np.hypot(v / small, u / long)
        vessel = _soft_step(rim + 0.1 * clutter, 0.2)
        echo += -rng.uniform(11.0, 20.0) * vessel + rng.uniform(2.0, 7.0) * np.exp(-(((rim + 0.12) / 0.12) ** 2))
        fluid = np.maximum(fluid, vessel)
    for _ in range(rng.integers(0, 3)):
        dy, dx = y - rng.uniform(0.1, y.max()), x - rng.uniform(0.0, x.max())
        spread = rng.uniform(0.06, 0.16)
        echo -= rng.uniform(3.0, 7.0) * np.exp(-((dy / spread) ** 2) - (dx / (spread * rng.uniform(0.8, 2.0))) ** 2)
    return echo * (1.0 - inside), fluid * (1.0 - inside)


def _nodule_echo(rng: np.random.Generator, distance: np.ndarray, unit: float) -> np.ndarray:
    """Change of the echo level in dB by a nodule: hypoechoic, isoechoic with a halo or hyperechoic, ``(H, W)``."""
    inside = _soft_step(distance, rng.uniform(0.006, 0.025))
    pattern = rng.choice(3, p=(0.62, 0.13, 0.25))
    level = (rng.uniform(-13.0, -7.0), rng.uniform(-2.0, 1.0), rng.uniform(5.5, 8.5))[pattern]
    echo = inside * (level + rng.uniform(0.5, 2.0) * _smooth_noise(rng, distance.shape, 0.06 * unit))
    halo = rng.uniform(9.0, 13.0) if pattern == 1 else rng.uniform(0.0, 6.0)
    echo -= halo * np.exp(-(((distance + 0.004) / rng.uniform(0.012, 0.018)) ** 2))
    if rng.random() < 0.2:  # a cystic part
        cyst = _smooth_noise(rng, distance.shape, 0.12 * unit)
        echo -= 8.0 * _soft_step(cyst - 0.9, 0.2) * _soft_step(distance - 0.03, 0.01)
    if rng.random() < 0.25:  # calcifications
        specks = (rng.random(distance.shape) < 70.0 / unit**2) & (distance > 0.03)
        echo += 25.0 * np.minimum(1.0, ndimage.gaussian_filter(specks.astype(float), 1.2) * 8.0)
    return echo


def _speckle(rng: np.random.Generator, echo: np.ndarray, unit: float) -> np.ndarray:
    """Envelope of the sound scattered by a medium, in dB.

    A point of the medium scatters as a complex Gaussian variable; the scanner blurs it along and, more so away from the
    focus, across the beam. The magnitude is Rayleigh distributed, and two looks are averaged (compounding).

    Args:
        rng: source of randomness.
        echo: mean echo level in dB, of shape ``(H, W)``.
        unit: pixels in the shorter side.

    Returns:
        Level in dB, of shape ``(H, W)``.
    """
    axial, lateral = rng.uniform(0.0035, 0.006) * unit, rng.uniform(0.007, 0.013) * unit
    focus = rng.uniform(0.3, 0.7)
    defocus = np.abs(np.linspace(0.0, 1.0, echo.shape[0]) - focus)[:, None]
    amplitude = 10.0 ** (echo / 20.0)
    power = np.zeros_like(echo)
    for _ in range(4):  # real and imaginary part of two looks
        scatter = ndimage.gaussian_filter1d(amplitude * rng.standard_normal(echo.shape), axial, axis=0)
        sharp = ndimage.gaussian_filter1d(scatter, lateral, axis=1) * math.sqrt(lateral)
        broad = ndimage.gaussian_filter1d(scatter, 2.2 * lateral, axis=1) * math.sqrt(2.2 * lateral)
        power += (sharp * np.sqrt(1.0 - defocus) + broad * np.sqrt(defocus)) ** 2 * axial
    return 10.0 * np.log10(power + 0.01)  # the electronic noise bounds it below


def _ultrasound(rng: np.random.Generator, size: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """B-mode image of a gland, uint8 of shape ``(H, W)``, and its nodule (1), uint8 of shape ``(H, W)``."""
    y, x, factor = _render_grid(size)
    unit, height = float(min(size) * factor), y.max()
    gland = (rng.uniform(0.1, 0.3) * height, rng.uniform(0.75, 0.97) * height)
    distance = _nodule_distance(rng, y, x, gland)
    inside = _soft_step(distance, 0.01)
    dark, fluid = _distractors(rng, y, x, inside)
    echo = _tissue_layers(rng, y, x, gland)
    echo = echo * (1.0 - 0.85 * inside) + dark + _nodule_echo(rng, distance, unit)
    # A beam is dimmed, or less so than beside, by what it has crossed: shadow and enhancement (dB per unit of path).
    crossed = rng.normal(-4.0, 14.0) * np.cumsum(inside, axis=0) + 35.0 * np.cumsum(fluid, axis=0)
    echo += np.clip(ndimage.gaussian_filter1d(crossed / unit, 0.025 * unit, axis=1), -8.0, 8.0)
    echo += rng.uniform(-7.0, 1.0) * y / height + 1.2 * _smooth_noise(rng, (1, x.shape[1]), 0.12 * unit)
    level = _speckle(rng, echo, unit)
    grey = rng.uniform(80.0, 125.0) + rng.uniform(4.0, 5.5) * level
    grey = _reduce(np.clip(grey, 0.0, 255.0), factor)
    label = _reduce((distance > 0).astype(float), factor) >= 0.5
    return np.round(grey).astype(np.uint8), label.astype(np.uint8)


# ---- fundus ---------------------------------------------------------------------------------------------------------


def _draw_vessel(
    rng: np.random.Generator,
    canvas: ImageDraw.ImageDraw,
    unit: float,
    start: np.ndarray,
    heading: float,
    turn: float,
    width: float,
) -> None:
    """Draw a vessel, which tapers, and its branches.

    Args:
        rng: source of randomness.
        canvas: what is drawn on.
        unit: pixels in the unit of length, the image's shorter side.
        start: ``(x, y)`` in units.
        heading: direction in radians.
        turn: mean change of direction in radians a step.
        width: calibre in units.
    """
    point, bend = start, 0.0
    while width > 0.002:
        bend = 0.8 * bend + rng.normal(0.0, 0.05)
        heading += turn + bend
        following = point + 0.02 * np.array([math.cos(heading), math.sin(heading)])
        canvas.line([*(point * unit), *(following * unit)], fill=255, width=max(1, round(width * unit)))
        point, width = following, width * 0.975
        if rng.random() < 0.07:
            side = rng.choice((-1.0, 1.0))
            _draw_vessel(rng, canvas, unit, point, heading + side * rng.uniform(0.5, 1.0), -side * 0.02, width * 0.65)
            width *= 0.9


def _vessel_tree(rng: np.random.Generator, shape: Sequence[int], disc: np.ndarray, nasal: float) -> np.ndarray:
    """Vessels that leave the optic disc.

    Args:
        rng: source of randomness.
        shape: ``(H, W)`` of the fine grid.
        disc: ``(x, y)`` of the disc's centre in units of the shorter side.
        nasal: 1 where the nose is to the right, -1 where it is to the left.

    Returns:
        Density in [0, 1] of shape ``(H, W)``.
    """
    picture = Image.new("L", (shape[1], shape[0]))
    canvas, unit = ImageDraw.Draw(picture), float(min(shape))
    for vertical in (-1.0, 1.0):
        for _ in range(2):  # an artery and a vein each to the temporal arcades
            heading = math.atan2(vertical, -nasal * rng.uniform(-0.3, 0.7))
            turn = -vertical * nasal * rng.uniform(0.005, 0.035)
            start = disc + rng.normal(0.0, 0.012, 2) + np.array([0.02 * nasal, 0.0])
            _draw_vessel(rng, canvas, unit, start, heading, turn, rng.uniform(0.012, 0.022))
        heading = math.atan2(vertical * rng.uniform(0.2, 1.0), nasal)
        _draw_vessel(rng, canvas, unit, disc, heading, 0.0, rng.uniform(0.007, 0.012))
    return ndimage.gaussian_filter(np.asarray(picture) / 255.0, 0.0025 * unit)


def _disc_and_cup(rng: np.random.Generator, dy: np.ndarray, dx: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Outlines of the optic disc and of the cup, which is within it everywhere.

    Args:
        rng: source of randomness.
        dy: rows from the disc's centre in radii of the disc, of shape ``(H, 1)``.
        dx: columns likewise, of shape ``(1, W)``.

    Returns:
        Approximate distances to the borders of disc and cup in radii of the disc, positive within, ``(H, W)``.
    """
    dx = dx / rng.uniform(0.82, 1.0)  # discs are taller than wide
    disc = _wobble(rng, np.arctan2(dy, dx), 0.02) - np.hypot(dy, dx)
    ratio = rng.uniform(0.4, 0.75)
    offset = rng.uniform(-0.35, 0.35, 2) * (1.0 - ratio)
    dy, dx = (dy - offset[0]) / ratio, (dx - offset[1]) / (ratio * rng.uniform(0.9, 1.1))
    cup = ratio * (_wobble(rng, np.arctan2(dy, dx), 0.04) - np.hypot(dy, dx))
    return disc, np.minimum(cup, disc - 0.08)


def _paint_retina(
    rng: np.random.Generator, y: np.ndarray, x: np.ndarray, disc: np.ndarray, side: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Retina with choroid, fovea and what may be mistaken for the disc: a pale crescent beside it, bright deposits.

    Args:
        rng: source of randomness.
        y: row coordinates of shape ``(H, 1)``.
        x: column coordinates of shape ``(1, W)``.
        disc: distance to the disc's border, positive within, of shape ``(H, W)``.
        side: columns from the disc's centre towards the temple in units of the shorter side, of shape ``(1, W)``.

    Returns:
        Picture of shape ``(H, W, 3)`` in [0, 1] and the retina's mean colour.
    """
    unit = disc.shape[0] / (y.max() - y.min())
    retina = np.array([rng.uniform(0.55, 0.8), rng.uniform(0.24, 0.36), rng.uniform(0.08, 0.18)])
    choroid = 0.035 * _smooth_noise(rng, disc.shape, 0.08 * unit) + 0.05 * _smooth_noise(rng, disc.shape, 0.4 * unit)
    fovea = np.hypot(side - rng.uniform(0.4, 0.5), y - y[np.argmax(disc.max(axis=1))] - 0.04)
    colour = retina * ((1.0 + choroid) * (1.0 - 0.35 * np.exp(-((fovea / 0.09) ** 2))))[..., None]
    if rng.random() < 0.5:  # peripapillary atrophy
        crescent = _soft_step(disc + rng.uniform(0.2, 0.45) * np.clip(side / 0.1, 0.0, 1.0), 0.05)
        colour = _blend(colour, np.array([0.85, 0.6, 0.35]), 0.45 * crescent * (disc < 0))
    for _ in range(rng.integers(0, 6)):
        at, spread = rng.uniform(0.0, 1.0, 2) * (y.max(), x.max()), rng.uniform(0.008, 0.035)
        spot = np.exp(-((np.hypot(y - at[0], x - at[1]) / spread) ** 4))
        colour = _blend(colour, np.array([0.9, 0.75, 0.4]), rng.uniform(0.3, 0.8) * spot * (disc < 0))
    return colour, retina


def _photograph(rng: np.random.Generator, y: np.ndarray, x: np.ndarray, colour: np.ndarray) -> np.ndarray:
    """Uneven light, the round field of view, blur and noise of a camera on a picture of shape ``(H, W, 3)``."""
    row, column = y - y.mean(), x - x.mean()
    light = 1.0 - rng.uniform(0.5, 1.2) * ((row + rng.normal(0.0, 0.15)) ** 2 + (column + rng.normal(0.0, 0.15)) ** 2)
    field = _soft_step(rng.uniform(0.47, 0.75) - np.hypot(row, column), 0.006)
    seen = np.clip(colour * (rng.uniform(0.75, 1.15) * light * field)[..., None], 0.0, 1.0)
    blur = rng.uniform(0.002, 0.006) * min(colour.shape[:2])
    return np.clip(ndimage.gaussian_filter(seen, (blur, blur, 0.0)) + rng.normal(0.0, 0.02, seen.shape), 0.0, 1.0)


def _fundus(rng: np.random.Generator, size: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Fundus photograph, uint8 RGB of shape ``(H, W, 3)``, and disc rim (1) and cup (2), uint8 of shape ``(H, W)``."""
    y, x, factor = _render_grid(size)
    shift, bearing = 0.24 * math.sqrt(rng.random()), rng.uniform(0.0, 2 * math.pi)
    centre = np.array([x.mean() + shift * math.cos(bearing), y.mean() + shift * math.sin(bearing)])
    nasal, radius = float(rng.choice((-1.0, 1.0))), rng.uniform(0.1, 0.17)
    disc, cup = _disc_and_cup(rng, (y - centre[1]) / radius, (x - centre[0]) / radius)
    colour, retina = _paint_retina(rng, y, x, disc, -nasal * (x - centre[0]))
    tint, soft = rng.uniform(0.9, 1.1, 3), rng.uniform(0.05, 0.12)
    rim = retina + rng.uniform(0.45, 0.9) * (np.array([0.92, 0.5, 0.28]) * tint - retina)
    bowl = rim + rng.uniform(0.4, 0.95) * (np.array([1.0, 0.86, 0.6]) * tint - rim)
    colour = _blend(_blend(colour, rim, _soft_step(disc, soft)), bowl, _soft_step(cup, 1.2 * soft))
    vessels = _vessel_tree(rng, disc.shape, centre, nasal)
    colour = _blend(colour, colour * (1.0 - rng.uniform(0.7, 1.0) * np.array([0.38, 0.62, 0.5])), vessels)
    image = np.round(255.0 * _reduce(_photograph(rng, y, x, colour), factor))
    whole, inner = (_reduce((part > 0).astype(float), factor) >= 0.5 for part in (disc, cup))
    return image.astype(np.uint8), (whole + (whole & inner).astype(np.uint8)).astype(np.uint8)


# ---- brain ----------------------------------------------------------------------------------------------------------

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
    fingers = _smooth_noise(rng, shape, [0.15 * n for n in shape])
    whole = brain & (away / rng.uniform(0.32, 0.5) + 0.2 * fingers < 1.0)
    lumps = away + 0.035 * _smooth_noise(rng, shape, [0.075 * n for n in shape]) + 0.02 * fingers
    core = whole & (lumps <= np.quantile(lumps[whole], rng.uniform(0.25, 0.55)))
    necrosis = core & (lumps <= np.quantile(lumps[core], rng.uniform(0.25, 0.55)))
    label = np.where(necrosis, 1, np.where(core, 4, np.where(whole, 2, 0)))
    return label.astype(np.uint8)


def _anatomy(rng: np.random.Generator, axes: Sequence[np.ndarray], size: Sequence[int]) -> dict[str, np.ndarray]:
    """Tissues of a healthy brain: masks of shape ``(X, Y, Z)`` that exclude one another."""
    right, front, up = axes
    folds = _smooth_noise(rng, size, [0.09 * n for n in size])
    outline = 0.03 * _smooth_noise(rng, size, [0.3 * n for n in size])
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
    """One contrast: partial volume, uneven field, texture, Rician noise and an arbitrary scale, 0 outside the brain.

    Args:
        rng: source of randomness.
        tissue: relative intensity, of shape ``(X, Y, Z)``.
        brain: mask of the same shape.

    Returns:
        Intensity of the same shape.
    """
    signal = ndimage.gaussian_filter(tissue, [0.006 * n for n in tissue.shape])
    signal *= 1.0 + 0.06 * _smooth_noise(rng, tissue.shape, [0.45 * n for n in tissue.shape])
    signal *= 1.0 + 0.04 * _smooth_noise(rng, tissue.shape, [0.03 * n for n in tissue.shape])
    noisy = np.hypot(signal + rng.normal(0.0, 0.03, tissue.shape), rng.normal(0.0, 0.03, tissue.shape))
    return noisy * brain * rng.uniform(600.0, 1400.0)


def _brain(rng: np.random.Generator, size: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
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


# ---- interface ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Kind:
    draw: Callable[[np.random.Generator, Sequence[int]], tuple[np.ndarray, np.ndarray]]
    spatial_dims: int
    min_size: int
    suffix: str
    title: str
    modality: dict[str, str]
    labels: dict[str, str]


_KINDS = {
    "ultrasound": _Kind(
        _ultrasound,
        2,
        32,
        ".png",
        "thyroid ultrasound",
        {"0": "simulated B-mode ultrasound (8 bit grey)"},
        {"0": "background", "1": "nodule"},
    ),
    "fundus": _Kind(
        _fundus,
        2,
        32,
        ".png",
        "optic disc",
        {"0": "simulated colour fundus photograph (RGB)"},
        {"0": "background", "1": "optic disc rim", "2": "optic cup"},
    ),
    "brain": _Kind(
        _brain,
        3,
        16,
        ".nii.gz",
        "brain tumour",
        {str(i): f"simulated {name}" for i, name in enumerate(BRAIN_CONTRASTS)},
        {"0": "background", "1": "necrotic core", "2": "oedema", "4": "enhancing tumour"},
    ),
}

PHANTOM_KINDS = tuple(_KINDS)


def _check(kind: str, size: int | Sequence[int]) -> tuple[_Kind, tuple[int, ...]]:
    if kind not in PHANTOM_KINDS:
        raise InputError(f"There is no phantom of kind {kind!r}: choose one of {', '.join(PHANTOM_KINDS)}.")
    known = _KINDS[kind]
    each: tuple[Any, ...] = tuple(size) if isinstance(size, (list, tuple)) else (size,) * known.spatial_dims
    whole = all(isinstance(n, (int, np.integer)) and not isinstance(n, bool) for n in each)
    if len(each) != known.spatial_dims or not whole or min(each) < known.min_size:
        raise InputError(
            f"The size of a phantom of kind {kind!r} must be one whole number or {known.spatial_dims} of them, "
            f"each at least {known.min_size}, got {size!r}."
        )
    return known, tuple(int(n) for n in each)


def make_phantom(kind: str, rng: np.random.Generator, size: int | Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Draw one made-up case.

    ========== ========================== ================================================================
    kind       image                      label (uint8)
    ========== ========================== ================================================================
    ultrasound uint8 grey ``(H, W)``      ``(H, W)``: 1 nodule
    fundus     uint8 RGB ``(H, W, 3)``    ``(H, W)``: 1 rim of the optic disc, 2 optic cup (disc: both)
    brain      int16 ``(X, Y, Z, 4)``     ``(X, Y, Z)``: 1 necrotic core, 2 oedema, 4 enhancing tumour (BraTS)
    ========== ========================== ================================================================

    The brain's axes are RAS. Its channels are FLAIR, T1w, T1gd and T2w, in the order of the Medical Segmentation
    Decathlon.

    Args:
        kind: ``"ultrasound"``, ``"fundus"`` or ``"brain"``.
        rng: source of randomness; one state gives one case.
        size: size of every axis, or ``(height, width)`` or ``(x, y, z)``; at least 32 in 2D and 16 in 3D.

    Returns:
        Image and label.

    Raises:
        InputError: when the kind is unknown or the size does not fit it.
    """
    known, shape = _check(kind, size)
    return known.draw(rng, shape)


def _save(array: np.ndarray, path: Path) -> None:
    if path.suffix == ".png":
        Image.fromarray(array).save(path)
        return
    spacing = [FIELD_OF_VIEW_MM / n for n in array.shape[:3]]
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = [(v - FIELD_OF_VIEW_MM) / 2 for v in spacing]  # world origin in the middle, RAS
    volume = nib.Nifti1Image(array, affine)
    volume.header.set_xyzt_units("mm")
    nib.save(volume, path)


def _clear_datalist(path: Path, name: str) -> None:
    """Take away the datalist of an earlier run, so that a broken run leaves none that names a mixture of cases."""
    if not path.exists():
        return
    try:
        found = json.loads(path.read_text(encoding="utf-8")).get("name", "")
    except (OSError, ValueError, AttributeError):
        found = ""
    if not str(found).startswith("Phantoms of"):
        raise InputError(f"{path} belongs to another dataset, which {name} would overwrite: choose an empty folder.")
    path.unlink()


def write_phantoms(
    root: str | os.PathLike[str],
    kind: str = "ultrasound",
    num_training: int = 160,
    num_validation: int = 20,
    num_test: int = 40,
    size: int | Sequence[int] = 64,
    seed: int = 0,
) -> Path:
    """Write a dataset of made-up cases: ``images/``, ``labels/`` and a decathlon ``datalist.json``.

    A case depends on the seed, its section and its number in the section alone, so that more cases in one section
    change no others. The datalist is written last: where it exists, all its files do.

    Args:
        root: folder of the dataset, which is made as needed. An earlier dataset of phantoms in it is replaced.
        kind: ``"ultrasound"``, ``"fundus"`` (both PNG) or ``"brain"`` (NIfTI, channels last).
        num_training: number of training cases.
        num_validation: number of validation cases.
        num_test: number of test cases.
        size: as for :func:`make_phantom`.
        seed: a number not below 0; one seed gives one dataset.

    Returns:
        Path of the datalist.

    Raises:
        InputError: when the kind, the size, a count or the seed is wrong, when the folder cannot be written to or
            when it holds another dataset.
    """
    known, shape = _check(kind, size)
    counts = {"training": num_training, "validation": num_validation, "test": num_test}
    for what, number in [*((f"num_{section}", n) for section, n in counts.items()), ("seed", seed)]:
        if not isinstance(number, int) or isinstance(number, bool) or number < 0:
            raise InputError(f"{what} must be a whole number not below 0, got {number!r}.")
    if sum(counts.values()) == 0:
        raise InputError("No phantoms were asked for: give at least one training, validation or test case.")
    folder = check_writable(root)
    name = f"Phantoms of {known.title}"
    datalist = folder / "datalist.json"
    _clear_datalist(datalist, name)
    for part in ("images", "labels"):
        check_writable(folder / part)

    sections: dict[str, list[dict[str, str]]] = {section: [] for section in counts}
    jobs = [(code, section, i) for code, section in enumerate(counts) for i in range(counts[section])]
    for code, section, i in tqdm(jobs, desc=name, unit="case"):
        rng = np.random.default_rng([seed, PHANTOM_KINDS.index(kind), code, i])
        image, label = known.draw(rng, shape)
        case = {part: f"{part}s/{section}_{i:04d}{known.suffix}" for part in ("image", "label")}
        _save(image, folder / case["image"])
        _save(label, folder / case["label"])
        sections[section].append(case)
    content: dict[str, Any] = {"name": name, "modality": known.modality, "labels": known.labels}
    content |= {
        "licence": "made up by medsegdiff_monai; free to use",
        "tensorImageSize": "4D" if kind == "brain" else "2D",
    }
    content |= sections | {f"num{section.capitalize()}": number for section, number in counts.items()}
    draft = datalist.with_suffix(".json.part")
    draft.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    os.replace(draft, datalist)
    return datalist
