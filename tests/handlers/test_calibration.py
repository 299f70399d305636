# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from ignite.engine import Engine
from PIL import Image

from medsegdiff_monai.handlers import CalibrationReport
from medsegdiff_monai.metrics import Reliability
from medsegdiff_monai.utils import InputError

REGIONS = {"outer": [1, 2], "unlabelled": [], "inner": [2]}


def cases(seed: int, count: int) -> list[dict[str, torch.Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    shapes = [(3, 6, 5 + i) for i in range(count)]
    return [
        {
            "probability": torch.rand(shape, generator=generator),
            "label": (torch.rand(shape, generator=generator) < 0.4).float(),
        }
        for shape in shapes
    ]


def evaluate(folder: Path, batches: list[Any], regions: dict[str, list[int]], runs: int = 1) -> pd.DataFrame:
    engine = Engine(lambda engine, batch: batch)
    CalibrationReport(folder, regions).attach(engine)
    engine.state.device = torch.device("cpu")
    for _ in range(runs):
        engine.run(batches)
    return pd.read_csv(folder / "calibration.csv")


@pytest.mark.parametrize("runs", [1, 2])
def test_table_of_labelled_regions_and_of_all_voxels(tmp_path: Path, runs: int) -> None:
    every = cases(0, 3)
    table = evaluate(tmp_path / "out", [every[:2], every[2:]], REGIONS, runs)
    assert list(table.columns) == ["region", "ece", "ace", "brier", "nll", "cases"]
    assert table["region"].tolist() == ["outer", "inner", "pooled"]
    assert table["cases"].tolist() == [3, 3, 3]
    channels = {"outer": [0], "inner": [2], "pooled": [0, 2]}
    for row in table.to_dict("records"):
        p, y = (
            torch.cat([case[k][channels[row["region"]]].flatten() for case in every]) for k in ("probability", "label")
        )
        reliability = Reliability()
        reliability.update(p, y)
        assert {k: row[k] for k in ("ece", "ace", "brier", "nll")} == pytest.approx(reliability.errors(), rel=1e-5)
        assert row["brier"] == pytest.approx(float(((p - y) ** 2).mean()), rel=1e-5)
    assert min(Image.open(tmp_path / "out" / "reliability.png").size) > 500


def test_perfect_probabilities_of_a_single_region(tmp_path: Path) -> None:
    label = torch.from_numpy(np.eye(8)[None])
    table = evaluate(tmp_path, [[{"probability": label, "label": label}]], {"nodule": [1]})
    assert table["region"].tolist() == ["nodule", "pooled"]
    assert table[["ece", "ace", "brier"]].to_numpy().tolist() == [[0, 0, 0]] * 2


def test_cases_without_a_label_do_not_count(tmp_path: Path) -> None:
    every = cases(0, 3)
    for nothing in ({}, {"label": None}):
        unlabelled = {"probability": torch.rand(3, 4, 4), **nothing}
        table = evaluate(tmp_path / str(len(nothing)), [[every[0], unlabelled], every[1:]], REGIONS)
        pd.testing.assert_frame_equal(table, evaluate(tmp_path / "expected", [every], REGIONS))


def test_nothing_is_written_where_no_case_has_a_label(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"calibration\.csv"):
        evaluate(tmp_path / "out", [[{"probability": torch.rand(3, 4, 4), "label": None}]], REGIONS)
    assert list((tmp_path / "out").iterdir()) == []


def test_folder_that_cannot_be_written_is_said_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="Cannot write"):
        CalibrationReport(tmp_path / "file" / "below", REGIONS)
