# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import io
import math
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from harness.budget import BudgetCosineSchedule, TimeBudget, seconds_now
from ignite.engine import Engine, Events

CPU = torch.device("cpu")


class Clock:
    """A clock that moves only where a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self, device: torch.device) -> float:
        return self.now

    def spend(self, seconds: float) -> None:
        self.now += seconds


class Validation:
    """An evaluator that takes its time and whose key metric counts its runs."""

    def __init__(self, clock: Clock, seconds: float) -> None:
        self.clock, self.seconds = clock, seconds
        self.epochs: list[int] = []
        self.state = SimpleNamespace(key_metric_name="val_mean_dice", metrics={"other": -1.0})

    def run(self, epoch: int) -> None:
        self.clock.spend(self.seconds)
        self.epochs.append(epoch)
        self.state.metrics["val_mean_dice"] = 0.1 * len(self.epochs)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("harness.budget.seconds_now", clock)
    return clock


def trainer(clock: Clock, step: float, reading: float = 0.0) -> tuple[Engine, Any]:
    """An engine whose iterations take a time, and its data, whose reading takes some more."""

    class Data:
        def __len__(self) -> int:
            return 3

        def __iter__(self) -> Iterator[int]:
            for i in range(len(self)):
                clock.spend(reading)
                yield i

    return Engine(lambda engine, batch: clock.spend(step)), Data()


def train(clock: Clock, budget: TimeBudget, step: float = 1.0, reading: float = 0.0, epochs: int = 10**6) -> Engine:
    engine, data = trainer(clock, step, reading)
    engine.add_event_handler(Events.EPOCH_COMPLETED, lambda: clock.spend(100))  # what no method answers for
    budget.attach(engine)
    engine.run(data, max_epochs=epochs)
    return engine


def test_training_ends_once_the_time_is_over(clock: Clock) -> None:
    budget = TimeBudget(10.0, CPU, Validation(clock, 0.0))
    engine = train(clock, budget)
    assert engine.state.iteration == 10
    assert (budget.elapsed, budget.share) == (10.0, 1.0)


def test_last_iteration_is_finished_and_counted(clock: Clock) -> None:
    budget = TimeBudget(10.0, CPU, Validation(clock, 0.0))
    assert train(clock, budget, step=4.0).state.iteration == 3
    assert (budget.elapsed, budget.share) == (12.0, 1.0)


def test_time_of_reading_counts(clock: Clock) -> None:
    budget = TimeBudget(12.0, CPU, Validation(clock, 0.0))
    assert train(clock, budget, step=1.0, reading=0.5).state.iteration == 8
    assert budget.elapsed == 12.0


def test_validations_at_equal_shares_whose_time_does_not_count(clock: Clock) -> None:
    validation = Validation(clock, 7.0)
    budget = TimeBudget(40.0, CPU, validation, validations=4)
    assert train(clock, budget).state.iteration == 40
    assert budget.curve == [[10.0, 10, 0.1], [20.0, 20, 0.2], [30.0, 30, pytest.approx(0.3)], [40.0, 40, 0.4]]
    assert validation.epochs == [4, 7, 10, 14]  # of three iterations each


def test_shares_are_those_of_the_time_not_of_the_updates(clock: Clock) -> None:
    engine, data = trainer(clock, 0.0)
    engine.add_event_handler(Events.ITERATION_STARTED, lambda e: clock.spend(e.state.iteration))
    budget = TimeBudget(55.0, CPU, Validation(clock, 0.0), validations=2)
    budget.attach(engine)
    engine.run(data, max_epochs=100)
    assert [point[:2] for point in budget.curve] == [[28.0, 7], [55.0, 10]]  # 1 + 2 + ... + 7 is the first over 27.5


def test_slow_iterations_still_end_with_a_validation(clock: Clock) -> None:
    validation = Validation(clock, 1.0)
    budget = TimeBudget(10.0, CPU, validation)
    train(clock, budget, step=6.0)
    assert budget.curve == [[6.0, 1, 0.1], [12.0, 2, 0.2]]


def test_resumed_run_has_the_rest_of_the_time(clock: Clock) -> None:
    first = TimeBudget(40.0, CPU, Validation(clock, 1.0), validations=4)
    train(clock, first, epochs=5)  # ended after 15 iterations
    assert first.share == 15 / 40
    buffer = io.BytesIO()
    torch.save(first.state_dict(), buffer)
    buffer.seek(0)
    clock.spend(10_000)  # what passes between the runs is nobody's time
    second = TimeBudget(40.0, CPU, Validation(clock, 1.0), validations=4)
    second.load_state_dict(torch.load(buffer, weights_only=True))
    assert (second.elapsed, second.curve) == (15.0, [[10.0, 10, 0.1]])
    assert train(clock, second).state.iteration == 25
    assert [point[0] for point in second.curve] == [10.0, 20.0, 30.0, 40.0]


def test_run_resumed_after_its_end_adds_no_validation(clock: Clock) -> None:
    budget = TimeBudget(4.0, CPU, Validation(clock, 1.0), validations=2)
    train(clock, budget)
    again = TimeBudget(4.0, CPU, Validation(clock, 1.0), validations=2)
    again.load_state_dict(budget.state_dict())
    assert train(clock, again).state.iteration == 1
    assert [point[0] for point in again.curve] == [2.0, 4.0]


def schedule(warmup: float = 0.05) -> tuple[TimeBudget, torch.optim.Optimizer, BudgetCosineSchedule]:
    budget = TimeBudget(60.0, CPU)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=2.0)
    return budget, optimizer, BudgetCosineSchedule(optimizer, budget, warmup)


def rate(elapsed: float, steps: int = 1) -> float:
    """The learning rate after some updates, the last of which ended at a time."""
    budget, optimizer, scheduler = schedule()
    budget.elapsed = elapsed
    for _ in range(steps):
        optimizer.step()
        scheduler.step()
    return optimizer.param_groups[0]["lr"]


def cosine(elapsed: float) -> float:
    return 1.0 + math.cos(math.pi * elapsed / 60.0)


def test_first_update_has_a_tenth_of_the_rate() -> None:
    assert schedule()[1].param_groups[0]["lr"] == pytest.approx(0.2)


@pytest.mark.parametrize(("elapsed", "risen"), [(0.0, 0.1), (1.0, 0.4), (2.0, 0.7), (3.0, 1.0), (4.0, 1.0)])
@pytest.mark.parametrize("steps", [1, 200], ids=["slow", "fast"])
def test_rate_rises_linearly_over_the_first_3_of_60_seconds(elapsed: float, risen: float, steps: int) -> None:
    assert rate(elapsed, steps) == pytest.approx(risen * cosine(elapsed))


@pytest.mark.parametrize(
    ("elapsed", "expected"), [(20, 1.5), (30, 1.0), (40, 0.5), (60, 0.0), (63, 0.0)], ids=lambda v: str(v)
)
@pytest.mark.parametrize("steps", [1, 50])
def test_rate_falls_along_a_cosine_of_the_time_whatever_the_number_of_updates(
    elapsed: float, expected: float, steps: int
) -> None:
    assert rate(elapsed, steps) == pytest.approx(expected, abs=1e-9)


def test_rate_of_a_resumed_run_goes_on(clock: Clock) -> None:
    budget, optimizer, scheduler = schedule()
    for _ in range(9):
        optimizer.step()
        scheduler.step()
    state = scheduler.state_dict()
    budget, optimizer, scheduler = schedule()
    scheduler.load_state_dict(state)
    budget.load_state_dict({"elapsed": 20.0, "curve": []})
    optimizer.step()
    scheduler.step()
    assert optimizer.param_groups[0]["lr"] == pytest.approx(1.5)


@pytest.mark.parametrize(("threads", "expected"), [(1, 5.0), (2, 70.0)], ids=["process time", "wall time"])
def test_clock_of_a_processor(monkeypatch: pytest.MonkeyPatch, threads: int, expected: float) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    monkeypatch.setattr(time, "process_time", lambda: 5.0)
    monkeypatch.setattr(time, "perf_counter", lambda: 70.0)
    assert seconds_now(CPU) == expected
