# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from ignite.engine import Engine
from monai.bundle import ConfigParser
from monai.data import DataLoader, Dataset, MetaTensor
from monai.engines import SupervisedEvaluator
from torch import nn

from medsegdiff_monai.handlers import MetricsTable, RegionMetricHandler
from medsegdiff_monai.metrics import CupToDiscRatio, RegionDice, RegionHausdorffDistance, RegionIoU
from medsegdiff_monai.utils import InputError

BOTH = {"disc": [1, 2], "cup": [2]}
DISC = {"disc": [1, 2], "cup": []}
CUP = {"disc": [], "cup": [2]}
AFFINE = torch.diag(torch.tensor([1.0, 0.5, 1.0, 1.0], dtype=torch.float64))


def rows(disc: tuple[int, int], cup: tuple[int, int]) -> torch.Tensor:
    """Masks of disc and cup, each from a first row until, but without, a last, over four columns."""
    masks = torch.zeros(2, 6, 12)
    for channel, (first, last) in enumerate((disc, cup)):
        masks[channel, 1:5, first:last] = 1
    return masks


# By hand: disc and cup of 8 and 4 rows. First case: half of the disc, the cup two rows off. Second: no cup found.
LABELS = [rows((2, 10), (4, 8)), rows((2, 10), (4, 8))]
PREDICTIONS = [rows((2, 6), (6, 10)), rows((2, 10), (0, 0))]
DICE = [[2 * 4 / 12, 0.5], [1.0, 0.0]]


def run(handlers: dict[str, RegionMetricHandler], as_list: bool = True) -> Engine:
    """An engine that gives the cases, one list or one batch of them in an iteration."""
    items = [{"pred": p, "label": y} for p, y in zip(PREDICTIONS, LABELS)]
    batch = {"pred": torch.stack(PREDICTIONS), "label": torch.stack(LABELS)}
    engine = Engine(lambda *_: items if as_list else batch)
    for name, handler in handlers.items():
        handler.attach(engine, name)
    engine.run([0])
    return engine


@pytest.mark.parametrize("as_list", [True, False])
@pytest.mark.parametrize(
    ("regions", "columns", "channels"),
    [(BOTH, ["disc", "cup"], [0, 1]), (DISC, ["disc"], [0]), (CUP, ["cup"], [1])],
    ids=["both", "disc", "cup"],
)
def test_labelled_regions_alone_are_scored(
    regions: dict[str, list[int]], columns: list[str], channels: list[int], as_list: bool
) -> None:
    state = run({"dice": RegionMetricHandler(RegionDice(), regions)}, as_list).state
    expected = torch.tensor(DICE)[:, channels]
    torch.testing.assert_close(state.metric_details["dice"], expected)
    assert state.metrics["dice"] == pytest.approx(expected.mean().item())
    assert state.metric_columns == {"dice": columns}


def test_several_metrics_in_one_engine() -> None:
    handlers = {
        "iou": RegionMetricHandler(RegionIoU(), DISC),
        "hd95": RegionMetricHandler(RegionHausdorffDistance(), BOTH),
        "cdr": RegionMetricHandler(CupToDiscRatio(), BOTH),
    }
    state = run(handlers).state
    assert state.metric_columns == {
        "iou": ["disc"],
        "hd95": ["disc", "cup"],
        "cdr": ["predicted", "reference", "absolute_error"],
    }
    assert state.metric_details["iou"].tolist() == [[0.5], [1.0]]
    diagonal = math.hypot(6, 12)
    distances = [[4, 2], [0, diagonal]]
    torch.testing.assert_close(state.metric_details["hd95"], torch.tensor(distances))
    assert state.metrics["hd95"] == pytest.approx((4 + 2 + 0 + diagonal) / 4)
    assert state.metric_details["cdr"].tolist() == [[1.0, 0.5, 0.5], [0.0, 0.5, 0.5]]
    assert state.metrics["cdr"] == 0.5


def test_predictions_can_be_under_another_key() -> None:
    handler = RegionMetricHandler(RegionDice(), BOTH, predictions="label")
    assert run({"dice": handler}).state.metrics["dice"] == 1.0


