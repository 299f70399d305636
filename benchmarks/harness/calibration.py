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


"""Calibration of probabilities, counted while cases pass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

__all__ = ["BINS", "CalibrationCounts"]

BINS = 20


class CalibrationCounts:
    """A transform at the end of an evaluation's postprocessing that counts how often probabilities come true.

    Voxels are counted in equal bins of their probability. A region that the data do not label does not count.

    Args:
        channels: channels of the regions that the data label.

    Attributes:
        count: number of voxels in each bin.
        confidence: sum of their probabilities.
        positive: number of them that belong to the reference.
    """

    def __init__(self, channels: Sequence[int]) -> None:
        self.channels = list(channels)
        self.count = torch.zeros(BINS, dtype=torch.float64)
        self.confidence = torch.zeros(BINS, dtype=torch.float64)
        self.positive = torch.zeros(BINS, dtype=torch.float64)

    def __call__(self, item: dict[str, Any]) -> dict[str, Any]:
        """Count a case with its ``probability`` and ``label``, each of shape ``(C, *spatial)``; it passes unchanged."""
        p, label = (
            torch.as_tensor(item[key])[self.channels].flatten().double().cpu() for key in ("probability", "label")
        )
        p = p.clamp(0, 1)
        index = (p * BINS).long().clamp(max=BINS - 1)
        self.count += torch.bincount(index, minlength=BINS)
        self.confidence += torch.bincount(index, weights=p, minlength=BINS)
        self.positive += torch.bincount(index, weights=label, minlength=BINS)
        return item

    def as_dict(self) -> dict[str, list[float]]:
        """The sums as plain numbers."""
        return {name: getattr(self, name).tolist() for name in ("count", "confidence", "positive")}
