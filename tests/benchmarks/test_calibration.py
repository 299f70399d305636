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

import numpy as np
import pytest
import torch
from harness.calibration import BINS, CalibrationCounts
from monai.data import MetaTensor
from monai.transforms import Compose


def counted(*cases: tuple[list, list], channels: tuple[int, ...] = (0,)) -> dict[str, list[float]]:
    counts = CalibrationCounts(channels)
    for probability, label in cases:
        counts({"probability": torch.tensor(probability), "label": torch.tensor(label)})
    return counts.as_dict()


def in_bins(**bins: float) -> list[float]:
    return [bins.get(f"b{i}", 0.0) for i in range(BINS)]


def test_bins_by_hand() -> None:
    sums = counted(([[[0.02, 0.04, 0.06], [0.51, 0.52, 0.97]]], [[[0, 1, 0], [1, 0, 1]]]))
    assert sums["count"] == in_bins(b0=2, b1=1, b10=2, b19=1)
    assert sums["positive"] == in_bins(b0=1, b10=1, b19=1)
    assert sums["confidence"] == pytest.approx(in_bins(b0=0.06, b1=0.06, b10=1.03, b19=0.97), abs=1e-6)


def test_ends_of_the_range_belong_to_the_first_and_the_last_bin() -> None:
    sums = counted(([[0.0, 1.0, 1.0, 0.5]], [[0, 1, 0, 1]]))
    assert sums["count"] == in_bins(b0=1, b19=2, b10=1)
    assert sums["confidence"] == in_bins(b19=2, b10=0.5)
    assert sums["positive"] == in_bins(b19=1, b10=1)


def test_rounding_beyond_the_range_is_cut() -> None:
    sums = counted(([[-1e-6, 1 + 1e-6]], [[0, 1]]))
    assert sums["count"] == in_bins(b0=1, b19=1)
    assert sums["confidence"] == in_bins(b19=1)


def test_sums_run_over_cases_of_any_shape_and_region() -> None:
    rng = np.random.default_rng(0)
    cases = [
        (rng.random(shape), (rng.random(shape) < 0.3).astype(float)) for shape in ((2, 5, 7), (2, 9, 4), (2, 3, 4, 5))
    ]
    sums = counted(*((p.tolist(), y.tolist()) for p, y in cases), channels=(0, 1))
    p, y = (np.concatenate([c[k].ravel() for c in cases]) for k in (0, 1))
    edges = np.linspace(0, 1, BINS + 1)
    for key, weights in {"count": None, "confidence": p, "positive": y}.items():
        np.testing.assert_allclose(sums[key], np.histogram(p, edges, weights=weights)[0], rtol=1e-5, err_msg=key)


@pytest.mark.parametrize(("channels", "bins"), [((0,), {"b2": 2}), ((2,), {"b18": 2}), ((0, 2), {"b2": 2, "b18": 2})])
def test_regions_that_are_not_labelled_do_not_count(channels: tuple[int, ...], bins: dict[str, float]) -> None:
    sums = counted(([[0.12, 0.12], [0.52, 0.52], [0.92, 0.92]], [[1, 1], [0, 0], [1, 1]]), channels=channels)
    assert sums["count"] == sums["positive"] == in_bins(**bins)


def test_case_passes_unchanged_through_a_chain_of_transforms() -> None:
    counts = CalibrationCounts([0])
    item = {
        "probability": MetaTensor(torch.rand(1, 6, 6, generator=torch.Generator().manual_seed(0))),
        "label": MetaTensor(torch.ones(1, 6, 6, dtype=torch.uint8)),
        "pred": "kept",
    }
    before = {k: v.clone() if isinstance(v, torch.Tensor) else v for k, v in item.items()}
    after = Compose([counts])(item)
    assert list(after) == list(before)
    assert all(torch.equal(after[k], before[k]) for k in ("probability", "label"))
    assert after["pred"] == "kept"
    assert counts.as_dict()["count"] == counts.as_dict()["positive"]
    assert sum(counts.as_dict()["confidence"]) == pytest.approx(float(before["probability"].sum()), rel=1e-5)