@pytest.mark.parametrize(
    ("metric", "regions", "message"),
    [
        (CupToDiscRatio(), {"nodule": [1]}, "needs a region in channel 1, and the regions are nodule: leave"),
        (CupToDiscRatio(0, -1), BOTH, "needs a region in channel -1"),
        (RegionDice(), {"disc": [], "cup": []}, "None of the regions disc, cup is labelled.*leave RegionDice out"),
    ],
    ids=["other regions", "no channel", "nothing"],
)
def test_metric_without_reference_is_refused(metric: Any, regions: dict[str, list[int]], message: str) -> None:
    with pytest.raises(InputError, match=message):
        RegionMetricHandler(metric, regions)


@pytest.mark.parametrize(("regions", "absent"), [(DISC, "cup"), (CUP, "disc")], ids=["no cup", "no disc"])
def test_ratio_is_left_out_where_a_region_is_not_labelled(
    regions: dict[str, list[int]], absent: str, caplog: pytest.LogCaptureFixture
) -> None:
    handlers = {
        "dice": RegionMetricHandler(RegionDice(), regions),
        "vcdr": RegionMetricHandler(CupToDiscRatio(), regions),
    }
    assert set(run(handlers).state.metrics) == {"dice"}
    assert f"vcdr is left out: {absent} not labelled in these data." in caplog.text


@pytest.mark.parametrize("as_list", [True, False])
def test_masks_with_other_channels_are_refused(as_list: bool) -> None:
    handler = RegionMetricHandler(RegionDice(), {"TC": [1, 4], "WT": [1, 2, 4], "ET": [4]})
    with pytest.raises(ValueError, match="a channel for each of the regions TC, WT, ET, got 2"):
        run({"dice": handler}, as_list)


def config(kind: str, **options: Any) -> dict[str, Any]:
    return {
        "_target_": "medsegdiff_monai.handlers.RegionMetricHandler",
        "metric": {"_target_": f"medsegdiff_monai.metrics.{kind}", **options},
        "regions": "@regions",
    }


def test_bundle_configuration_scores_and_tabulates_a_data_set(tmp_path: Path) -> None:
    """MONAI's evaluator, whose network's answer is the image, on batches of volumes of anisotropic spacing."""
    cases = [
        {
            "image": MetaTensor(p[:, :, :, None].repeat(1, 1, 1, 3), meta={"filename_or_obj": f"/data/{n}.nii.gz"}),
            "label": MetaTensor(y[:, :, :, None].repeat(1, 1, 1, 3), affine=AFFINE),
        }
        for n, p, y in zip("ab", PREDICTIONS, LABELS)
    ]
    parser = ConfigParser(
        {
            "regions": BOTH,
            "key_metric": {"dice": config("RegionDice")},
            "metrics": {"hd100": config("RegionHausdorffDistance", percentile=100)},
            "table": {"_target_": "medsegdiff_monai.handlers.MetricsTable", "output_dir": str(tmp_path)},
        }
    )
    table = parser.get_parsed_content("table")
    assert isinstance(table, MetricsTable)
    evaluator = SupervisedEvaluator(
        device=torch.device("cpu"),
        val_data_loader=DataLoader(Dataset(cases), batch_size=2),
        network=nn.Identity(),
        key_val_metric=parser.get_parsed_content("key_metric"),
        additional_metrics=parser.get_parsed_content("metrics"),
        val_handlers=[table],
    )
    for _ in range(2):
        evaluator.run()
    assert evaluator.state.key_metric_name == "dice"
    assert evaluator.state.best_metric == pytest.approx(sum(map(sum, DICE)) / 4)
    with (tmp_path / "metrics.csv").open() as file:
        written = list(csv.DictReader(file))
    assert list(written[0]) == ["case", "dice_disc", "dice_cup", "hd100_disc", "hd100_cup"]
    diagonal = math.sqrt(6**2 + (12 * 0.5) ** 2 + 3**2)
    expected = [[*DICE[0], 2.0, 1.0], [*DICE[1], 0.0, diagonal]]  # four rows and two rows of half a millimetre
    for row, case, values in zip(written, "ab", expected, strict=True):
        assert row.pop("case") == case
        assert [float(v) for v in row.values()] == pytest.approx(values, rel=1e-5)
