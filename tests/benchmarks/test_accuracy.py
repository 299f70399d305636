# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import contextlib
import csv
import io
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import accuracy
import pytest
import torch
from harness.cell import run_cell
from harness.grid import Cell
from harness.methods import METHODS
from ignite.handlers import EMAHandler
from monai.utils import set_determinism

from medsegdiff_monai.data.phantoms import write_phantoms
from medsegdiff_monai.utils import InputError

pytestmark = pytest.mark.slow

NAMES = ["007", "008", "009"]  # a spreadsheet would make numbers of them
SECONDS = 0.6
SMALL = {"methods": "basic_unet", "seeds": 0, "minutes": SECONDS / 60, "size": 32, "workers": 1}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Phantoms in the place of thyroid ultrasound: two batches to train on, three pictures larger than the input."""
    root = tmp_path_factory.mktemp("data")
    path = write_phantoms(root / "ultrasound_ddti", "ultrasound", 16, 2, 3, 40, seed=5)
    content = json.loads(path.read_text())
    for case, name in zip(content["test"], NAMES):
        case["case"] = name
    path.write_text(json.dumps(content))
    return root


def state_of(out: Path) -> dict[str, Any]:
    """What the cells have left."""
    files = [
        p
        for p in (out / "cells").rglob("*")
        if p.name in ("result.json", "failed.txt", "log.txt", "last.pt", "training.json")
    ]
    return {str(p.relative_to(out / "cells")): (p.stat().st_mtime_ns, p.read_bytes()) for p in files}


@pytest.fixture(scope="module")
def calls(data: Path, tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """Three calls of one grid, of which one cell has a broken image: the first, a second, and a retry when mended."""
    root = tmp_path_factory.mktemp("grid")
    shutil.copytree(data, root / "data")
    shutil.copytree(data / "ultrasound_ddti", root / "data" / "ultrasound_busi")
    image = root / "data" / "ultrasound_busi" / "images" / "training_0003.png"
    whole = image.read_bytes()
    image.write_bytes(whole[:100])
    printed, states, reports, codes = [], [], [], []
    sets = ("ultrasound_ddti", "ultrasound_busi")
    for retry in (False, False, True):
        code = 0
        with contextlib.redirect_stdout(io.StringIO()) as text:
            try:
                accuracy.main(data=str(root / "data"), out=str(root / "out"), datasets=sets, retry=retry, **SMALL)
            except SystemExit as e:
                code = e.code
        codes.append(code)
        printed.append(text.getvalue())
        states.append(state_of(root / "out"))
        reports.append((root / "out" / "accuracy.md").read_text())
        if len(printed) == 2:
            image.write_bytes(whole)
    return SimpleNamespace(root=root, printed=printed, states=states, reports=reports, codes=codes)


GOOD, BROKEN = "ultrasound_ddti/basic_unet/seed_0", "ultrasound_busi/basic_unet/seed_0"


def test_failed_cell_is_marked_and_the_other_finished(calls: SimpleNamespace) -> None:
    state = calls.states[0]
    assert f"{GOOD}/result.json" in state
    assert f"{GOOD}/failed.txt" not in state
    assert f"{BROKEN}/result.json" not in state
    reason = state[f"{BROKEN}/failed.txt"][1].decode().strip()
    assert reason.startswith("1 of 16 cases could not be used")
    assert "training_0003" in reason
    assert "1 of 2 cells finished, 1 failed." in calls.reports[0]
    assert f"| ultrasound_busi | basic_unet | 0 | {reason} |" in calls.reports[0]
    assert "0 of 2 cells are finished, 0 failed" in calls.printed[0]
    assert calls.codes == [1, 1, 0]


def test_log_of_a_failed_cell_holds_the_traceback_and_ends_with_the_reason(calls: SimpleNamespace) -> None:
    log = calls.states[0][f"{BROKEN}/log.txt"][1].decode()
    assert "Traceback (most recent call last)" in log
    assert log.strip().splitlines()[-1].startswith("Error: 1 of 16 cases could not be used")


def test_result_holds_the_training_and_the_tests_of_all_cases(calls: SimpleNamespace) -> None:
    result = json.loads(calls.states[0][f"{GOOD}/result.json"][1])
    curve = result["training"]["curve"]
    times, iterations = ([point[i] for point in curve] for i in (0, 1))
    assert 1 <= len(curve) <= 8
    assert times == sorted(times)
    assert times[-1] == result["training"]["seconds"] >= SECONDS
    assert iterations[-1] == result["training"]["iterations"]
    (test,) = result["tests"]
    assert (test["data"], test["steps"], test["members"]) == ("ultrasound_ddti", 1, 1)
    assert test["cases"]["case"] == NAMES
    assert set(test["cases"]) == {"case", "dice", "iou", "hd95", "nsd"}
    for dice, iou in zip(test["cases"]["dice"], test["cases"]["iou"]):
        assert dice == pytest.approx(2 * iou / (1 + iou), abs=1e-4)
    assert sum(test["calibration"]["count"]) == 3 * 40 * 40  # at the pictures' own size
    assert f"{GOOD}/last.pt" not in calls.states[0]
    assert result["training"] == json.loads(calls.states[0][f"{GOOD}/training.json"][1])
    assert re.fullmatch(r"\d+\.\d+\.\d+\S*", result["version"])
    assert result["size"]["gflop_once"] > 0 == result["size"]["gflop_each"]  # a plain network has answered by then
    weights = torch.load(calls.root / "out" / "cells" / GOOD / "model.pt", weights_only=True)
    assert result["size"]["parameters_m"] == pytest.approx(sum(w.numel() for w in weights.values()) / 1e6, rel=0.01)


def test_second_call_runs_nothing(calls: SimpleNamespace) -> None:
    assert calls.states[1] == calls.states[0]
    assert calls.reports[1] == calls.reports[0]
    assert "1 of 2 cells are finished, 1 failed (--retry runs them again)" in calls.printed[1]
    assert "0 cells in" in calls.printed[1]


def test_retry_runs_the_failed_cell_alone_and_from_the_start(calls: SimpleNamespace) -> None:
    before, after = calls.states[1:]
    assert after[f"{GOOD}/result.json"] == before[f"{GOOD}/result.json"]
    assert after[f"{GOOD}/log.txt"] == before[f"{GOOD}/log.txt"]
    assert f"{BROKEN}/last.pt" not in before  # bad input is found before any training
    assert f"{BROKEN}/failed.txt" not in after
    assert f"{BROKEN}/result.json" in after
    assert "2 of 2 cells finished, 0 failed." in calls.reports[2]
    with (calls.root / "out" / "cases.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [r["case"] for r in rows] == NAMES * 2
    assert {r["dataset"] for r in rows} == {"ultrasound_ddti", "ultrasound_busi"}


def test_damaged_test_image_is_found_before_training(data: Path, tmp_path: Path) -> None:
    shutil.copytree(data, tmp_path / "data")
    image = tmp_path / "data" / "ultrasound_ddti" / "images" / "test_0001.png"
    image.write_bytes(image.read_bytes()[:100])
    with pytest.raises(InputError, match="1 of 3 cases could not be used"):
        run_cell(Cell("ultrasound_ddti", "basic_unet", 0, 1e6, size=(32, 32)), tmp_path / "cell", tmp_path / "data")
    assert not list((tmp_path / "cell").iterdir())


class Ticks:
    """A clock that moves by a second at each look, and stops the run at one of them."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.looks, self.stop_at = 0, stop_at

    def __call__(self, device: torch.device) -> float:
        self.looks += 1
        if self.looks == self.stop_at:
            raise KeyboardInterrupt
        return float(self.looks)


