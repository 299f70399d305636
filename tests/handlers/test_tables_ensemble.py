# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from ignite.engine import Engine
from monai.data import MetaTensor

from medsegdiff_monai.handlers import EnsembleTable
from medsegdiff_monai.inferers import DiffusionSegmentationInferer, EnsembleScores
from medsegdiff_monai.networks.schedulers import DPMSolverScheduler

NAN = float("nan")
REGIONS = {"disc": [1, 2], "rim": [], "cup": [2]}
SCORES = EnsembleScores(
    *(torch.tensor([values]) for values in ([0.25, 0.5, NAN], [0.9, 0.8, 1.0], [1 / 3, 0.7, 1.0])),
    sensitivity=torch.tensor([[[1.0, 0.5, NAN], [0.75, 0.5, NAN]]]),
    specificity=torch.ones(1, 2, 3),
)
ALONE = EnsembleScores(torch.tensor([[0.25, 0.5, NAN]]), None, torch.tensor([[0.5, 0.7, 1.0]]), None, None)


def tables(folder: Path, **cases: EnsembleScores) -> tuple[list[str], Any]:
    """The lines of the table and the content of the JSON file of these cases."""
    items = [
        {"image": MetaTensor(torch.zeros(1, 2, 2), meta={"case": name}), "scores": scores}
        for name, scores in cases.items()
    ]
    engine = Engine(lambda *_: items)
    EnsembleTable(folder, REGIONS).attach(engine)
    engine.run([0])
    content = json.loads((folder / "uncertainty.json").read_text(), parse_constant=pytest.fail)
    return (folder / "uncertainty.csv").read_text().splitlines(), content


def test_row_for_each_case_and_labelled_region(tmp_path: Path) -> None:
    lines, entries = tables(tmp_path, a=SCORES)
    assert lines == [
        "case,region,boundary_entropy_bits,pairwise_dice,predicted_dice",
        "a,disc,0.25,0.9,0.333333",
        "a,cup,,1,1",
    ]
    disc, cup = entries
    assert (disc["sensitivity"], disc["specificity"]) == ([1.0, 0.75], [1.0, 1.0])
    assert (cup["boundary_entropy_bits"], cup["sensitivity"]) == (None, [None, None])


def test_name_of_a_case_is_the_same_in_both_files_and_steers_nothing(tmp_path: Path) -> None:
    lines, entries = tables(tmp_path, **{"a\x1b[2J\udcff": ALONE})
    assert lines[1].split(",")[0] == entries[0]["case"] == "a\\x1b[2J\\udcff"


def test_uncertainty_of_a_single_member_is_unavailable_not_zero(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        lines, entries = tables(tmp_path, a=ALONE, b=ALONE)
    assert lines[1:] == ["a,disc,,,", "a,cup,,,", "b,disc,,,", "b,cup,,,"]
    assert {value for entry in entries for key, value in entry.items() if key not in ("case", "region")} == {None}
    assert caplog.text.count("unavailable with a single member") == 1


def test_scores_are_those_of_the_inferer(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    inferer = DiffusionSegmentationInferer(DPMSolverScheduler(prediction_type="sample"), 2, 3, signal_scale=0.3)
    prediction = inferer.predict(
        torch.randn(1, 3, 12, 10, generator=generator), lambda x, timesteps, context: 3.0 * (context + 0.3 * x)
    )
    _, entries = tables(tmp_path, a=prediction.scores)
    masks = prediction.members[0].numpy() >= 0.5
    for entry, channel in zip(entries, (0, 2), strict=True):
        m = masks[:, channel]
        pairs = [2 * (m[i] & m[j]).sum() / (m[i].sum() + m[j].sum()) for i, j in ((0, 1), (0, 2), (1, 2))]
        assert entry["pairwise_dice"] == pytest.approx(sum(pairs) / 3)
        assert len(entry["sensitivity"]) == 3
