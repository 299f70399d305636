# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from medsegdiff_monai.data.phantoms.ultrasound import draw_scan

__all__ = ["LOBE_PROBABILITY", "SCALE_DEVIATION", "ReadScan", "Reading", "draw_readings"]

SCALE_DEVIATION = 0.1
LOBE_PROBABILITY = 0.35
_FURTHEST = 3.0  # standard deviations


@dataclass(frozen=True)
class Reading:
    """What one reader has drawn.

    Attributes:
        label: the nodule (1), uint8 of shape ``(H, W)``.
        scale: factor by which the border is scaled about the nodule's centre.
        lobe: whether the ambiguous lobe is included.
    """

    label: np.ndarray
    scale: float
    lobe: bool


@dataclass(frozen=True)
class ReadScan:
    """An ultrasound image as several readers see it.

    Attributes:
        image: uint8 of shape ``(H, W)``.
        readings: one for each reader.
        lobe: what of the lobe (1) lies outside even the largest border that a reader draws, uint8 of shape
            ``(H, W)``: a mask holds all of it, or none.
    """

    image: np.ndarray
    readings: list[Reading]
    lobe: np.ndarray


def draw_readings(rng: np.random.Generator, size: Sequence[int], readers: int) -> ReadScan:
    """An ultrasound image whose readers differ by a known rule.

    A lobe buds from the nodule, as dark as it. Each reader draws the nodule's border scaled about its centre by
    ``s ~ N(1, SCALE_DEVIATION)``, held within 3 standard deviations, and with probability ``LOBE_PROBABILITY`` takes in
    the lobe. All these draws are independent of one another, of the image and of who reads, so that nothing in the
    image tells them; further readers change neither the image nor those before them.

    Args:
        rng: source of randomness; one state gives one case.
        size: ``(height, width)`` of the image.
        readers: number of readers.
    """
    scan = draw_scan(rng, size, with_lobe=True)
    assert scan.lobe is not None  # it was asked for
    lobe: np.ndarray = scan.lobe > 0
    readings = []
    for _ in range(readers):
        scale = 1.0 + SCALE_DEVIATION * float(np.clip(rng.standard_normal(), -_FURTHEST, _FURTHEST))
        taken = bool(rng.random() < LOBE_PROBABILITY)
        inside = scan.nodule.distance(scale) > 0
        readings.append(Reading(scan.on_pixels(inside | lobe if taken else inside), scale, taken))
    largest = scan.on_pixels(scan.nodule.distance(1.0 + _FURTHEST * SCALE_DEVIATION) > 0)
    return ReadScan(scan.image, readings, scan.on_pixels(lobe) * (1 - largest))
