# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from medsegdiff_monai.data.phantoms.drawing import covered, reduce, render_grid, smooth_noise, soft_step, wobble

__all__ = ["LOBE_PROBABILITY", "SCALE_DEVIATION", "ReadScan", "Reading", "draw_readings", "draw_ultrasound"]

SCALE_DEVIATION = 0.1
LOBE_PROBABILITY = 0.35
_FURTHEST = 3.0  # standard deviations


@dataclass(frozen=True)
class _Nodule:
    """A nodule in a frame of its own, in which it is about a circle of radius 1; arrays are ``(H, W)``."""

    radius: float  # mean of its half axes in units of the image's shorter side
    v: np.ndarray  # coordinate along its short axis
    u: np.ndarray  # coordinate along its long axis
    outline: np.ndarray  # distance of its border from its centre in the direction of each point

    def distance(self, scale: float = 1.0) -> np.ndarray:
        """Approximate distance to the scaled border, positive within, in units of the shorter side, ``(H, W)``."""
        return self.radius * (scale * self.outline - np.hypot(self.u, self.v))


def _nodule(
    rng: np.random.Generator, y: np.ndarray, x: np.ndarray, gland: tuple[float, float], largest: float
) -> _Nodule:
    height, width = y.max(), x.max()
    radius = rng.uniform(0.14, largest)
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
    return _Nodule(radius, v, u, wobble(rng, np.arctan2(v, u), rng.uniform(0.05, 0.16)))


def _lobe_distance(rng: np.random.Generator, nodule: _Nodule) -> np.ndarray:
    """Approximate distance to the border of a lobe that buds from a nodule where most of it is visible, ``(H, W)``."""
    size = rng.uniform(0.5, 0.65)
    angle = np.arctan2(nodule.v, nodule.u)
    distances = []
    for direction in rng.uniform(-math.pi, math.pi, 12):
        border = nodule.outline.flat[np.argmax(np.cos(angle - direction))]
        away = border + 0.4 * size
        dv, du = nodule.v - away * math.sin(direction), nodule.u - away * math.cos(direction)
        distances.append(nodule.radius * (size - np.hypot(dv, du)))
    return max(distances, key=lambda distance: np.count_nonzero(distance > 0))


def _tissue_layers(rng: np.random.Generator, y: np.ndarray, x: np.ndarray, gland: tuple[float, float]) -> np.ndarray:
    """Echo level in dB of skin, fat, muscle, gland and what lies below it, with their interfaces, ``(H, W)``."""
    shape = (y.shape[0], x.shape[1])
    unit = shape[0] / (y.max() - y.min())
    grain = smooth_noise(rng, shape, 0.1 * unit)
    fibres = smooth_noise(rng, shape, (0.015 * unit, 0.25 * unit))
    echo = rng.uniform(0.5, 2.0) * grain
    edges = np.sort(rng.uniform(0.03, gland[0], rng.integers(1, 4)))
    interfaces = [*edges[:-1], gland[0], gland[1]]
    sag = rng.normal(0.0, 0.08) * (x - x.mean()) ** 2 / x.max() ** 2
    levels = [*rng.uniform(-7.0, 3.0, len(interfaces) - 1), 0.0, rng.uniform(-12.0, 2.0)]
    lines = np.zeros(shape)
    bias = np.full(shape, levels[0])
    texture = np.ones(shape)
    for i, depth in enumerate(interfaces):
        curve = depth + sag + 0.02 * smooth_noise(rng, (1, shape[1]), 0.35 * unit)
        below = soft_step(y - curve, 0.006)
        bias += below * (levels[i + 1] - levels[i])
        texture += below * ((0.0 if i == len(interfaces) - 2 else 1.0) - texture)
        glint = np.clip(smooth_noise(rng, (1, shape[1]), 0.25 * unit) + 0.6, 0.0, 1.5)
        lines += rng.uniform(6.0, 16.0) * glint * np.exp(-(((y - curve) / rng.uniform(0.006, 0.018)) ** 2))
    return echo + bias + lines + texture * rng.uniform(2.0, 4.0) * fibres


