# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from typing import Any

import pytest
import torch
from monai.data import DataLoader, Dataset, MetaTensor
from monai.engines.utils import IterationEvents
from monai.handlers import MeanDice, from_engine
from monai.transforms import AsDiscreted
from torch import nn

from medsegdiff_monai.engines import DiffusionSegmentationEvaluator
from medsegdiff_monai.handlers import RegionMetricHandler
from medsegdiff_monai.inferers import DiffusionSegmentationInferer
from medsegdiff_monai.metrics import RegionDice
from medsegdiff_monai.networks.schedulers import DPMSolverScheduler
from medsegdiff_monai.utils import InputError, reason_of


class Watched(nn.Module):
    """A denoiser with a weight, which notes under what circumstances it is called."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([[2.0]]))
        self.calls: list[tuple[bool, bool, torch.dtype]] = []

    def forward(self, x: torch.Tensor, timesteps: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
        flat = (context + 0.3 * x).flatten()[:, None]
        logits = nn.functional.linear(flat, self.weight)
        self.calls.append((self.training, torch.is_grad_enabled(), logits.dtype))
        return logits.view_as(x)


def cases(count: int = 3, label: bool = True) -> list[dict[str, Any]]:
    generator = torch.Generator().manual_seed(0)
    items = []
    for i in range(count):
        image = MetaTensor(torch.randn(1, 6, 4, generator=generator), meta={"filename_or_obj": f"/data/{i}.png"})
        items.append({"image": image, **({"label": (image.as_tensor() > 0).float()} if label else {})})
    return items


def inferer(members: int = 3) -> DiffusionSegmentationInferer:
    return DiffusionSegmentationInferer(DPMSolverScheduler(prediction_type="sample"), 4, members, signal_scale=0.3)


def evaluator(data: list, network: nn.Module, batch_size: int = 1, **settings: Any) -> DiffusionSegmentationEvaluator:
    arguments = {"inferer": inferer(), "device": torch.device("cpu"), **settings}
    loader = DataLoader(Dataset(data), batch_size=batch_size)
    return DiffusionSegmentationEvaluator(val_data_loader=loader, network=network, **arguments)


@pytest.mark.parametrize("batch_size", [1, 3])
@pytest.mark.parametrize("label", [True, False], ids=["labelled", "unlabelled"])
def test_outputs_are_those_of_the_inferer_case_by_case(batch_size: int, label: bool) -> None:
    data = cases(label=label)
    seen: list[dict[str, Any]] = []
    evaluator(data, Watched(), batch_size, postprocessing=lambda d: seen.append(dict(d)) or d).run()
    assert [d["image"].meta["filename_or_obj"] for d in seen] == ["/data/0.png", "/data/1.png", "/data/2.png"]
    for item, case in zip(seen, data, strict=True):
        expected = inferer().predict(case["image"].as_tensor()[None], Watched())
        torch.testing.assert_close(item["pred"].as_tensor(), expected.probability[0])
        torch.testing.assert_close(item["members"].as_tensor(), expected.members[0].flatten(0, 1))
        assert item["members"].shape == (3, 6, 4)
        assert float(item["members"].std(0).max()) > 1e-3
        for key in ("pred", "members"):
            assert item[key].meta["filename_or_obj"] == case["image"].meta["filename_or_obj"]
        if label:
            torch.testing.assert_close(item["label"], case["label"])


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("amp", [True, False])
def test_network_runs_in_evaluation_mode_and_under_autocast_where_asked(training: bool, amp: bool) -> None:
    network = Watched().train(training)
    seen: list[torch.dtype] = []
    postprocessing = lambda d: seen.append(d["pred"].dtype) or d  # noqa: E731
    settings = {"amp": amp, "amp_kwargs": {"dtype": torch.bfloat16}, "postprocessing": postprocessing}
    evaluator(cases(1), network, **settings).run()
    assert set(network.calls) == {(False, False, torch.bfloat16 if amp else torch.float32)}
    assert network.training == training
    assert seen == [torch.float32]


def test_metric_is_that_of_the_prediction() -> None:
    data = cases()
    data[1]["label"] = 1 - data[1]["label"]
    metric = MeanDice(include_background=True, output_transform=from_engine(["pred", "label"]))
    engine = evaluator(data, Watched(), postprocessing=AsDiscreted("pred", threshold=0.5), key_val_metric={"d": metric})
    engine.run()
    dice = []
    for case in data:
        pred = inferer().predict(case["image"].as_tensor()[None], Watched()).probability[0] > 0.5
        label = case["label"] > 0
        dice.append(2 * float((pred & label).sum()) / float(pred.sum() + label.sum()))
    assert engine.state.metric_details["d"].flatten().tolist() == pytest.approx(dice)
    assert engine.state.metrics["d"] == pytest.approx(sum(dice) / 3)
    assert dice[0] > 0.9 > 0.2 > dice[1]


def test_events_of_an_iteration_are_fired_in_their_order() -> None:
    fired: list[str] = []
    engine = evaluator(cases(1), Watched())
    for event in (IterationEvents.MODEL_COMPLETED, IterationEvents.FORWARD_COMPLETED):
        engine.add_event_handler(event, lambda e, n: fired.append((n, "members" in e.state.output)), event.name)
    engine.run()
    assert [name for name, _ in fired] == ["FORWARD_COMPLETED", "MODEL_COMPLETED"]
    assert fired[0][1]


class Failing(Watched):
    """A denoiser that fails on images with a mark in their first pixel."""

    def forward(self, x: torch.Tensor, timesteps: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
        if bool((context[:, 0, 0, 0] == 99.0).any()):
            raise RuntimeError("the network cannot\nsegment this")
        return super().forward(x, timesteps, context)


def scored(data: list, network: nn.Module, batch_size: int = 1, **settings: Any) -> tuple[Any, dict[str, str]]:
    """An evaluation that has ended, and the cases that failed with their reasons."""
    failed: dict[str, str] = {}
    metric = RegionMetricHandler(RegionDice(), {"a": [1]})
    engine = evaluator(
        data,
        network,
        batch_size,
        key_val_metric={"dice": metric},
        on_failure=lambda case, error: failed.update({case: reason_of(error)}),
        **settings,
    )
    engine.run()
    return engine, failed


@pytest.mark.parametrize("marked", [0, 1, 2])
def test_a_case_that_the_network_fails_on_is_reported_and_the_others_are_scored(marked: int) -> None:
    data = cases()
    expected, none = scored(data, Watched(), postprocessing=AsDiscreted("pred", threshold=0.5))
    assert none == {}
    dice = expected.state.metric_details["dice"].flatten().tolist()
    data[marked]["image"][0, 0, 0] = 99.0
    engine, failed = scored(data, Failing(), postprocessing=AsDiscreted("pred", threshold=0.5))
    assert failed == {str(marked): "RuntimeError: the network cannot segment this"}
    found = engine.state.metric_details["dice"].flatten().tolist()
    assert found == pytest.approx([d for i, d in enumerate(dice) if i != marked])


@pytest.mark.parametrize("batch_size", [1, 3])
def test_a_case_that_cannot_be_saved_costs_no_other_one_of_its_batch(batch_size: int) -> None:
    saved: list[str] = []

    def save(case: dict[str, Any]) -> dict[str, Any]:
        name = case["image"].meta["filename_or_obj"]
        if name == "/data/1.png":
            raise OSError("No space left on device")
        saved.append(name)
        return AsDiscreted("pred", threshold=0.5)(case)

    engine, failed = scored(cases(), Watched(), batch_size, postprocessing=save)
    assert failed == {"1": "OSError: No space left on device"}
    assert saved == ["/data/0.png", "/data/2.png"]
    assert len(engine.state.metric_details["dice"]) == 2


def test_a_run_in_which_every_case_fails_says_so() -> None:
    data = cases()
    for case in data:
        case["image"][0, 0, 0] = 99.0
    with pytest.raises(InputError, match="None of the cases could be processed"):
        scored(data, Failing())


def test_without_a_way_to_report_it_a_failure_ends_the_run() -> None:
    data = cases()
    data[1]["image"][0, 0, 0] = 99.0
    with pytest.raises(RuntimeError, match="cannot"):
        evaluator(data, Failing()).run()
