# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from ignite.engine import Engine

from medsegdiff_monai.handlers import ReaderMetricHandler
from medsegdiff_monai.metrics import GeneralizedEnergyDistance, OverReaders, RegionDice

EYE = {"disc": [1, 2], "cup": [2]}


def masks(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).random(shape) < 0.4


def run(handler: ReaderMetricHandler, cases: list[dict[str, Any]]) -> Engine:
    engine = Engine(lambda *_: cases)
    handler.attach(engine, "score")
    engine.run([0])
    return engine


def iou_distance(a: np.ndarray, b: np.ndarray) -> float:
    return 1.0 - (a & b).sum() / (a | b).sum()


def test_members_are_scored_against_readers_region_by_region() -> None:
    members, readers = masks(3, 2, 6, 7), masks(4, 2, 6, 7)
    case = {"members": torch.from_numpy(members).flatten(0, 1), "label": torch.from_numpy(readers).flatten(0, 1)}
    engine = run(ReaderMetricHandler(GeneralizedEnergyDistance(), EYE, members=True), [case])
    expected = []
    for c in range(2):
        mean = lambda x, y, c=c: np.mean([iou_distance(a[c], b[c]) for a in x for b in y])  # noqa: E731
        expected.append(2 * mean(members, readers) - mean(members, members) - mean(readers, readers))
    np.testing.assert_allclose(engine.state.metric_details["score"][0], expected, rtol=1e-5)
    assert engine.state.metric_columns["score"] == ["disc", "cup"]


def test_fused_masks_are_scored_against_readers_whatever_their_number() -> None:
    fused = [masks(2, 6, 7), masks(2, 5, 9)]
    readers = [masks(4, 2, 6, 7), masks(2, 2, 5, 9)]
    cases = [
        {"pred": torch.from_numpy(f), "label": torch.from_numpy(r).flatten(0, 1)}
        for f, r in zip(fused, readers, strict=True)
    ]
    engine = run(ReaderMetricHandler(OverReaders(RegionDice()), EYE), cases)
    expected = [
        np.mean([2 * (f[c] & one[c]).sum() / (f[c].sum() + one[c].sum()) for one in r])
        for f, r in zip(fused, readers, strict=True)
        for c in range(2)
    ]
    np.testing.assert_allclose(engine.state.metric_details["score"].flatten(), expected, rtol=1e-6)
    np.testing.assert_allclose(engine.state.metrics["score"], np.mean(expected), rtol=1e-6)


def test_a_region_that_is_not_labelled_is_left_out() -> None:
    label = torch.ones(2, 4, 4)
    case = {"pred": torch.stack([torch.ones(4, 4), torch.zeros(4, 4)]), "label": label}
    engine = run(ReaderMetricHandler(OverReaders(RegionDice()), {"disc": [1], "cup": []}), [case])
    assert engine.state.metric_details["score"].tolist() == [[1.0]]
    assert engine.state.metric_columns["score"] == ["disc"]


def test_other_channels_than_the_regions_are_refused() -> None:
    case = {"pred": torch.ones(2, 4, 4), "label": torch.ones(3, 4, 4)}
    with pytest.raises(ValueError, match="regions disc, cup once or more, got 3 channels"):
        run(ReaderMetricHandler(OverReaders(RegionDice()), EYE), [case])