def test_interrupted_cell_ends_as_the_unbroken_one(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    average = {
        "_target_": "ignite.handlers.EMAHandler",
        "model": "@network",
        "momentum": 0.1,
    }  # the bundle's: see there
    method = METHODS["basic_unet"]
    plain = replace(method, overlay=lambda ours, size: {**method.overlay(ours, size), "ema": average})
    monkeypatch.setitem(METHODS, "basic_unet", plain)
    cell = Cell("ultrasound_ddti", "basic_unet", 3, 6.0, size=(32, 32))
    monkeypatch.setattr("harness.budget.seconds_now", Ticks())
    run_cell(cell, tmp_path / "unbroken", data)
    monkeypatch.setattr("harness.budget.seconds_now", Ticks(stop_at=9))  # at the start of the fifth update
    with pytest.raises(KeyboardInterrupt):
        run_cell(cell, tmp_path / "broken", data)
    assert torch.load(tmp_path / "broken" / "last.pt", weights_only=True)["budget"]["elapsed"] == 4.0
    monkeypatch.setattr("harness.budget.seconds_now", Ticks())
    run_cell(cell, tmp_path / "broken", data)
    set_determinism(None)
    results = [json.loads((tmp_path / n / "result.json").read_text()) for n in ("unbroken", "broken")]
    assert results[0]["training"]["iterations"] == 6
    assert results[0]["training"]["curve"] == results[1]["training"]["curve"]
    assert results[0]["tests"][0]["cases"] == results[1]["tests"][0]["cases"]


def test_failure_in_the_tests_does_not_train_again(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cell = Cell("ultrasound_ddti", "basic_unet", 0, 2.0, size=(32, 32), section="validation")
    monkeypatch.setattr("harness.budget.seconds_now", Ticks())
    with monkeypatch.context() as broken:
        broken.setattr("harness.cell.pd.read_csv", lambda *a, **k: (_ for _ in ()).throw(OSError("no table")))
        with pytest.raises(OSError, match="no table"):
            run_cell(cell, tmp_path, data)
    weights = (tmp_path / "model.pt").read_bytes()
    monkeypatch.setattr("harness.cell._train", lambda *arguments: pytest.fail("it has been trained"))
    run_cell(cell, tmp_path, data)
    set_determinism(None)
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["training"]["iterations"] == 2
    assert result["tests"][0]["cases"]["case"] == ["validation_0000", "validation_0001"]
    assert (tmp_path / "model.pt").read_bytes() == weights


def test_weights_are_those_at_the_end_whatever_the_validations_say(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    averages = []

    class Averages(EMAHandler):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            averages.append(self.ema_model)

    monkeypatch.setattr("ignite.handlers.EMAHandler", Averages)
    # As if the network had been best before it learnt anything.
    monkeypatch.setattr("harness.budget.BudgetCosineSchedule.get_lr", lambda self: [-1.0 for _ in self.base_lrs])
    monkeypatch.setattr("harness.budget.seconds_now", Ticks())
    run_cell(Cell("ultrasound_ddti", "basic_unet", 0, 3.0, size=(32, 32), section="validation"), tmp_path, data)
    set_determinism(None)
    weights = torch.load(tmp_path / "model.pt", weights_only=True)
    (average,) = averages
    assert [n for n, w in average.state_dict().items() if not torch.equal(weights[f"denoiser.{n}"], w)] == []
