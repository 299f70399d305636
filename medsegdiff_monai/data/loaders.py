# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

import logging
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from monai.data import CacheDataset, DataLoader, DistributedSampler, list_data_collate
from monai.transforms import Compose
from torch.utils.data import Dataset
from tqdm import tqdm

from medsegdiff_monai.data.cases import name_of_case
from medsegdiff_monai.utils import InputError, printable, process_rank, reason_of, world_size

__all__ = ["FAILURES", "EvaluationLoader", "FailedCase", "ScreenedDataset", "TrainingLoader"]

logger = logging.getLogger(__name__)

FAILURES = "failures"  # key of a batch under which are the cases that could not be prepared


class ScreenedDataset(CacheDataset):
    """A dataset of those cases that can be read and prepared; the others are listed, and named again at the end.

    Every case goes once through the deterministic part of the transform before any work starts: a damaged file costs
    one line, not the run. What that pass made is kept as in MONAI's ``CacheDataset``. Where ``epoch_seed`` is set, the
    random transforms of a case depend on that seed and the case's index alone.

    Attributes:
        failures: reason why a case was left out, by its name.
        count: number of all cases, with those that were left out.

    Args:
        data: cases, each with the path of its ``image`` (or a list of paths), or with a reason to be left out as
            ``refused``.
        transform: transforms of a case.
        cache_rate: share of the cases that is kept in memory: 1 for images, 0 for volumes.
        progress: whether the screening shows a progress bar.

    Raises:
        InputError: when there is no case that can be used.
    """

    def __init__(
        self,
        data: Sequence[dict[str, Any]],
        transform: Callable | Sequence[Callable],
        cache_rate: float = 1.0,
        progress: bool = True,
    ) -> None:
        self.failures: dict[str, str] = {}
        self.count = 0
        self.epoch_seed: int | None = None
        compose = (transform if isinstance(transform, Compose) else Compose(transform)).flatten()
        super().__init__(data, compose, cache_rate=cache_rate, progress=progress)

    def set_data(self, data: Sequence[dict[str, Any]]) -> None:
        """Screen and hold other cases; an ``InputError`` is raised where none of them can be used."""
        self.failures = {}
        self.data = list(data)
        self.count = len(self.data)
        keep = int(len(self.data) * self.set_rate)
        usable: list[dict[str, Any]] = []
        items: list[Any] = []
        bar = tqdm(self.data, desc="Reading", unit="case", leave=False, disable=not self.progress)
        for index, case in enumerate(bar):
            try:
                if case.get("refused"):
                    raise InputError(case["refused"])
                item = self._load_cache_item(index)
            except Exception as e:  # whatever damaged files make their readers and the transforms raise
                name = name_of_case(case)
                self.leave_out(name if name not in self.failures else str(case["image"]), e)
                continue
            usable.append(case)
            if len(items) < keep:
                items.append(item)
        if not usable:
            raise InputError(f"None of the {len(self.data)} cases can be used. {self._reasons()}")
        self.data, self._cache, self.cache_num = usable, items, len(items)

    def _transform(self, index: int) -> Any:
        """Draw a case by itself: its random transforms are the same in any order and any process."""
        if self.epoch_seed is not None:
            self.transform.set_random_state(seed=(self.epoch_seed + index) % 2**32)
        return super()._transform(index)

    def leave_out(self, name: str, error: Exception) -> None:
        """Take note of a case that could not be used, and say so in one line."""
        self.failures[name] = reason_of(error)
        logger.warning("Case %s is left out: %s", printable(name), self.failures[name])

    def _reasons(self) -> str:
        return "; ".join(f"{printable(name)}: {reason}" for name, reason in self.failures.items())

    def report(self) -> None:
        """Name the cases that were left out, at the end of a run, in an ``InputError``."""
        if self.failures:
            total = f"{len(self.failures)} of {self.count} cases could not be used (the others were processed)."
            raise InputError(f"{total} {self._reasons()}")


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

    Under ``torchrun`` each process gets its share of the cases, in batches of ``batch_size`` each. The last batch of an
    epoch is left out where it is not full, unless it is the only one.
    """

    def __init__(self, dataset: Any, batch_size: int = 1, num_workers: int = 0) -> None:
        sampler: Any = DistributedSampler(dataset, True, world_size(), process_rank(), shuffle=True)
        full = len(sampler) >= batch_size
        super().__init__(dataset, num_workers, batch_size=batch_size, sampler=sampler, drop_last=full)


class EvaluationLoader(_Loader):
    """Every case once and in order; under ``torchrun`` each process gets its share of them.

    Cases that can no longer be read or prepared come as a list of :class:`FailedCase` under ``FAILURES`` in the batch.
    Fewer cases than processes are an ``InputError``.
    """

    def __init__(self, dataset: Any, batch_size: int = 1, num_workers: int = 0) -> None:
        cases, processes = len(dataset), world_size()
        if cases < processes:
            raise InputError(f"{cases} cases cannot be shared out to {processes} processes: start at most {cases}.")
        sampler: Any = DistributedSampler(dataset, False, processes, process_rank(), shuffle=False)
        guarded = _FailingCases(dataset)
        super().__init__(guarded, num_workers, batch_size=batch_size, sampler=sampler, collate_fn=_collate)
