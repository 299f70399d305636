# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ignite.engine import Engine
from monai.data import MetaTensor
from monai.handlers import HausdorffDistance, MeanDice, MeanIoUHandler, from_engine
from monai.transforms import AsDiscreted
from torch import nn

from medsegdiff_monai.engines import DiffusionSegmentationEvaluator
from medsegdiff_monai.handlers import MetricsTable
from medsegdiff_monai.inferers import DiffusionSegmentationInferer
from medsegdiff_monai.networks.schedulers import DPMSolverScheduler
from medsegdiff_monai.utils import InputError

SIZE = 8


class Threshold(nn.Module):
    """Answers with the image itself: above one half is the object."""

    def forward(self, x: torch.Tensor, timesteps: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
        return 40 * (context - 0.5)


def square(first: int, last: int, column: int = 2) -> torch.Tensor:
    """A mask of the rows ``first`` to ``last``, without ``last``, of two columns."""
    mask = torch.zeros(1, SIZE, SIZE)
    mask[:, first:last, column : column + 2] = 1
    return mask


def batch(image: torch.Tensor, label: torch.Tensor, file: str) -> dict[str, torch.Tensor]:
    """A batch of one, as MONAI's collation makes it."""
    metadata = MetaTensor(image[None], meta={"filename_or_obj": [file]})
    metadata.is_batch = True
    return {"image": metadata, "label": label[None]}


def evaluate(folder: Path, batches: list[dict[str, torch.Tensor]], runs: int = 1) -> None:
    pair = {"include_background": True, "output_transform": from_engine(["pred", "label"])}
    evaluator = DiffusionSegmentationEvaluator(
        device=torch.device("cpu"),
        val_data_loader=batches,
        network=Threshold(),
        inferer=DiffusionSegmentationInferer(DPMSolverScheduler(prediction_type="sample"), 1, 1, signal_scale=0.3),
        postprocessing=AsDiscreted("pred", threshold=0.5),
        key_val_metric={"dice": MeanDice(**pair)},
        additional_metrics={"iou": MeanIoUHandler(**pair), "hd95": HausdorffDistance(percentile=95, **pair)},
        val_handlers=[MetricsTable(folder)],
    )
    for _ in range(runs):
        evaluator.run()


# Three cases by hand: half overlap, the same mask, and nothing found.
CASES = [
    batch(square(2, 4), square(3, 5), "/data/half.png"),  # 2 of 4 and 4 pixels: Dice 1/2, IoU 1/3, one pixel off
    batch(square(1, 6), square(1, 6), "/data/p.01.nii.gz"),
    batch(0.25 * square(2, 4), square(2, 4), "/data/none.PNG"),
]


def test_tables_of_hand_made_cases(tmp_path: Path) -> None:
    evaluate(tmp_path / "results", CASES)
    assert (tmp_path / "results" / "metrics.csv").read_text() == (
        "case,dice,iou,hd95\nhalf,0.5,0.333333,1\np.01,1,1,0\nnone,0,0,\n"
    )
    header, rule, *rows = (tmp_path / "results" / "metrics.md").read_text().splitlines()
    assert header == "| metric | mean | standard deviation | median | worst decile | cases |"
    assert rule == "|---|---|---|---|---|---|"
    # Deviations by the population's formula; the worst decile by linear interpolation, for a distance the largest.
    third = 1 / 3
    expected = {
        "dice": (0.5, ((0.25 + 0 + 0.25) / 3) ** 0.5, 0.5, 0.1, 3),
        "iou": (4 / 9, np.std([third, 1, 0]), third, third / 5, 3),
        "hd95": (0.5, 0.5, 0.5, 0.9, 2),
    }
    assert rows == [
        f"| {name} | {mean:.4f} | {deviation:.4f} | {median:.4f} | {worst:.4f} | {count} |"
        for name, (mean, deviation, median, worst, count) in expected.items()
    ]
    assert sorted(p.name for p in (tmp_path / "results").iterdir()) == ["metrics.csv", "metrics.md"]


def test_second_run_starts_its_table_anew(tmp_path: Path) -> None:
    evaluate(tmp_path, CASES, runs=2)
    with (tmp_path / "metrics.csv").open() as file:
        assert [row["case"] for row in csv.DictReader(file)] == ["half", "p.01", "none"]


def finished(folder: Path, metas: list[dict[str, Any]], details: dict[str, Any], columns: Any = None) -> list[str]:
    """The lines of the table of an evaluation of which only the outcome is given."""
    items = [{"image": MetaTensor(torch.zeros(1, 2, 2), meta=meta)} for meta in metas]
    engine = Engine(lambda *_: items)
    engine.state.metric_details = {k: torch.tensor(v) for k, v in details.items()}
    if columns is not None:
        engine.state.metric_columns = columns
    MetricsTable(folder).attach(engine)
    engine.run([0])
    return (folder / "metrics.csv").read_text().splitlines()


A, B = ({"filename_or_obj": f"/data/{name}.png"} for name in "ab")


def summary(folder: Path) -> dict[str, list[str]]:
    """The fields of the summary by metric."""
    lines = (folder / "metrics.md").read_text().splitlines()[2:]
    rows = [[field.strip() for field in line.strip("|").split("|")] for line in lines]
    return {row[0]: row[1:] for row in rows}


def test_channels_are_columns_and_values_that_are_none_are_empty(tmp_path: Path) -> None:
    dice = [[0.25, float("nan")], [0.75, 0.5]]
    distance = [[float("inf"), -float("inf")], [float("nan"), 2.0]]
    table = finished(tmp_path, [A, B], {"dice": dice, "hd95": distance})
    assert table == ["case,dice_0,dice_1,hd95_0,hd95_1", "a,0.25,,,", "b,0.75,0.5,,2"]
    rows = summary(tmp_path)
    assert [row[-1] for row in rows.values()] == ["2", "1", "0", "1"]
    assert rows["dice_0"] == ["0.5000", "0.2500", "0.5000", "0.3000", "2"]


def test_columns_have_the_names_that_the_engine_states(tmp_path: Path) -> None:
    details = {"dice": [[0.25, 0.5], [0.75, 1.0]], "iou": [[0.5], [1.0]], "cdr": [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]}
    columns = {"dice": ["disc", "cup"], "iou": ["disc"]}
    table = finished(tmp_path, [A, B], details, columns)
    assert table == [
        "case,dice_disc,dice_cup,iou,cdr_0,cdr_1,cdr_2",
        "a,0.25,0.5,0.5,1,2,3",
        "b,0.75,1,1,4,5,6",
    ]


def test_worst_decile_is_that_of_the_larger_distances_and_errors(tmp_path: Path) -> None:
    values = [[float(i)] * 2 for i in range(11)]  # the lowest decile is 1, the highest 9
    columns = {"hd95": ["disc", "cup"], "cdr": ["reference", "absolute_error"], "iou": ["disc", "cup"]}
    finished(tmp_path, [A] * 11, dict.fromkeys(columns, values), columns)
    assert {name: row[3] for name, row in summary(tmp_path).items()} == {
        "hd95_disc": "9.0000",
        "hd95_cup": "9.0000",
        "cdr_reference": "1.0000",
        "cdr_absolute_error": "9.0000",
        "iou_disc": "1.0000",
        "iou_cup": "1.0000",
    }


def test_case_has_the_name_of_its_metadata_before_that_of_its_file(tmp_path: Path) -> None:
    named = {"filename_or_obj": "/data/0007/flair.nii.gz", "case": "BraTS20.7"}
    table = finished(tmp_path, [named, A], {"dice": [[0.5], [1.0]]})
    assert table == ["case,dice", "BraTS20.7,0.5", "a,1"]


def test_name_that_would_be_a_formula_or_steer_a_terminal_is_harmless(tmp_path: Path) -> None:
    metas = [{"filename_or_obj": "/data/=1+1.png"}, {"case": "a\x1b[2J"}]
    assert finished(tmp_path, metas, {"dice": [[0.5], [1.0]]})[1:] == ["'=1+1,0.5", "a\\x1b[2J,1"]


def test_unwritable_folder_is_refused_before_the_evaluation(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="Cannot write to the output folder"):
        MetricsTable(tmp_path / "file" / "results")


def test_interrupted_write_leaves_the_old_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    finished(tmp_path, [A], {"dice": [[0.25]]})

    def fail(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    before = {p.name: p.read_text() for p in tmp_path.iterdir()}
    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(InputError, match=r"Cannot write .*metrics.csv \(No space left on device\)"):
        finished(tmp_path, [A], {"dice": [[0.75]]})
    assert {p.name: p.read_text() for p in tmp_path.iterdir()} == before
