# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from typing import ClassVar

import pytest
import torch

from medsegdiff_monai.data import EvaluationLoader, TrainingLoader, loaders
from medsegdiff_monai.data.loaders import FAILURES, FailedCase
from medsegdiff_monai.utils import InputError


def numbers(loader: TrainingLoader | EvaluationLoader) -> list[list[int]]:
    return [batch.tolist() for batch in loader]


def as_process(monkeypatch: pytest.MonkeyPatch, rank: int, count: int) -> None:
    monkeypatch.setattr(loaders, "process_rank", lambda: rank)
    monkeypatch.setattr(loaders, "world_size", lambda: count)


def test_training_order_is_a_function_of_the_epoch() -> None:
    orders = []
    for _ in range(2):
        loader = TrainingLoader(range(12), batch_size=4)
        for epoch in (1, 2, 3):
            loader.sampler.set_epoch(epoch)
            orders.append([i for batch in numbers(loader) for i in batch])
    assert orders[:3] == orders[3:]
    assert len({tuple(o) for o in orders}) == 3
    assert all(sorted(o) == list(range(12)) for o in orders)
    assert sorted(orders[0]) not in orders


@pytest.mark.parametrize(
    ("cases", "batch_size", "lengths"), [(8, 4, [4, 4]), (11, 4, [4, 4]), (3, 4, [3]), (1, 1, [1]), (5, 5, [5])]
)
def test_last_training_batch_is_left_out_unless_full_or_alone(cases: int, batch_size: int, lengths: list[int]) -> None:
    batches = numbers(TrainingLoader(range(cases), batch_size))
    assert [len(b) for b in batches] == lengths
    drawn = [i for batch in batches for i in batch]
    assert len(set(drawn)) == len(drawn)


def test_processes_share_the_training_cases_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Dealt in turn: the batches of both processes together are those of one process with twice the batch size."""
    alone = TrainingLoader(range(16), batch_size=4)
    alone.sampler.set_epoch(3)
    expected = numbers(alone)
    shares = []
    for rank in range(2):
        as_process(monkeypatch, rank, 2)
        loader = TrainingLoader(range(16), batch_size=2)
        loader.sampler.set_epoch(3)
        shares.append(numbers(loader))
    assert [[i for pair in zip(*halves) for i in pair] for halves in zip(*shares)] == expected


def test_every_process_trains_equally_many_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    shares = []
    for rank in range(3):
        as_process(monkeypatch, rank, 3)
        shares.append(numbers(TrainingLoader(range(10), batch_size=2)))
    assert [len(s) for s in shares] == [2, 2, 2]


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(("batch_size", "expected"), [(1, [[0], [1], [2], [3], [4]]), (2, [[0, 1], [2, 3], [4]])])
def test_evaluation_takes_every_case_once_in_order(workers: int, batch_size: int, expected: list[list[int]]) -> None:
    loader = EvaluationLoader(range(5), batch_size, workers)
    assert numbers(loader) == expected
    assert numbers(loader) == expected


def test_processes_evaluate_no_case_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    shares = []
    for rank in range(3):
        as_process(monkeypatch, rank, 3)
        shares.append([i for batch in numbers(EvaluationLoader(range(8))) for i in batch])
    assert sorted(i for share in shares for i in share) == list(range(8))
    assert sorted(map(len, shares)) == [2, 3, 3]


def test_more_processes_than_cases_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("medsegdiff_monai.data.loaders.world_size", lambda: 3)
    with pytest.raises(InputError, match="2 cases cannot be shared out to 3 processes: start at most 2"):
        EvaluationLoader([1, 2])


class Vanishing:
    """Cases whose second one can no longer be read."""

    data: ClassVar = [{"image": f"{name}.png"} for name in "abc"]

    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        if index == 1:
            raise FileNotFoundError("b.png is gone")
        return {"image": torch.full((1, 2, 2), float(index))}


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("batch_size", [1, 3])
def test_a_case_that_can_no_longer_be_read_is_named_and_the_others_come(batch_size: int, workers: int) -> None:
    batches = list(EvaluationLoader(Vanishing(), batch_size, workers))
    failures = [failure for batch in batches for failure in batch.get(FAILURES, [])]
    assert failures == [FailedCase("b", "FileNotFoundError: b.png is gone")]
    images = [image for batch in batches if "image" in batch for image in batch["image"]]
    assert [float(image.mean()) for image in images] == [0.0, 2.0]