def _distractors(
    rng: np.random.Generator, y: np.ndarray, x: np.ndarray, inside: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Change of the echo level in dB, and fluid in [0, 1], by vessels and dark patches beside a nodule, ``(H, W)``."""
    echo, fluid = np.zeros_like(inside), np.zeros_like(inside)
    clutter = smooth_noise(rng, inside.shape, 0.05 * inside.shape[0] / y.max())
    for _ in range(rng.integers(0, 4)):
        small = rng.uniform(0.025, 0.07)
        long = small * (rng.uniform(1.0, 1.4) if rng.random() < 0.6 else rng.uniform(2.5, 5.0))
        dy, dx = y - rng.uniform(0.15, y.max()), x - rng.uniform(0.0, x.max())
        tilt = rng.uniform(-0.5, 0.5)
        v, u = dy * math.cos(tilt) - dx * math.sin(tilt), dy * math.sin(tilt) + dx * math.cos(tilt)
        rim = 1.0 - np.hypot(v / small, u / long)
        vessel = soft_step(rim + 0.1 * clutter, 0.2)
        echo += -rng.uniform(11.0, 20.0) * vessel + rng.uniform(2.0, 7.0) * np.exp(-(((rim + 0.12) / 0.12) ** 2))
        fluid = np.maximum(fluid, vessel)
    for _ in range(rng.integers(0, 3)):
        dy, dx = y - rng.uniform(0.1, y.max()), x - rng.uniform(0.0, x.max())
        spread = rng.uniform(0.06, 0.16)
        echo -= rng.uniform(3.0, 7.0) * np.exp(-((dy / spread) ** 2) - (dx / (spread * rng.uniform(0.8, 2.0))) ** 2)
    return echo * (1.0 - inside), fluid * (1.0 - inside)


def _nodule_echo(rng: np.random.Generator, distance: np.ndarray, unit: float, dark: bool) -> np.ndarray:
    """Change of the echo level in dB by a nodule: hypoechoic (always if ``dark``), hyperechoic or isoechoic."""
    inside = soft_step(distance, rng.uniform(0.006, 0.025))
    pattern = 0 if dark else rng.choice(3, p=(0.62, 0.13, 0.25))
    level = (rng.uniform(-13.0, -7.0), rng.uniform(-2.0, 1.0), rng.uniform(5.5, 8.5))[pattern]
    echo = inside * (level + rng.uniform(0.5, 2.0) * smooth_noise(rng, distance.shape, 0.06 * unit))
    halo = rng.uniform(9.0, 13.0) if pattern == 1 else rng.uniform(0.0, 6.0)
    echo -= halo * np.exp(-(((distance + 0.004) / rng.uniform(0.012, 0.018)) ** 2))
    if rng.random() < 0.2:  # a cystic part
        cyst = smooth_noise(rng, distance.shape, 0.12 * unit)
        echo -= 8.0 * soft_step(cyst - 0.9, 0.2) * soft_step(distance - 0.03, 0.01)
    if rng.random() < 0.25:  # calcifications
        specks = (rng.random(distance.shape) < 70.0 / unit**2) & (distance > 0.03)
        echo += 25.0 * np.minimum(1.0, ndimage.gaussian_filter(specks.astype(float), 1.2) * 8.0)
    return echo


def _speckle(rng: np.random.Generator, echo: np.ndarray, unit: float) -> np.ndarray:
    """Envelope of the sound scattered by a medium, in dB, from its mean echo level in dB.

    A point of the medium scatters as a complex Gaussian variable; the scanner blurs it along and, more so away from the
    focus, across the beam. The magnitude is Rayleigh distributed, and two looks are averaged (compounding).
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


def _draw_scan(
    rng: np.random.Generator, size: Sequence[int], with_lobe: bool
) -> tuple[np.ndarray, _Nodule, np.ndarray, int]:
    """Draw a B-mode image, uint8 of shape ``(H, W)``, of a gland with a nodule, from which a doubtful lobe may bud.

    Both are then hypoechoic: what is doubtful is in plain sight, and no lobe can be taken for a vessel beside it. The
    nodule and the lobe (boolean, empty without one) are on a grid finer by the factor that comes last.
    """
    y, x, factor = render_grid(size)
    unit, height = float(min(size) * factor), y.max()
    gland = (rng.uniform(0.1, 0.3) * height, rng.uniform(0.75, 0.97) * height)
    nodule = _nodule(rng, y, x, gland, largest=0.22 if with_lobe else 0.31)
    distance = nodule.distance()
    inside = soft_step(distance, 0.01)
    lobe = _lobe_distance(rng, nodule) if with_lobe else np.full_like(distance, -np.inf)
    solid = np.maximum(inside, soft_step(lobe, 0.015))
    dark, fluid = _distractors(rng, y, x, solid)
    echo = _tissue_layers(rng, y, x, gland)
    echo = echo * (1.0 - 0.85 * solid) + dark + _nodule_echo(rng, distance, unit, with_lobe)
    if with_lobe:
        echo -= rng.uniform(8.0, 12.0) * (solid - inside)
    # A beam is dimmed, or less so than beside, by what it has crossed: shadow and enhancement (dB per unit of path).
    crossed = rng.normal(-4.0, 14.0) * np.cumsum(inside, axis=0) + 35.0 * np.cumsum(fluid, axis=0)
    echo += np.clip(ndimage.gaussian_filter1d(crossed / unit, 0.025 * unit, axis=1), -8.0, 8.0)
    echo += rng.uniform(-7.0, 1.0) * y / height + 1.2 * smooth_noise(rng, (1, x.shape[1]), 0.12 * unit)
    level = _speckle(rng, echo, unit)
    grey = rng.uniform(80.0, 125.0) + rng.uniform(4.0, 5.5) * level
    grey = reduce(np.clip(grey, 0.0, 255.0), factor)
    return np.round(grey).astype(np.uint8), nodule, lobe > 0, factor


def draw_ultrasound(rng: np.random.Generator, size: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """B-mode image of a gland, uint8 of shape ``(H, W)``, and its nodule (1), uint8 of shape ``(H, W)``."""
    image, nodule, _, factor = _draw_scan(rng, size, with_lobe=False)
    return image, covered(nodule.distance() > 0, factor)


@dataclass(frozen=True)
class Reading:
    """The drawing of one reader: the nodule (1), uint8 of shape ``(H, W)``."""

    label: np.ndarray
    scale: float  # factor by which the border is scaled about the nodule's centre
    lobe: bool  # whether the ambiguous lobe is included


@dataclass(frozen=True)
class ReadScan:
    """An ultrasound image as several readers see it, uint8 of shape ``(H, W)``.

    ``lobe`` (1) is the part of the lobe beyond the largest border that a reader draws: a mask holds all of it, or none.
    """

    image: np.ndarray
    readings: list[Reading]
    lobe: np.ndarray


def draw_readings(rng: np.random.Generator, size: Sequence[int], readers: int) -> ReadScan:
    """An ultrasound image whose readers differ by a known rule.

    A lobe buds from the nodule, as dark as it. Each reader draws the nodule's border scaled about its centre by
    ``s ~ N(1, SCALE_DEVIATION)``, held within 3 standard deviations. With probability ``LOBE_PROBABILITY`` the lobe is
    taken in. These draws are independent of one another and of the image, so that nothing in it tells them. Further
    readers change neither the image nor those before them.
    """
    image, nodule, lobe, factor = _draw_scan(rng, size, with_lobe=True)
    readings = []
    for _ in range(readers):
        scale = 1.0 + SCALE_DEVIATION * float(np.clip(rng.standard_normal(), -_FURTHEST, _FURTHEST))
        taken = bool(rng.random() < LOBE_PROBABILITY)
        inside = nodule.distance(scale) > 0
        readings.append(Reading(covered(inside | lobe if taken else inside, factor), scale, taken))
    largest = covered(nodule.distance(1.0 + _FURTHEST * SCALE_DEVIATION) > 0, factor)
    return ReadScan(image, readings, covered(lobe, factor) * (1 - largest))
