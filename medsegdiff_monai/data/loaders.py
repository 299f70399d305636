# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import signal
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from monai.data import DataLoader, DistributedSampler, list_data_collate
from torch.utils.data import Dataset

from medsegdiff_monai.data.cases import name_of_case
from medsegdiff_monai.utils import InputError, process_rank, reason_of, world_size

__all__ = ["FAILURES", "EvaluationLoader", "FailedCase", "TrainingLoader"]

FAILURES = "failures"  # key of a batch under which are the cases that could not be prepared


@dataclass(frozen=True)
class FailedCase:
    """Name of a case that could not be prepared, and why; it can go between processes, as few exceptions can."""

    case: str
    reason: str

    @property
    def error(self) -> InputError:
        """The reason as an exception."""
        return InputError(self.reason)


class _FailingCases(Dataset):
    """A dataset whose cases that fail come as :class:`FailedCase`, so that the others of an epoch still come."""

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Any:
        try:
            return self.dataset[index]
        except Exception as e:  # a file that could be read before may be gone, or memory short
            return FailedCase(name_of_case(self.dataset.data[index]), reason_of(e))


def _collate(items: Sequence[Any]) -> dict[str, Any]:
    usable = [item for item in items if not isinstance(item, FailedCase)]
    failures = [item for item in items if isinstance(item, FailedCase)]
    batch = list_data_collate(usable) if usable else {}
    return {**batch, FAILURES: failures} if failures else batch


class _Loader(DataLoader):
    def __iter__(self) -> Any:
        """Start the workers with Ctrl-C blocked in them: this process gets it and ends them."""
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            return super().__iter__()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


class TrainingLoader(_Loader):
    """Batches of shuffled cases; the order of an epoch depends on its number alone (``sampler.set_epoch``).

    Under ``torchrun`` each process gets its share of the cases. The last batch of an epoch is left out where it is
    not full, unless it is the only one.

    Args:
        dataset: dataset of cases.
        batch_size: number of cases of a batch, in each process.
        num_workers: number of processes that prepare cases; 0 prepares them in this one.
    """

    def __init__(self, dataset: Any, batch_size: int = 1, num_workers: int = 0) -> None:
        sampler: Any = DistributedSampler(dataset, True, world_size(), process_rank(), shuffle=True)
        full = len(sampler) >= batch_size
        super().__init__(dataset, num_workers, batch_size=batch_size, sampler=sampler, drop_last=full)


class EvaluationLoader(_Loader):
    """Every case once and in order; under ``torchrun`` each process gets its share of them.

    Cases that can no longer be read or prepared come as a list of :class:`FailedCase` under ``FAILURES`` in the batch.

    Args:
        dataset: dataset of cases.
        batch_size: number of cases of a batch, in each process.
        num_workers: number of processes that prepare cases; 0 prepares them in this one.

    Raises:
        InputError: when there are fewer cases than processes.
    """

    def __init__(self, dataset: Any, batch_size: int = 1, num_workers: int = 0) -> None:
        if len(dataset) < world_size():
            raise InputError(
                f"{len(dataset)} cases cannot be shared out to {world_size()} processes: start at most {len(dataset)}."
            )
        sampler: Any = DistributedSampler(dataset, False, world_size(), process_rank(), shuffle=False)
        guarded = _FailingCases(dataset)
        super().__init__(guarded, num_workers, batch_size=batch_size, sampler=sampler, collate_fn=_collate)
