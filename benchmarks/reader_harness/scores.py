# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

"""How masks vary, and how far from the readers'."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import torch

from medsegdiff_monai.metrics import GeneralizedEnergyDistance, OverReaders, RegionDice

__all__ = ["CaseMasks", "energy_distance", "score", "summarise"]


class CaseMasks:
    """The masks of one method for one case.

    Args:
        masks: those that it samples, boolean ``(N, H, W)``.
        fused: its single mask, boolean ``(H, W)``; the majority of the samples where it is not given.
    """

    def __init__(self, masks: np.ndarray, fused: np.ndarray | None = None) -> None:
        self.masks = masks
        self.fused = masks.mean(0) >= 0.5 if fused is None else fused


def energy_distance(first: np.ndarray, second: np.ndarray) -> float:
    """Squared generalised energy distance between masks ``(N, H, W)`` and ``(R, H, W)``."""
    a, b = (torch.as_tensor(masks)[None, :, None] for masks in (first, second))
    distance: Any = GeneralizedEnergyDistance()(a, b)
    return float(distance)


def score(method: CaseMasks, readers: np.ndarray, lobe: np.ndarray, area: float) -> dict[str, float]:
    """The scores of a method for one case.

    Args:
        method: its masks.
        readers: those of the readers, ``(R, H, W)``.
        lobe: where a mask shows whether it holds the ambiguous lobe, boolean ``(H, W)``, not empty.
        area: mean area by the rule, in pixels.

    Returns:
        ``variance`` of the masks' area as a share of ``area`` squared, ``lobe``, the share of masks that hold more than
        half of it, ``energy_distance``, and least, mean and largest ``dice`` of the fused mask over the readers.
    """
    areas = method.masks.sum((1, 2)) / area
    fused, references = torch.as_tensor(method.fused)[None, None], torch.as_tensor(readers)[None, :, None]
    dice: dict[str, Any] = {over: OverReaders(RegionDice(), over)(fused, references) for over in ("mean", "min", "max")}
    return {
        "variance": float(areas.var(ddof=1)),
        "lobe": float((method.masks[:, lobe].mean(1) > 0.5).mean()),
        "energy_distance": energy_distance(method.masks, readers),
        **{f"dice_{over}": float(value) for over, value in dice.items()},
    }


def summarise(cases: pd.DataFrame) -> pd.DataFrame:
    """Means over the cases for each ``method``, with ``area_sd``, the root of the mean variance."""
    table = cases.groupby("method", sort=False).mean(numeric_only=True)
    table.insert(0, "area_sd", np.sqrt(table.pop("variance")))
    return table
