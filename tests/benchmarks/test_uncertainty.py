# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from harness.grid import DATASETS, Cell
from harness.uncertainty import ROWS, score_row

from medsegdiff_monai.data.phantoms import write_phantoms


@pytest.mark.parametrize("members", [1, 3])
def test_scores_and_calibration_of_the_bundle_as_it_is(tmp_path: Path, members: int) -> None:
    write_phantoms(tmp_path / DATASETS["ultrasound_ddti"].folder, "ultrasound", 1, 2, 1, 40, seed=5)
    row = dataclasses.replace(ROWS[0], settings={"num_ensemble": members, "num_inference_steps": 1})
    out = tmp_path / "out"
    result = score_row(row, Cell("ultrasound_ddti", "medsegdiff", 0, 1.0), tmp_path, tmp_path, out)
    cases = result["cases"]
    assert (result["row"], result["members"]) == ("bundle", members)
    assert result["temperature"] > 1.0
    assert sorted(cases["section"]) == ["test", "validation", "validation"]
    for name in ("dice", "predicted_dice"):
        assert all(0.0 <= value <= 1.0 for value in cases[name])
    alone = [value != value for value in cases["pairwise_dice"]]  # NaN
    assert alone == [members == 1] * 3
    assert 0.0 <= result["calibration"]["errors"]["brier"] <= 1.0
    assert not [path for path in out.iterdir() if path.suffix == ".png" and path.stem.startswith("test")]
