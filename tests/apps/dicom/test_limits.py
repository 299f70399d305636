# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0


from __future__ import annotations

import signal
import sys
import threading
import time

import numpy as np
import pytest

from medsegdiff_monai.apps.dicom import limits
from medsegdiff_monai.apps.dicom.limits import bounded_memory, bounded_time, is_out_of_memory
from medsegdiff_monai.utils import InputError


def wait() -> None:
    """Wait for ever, as a library does that catches every exception."""
    while True:
        try:
            time.sleep(0.01)
        except Exception:
            time.sleep(0.01)


def test_what_takes_too_long_ends_with_a_sentence() -> None:
    with pytest.raises(InputError, match=r"Reading takes longer than 0\.05 seconds"), bounded_time(0.05, "Reading"):
        wait()


def test_what_is_in_time_leaves_no_alarm_behind() -> None:
    handler = signal.getsignal(signal.SIGALRM)
    with bounded_time(60.0, "Reading"):
        assert signal.getitimer(signal.ITIMER_REAL)[0] > 0
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    assert signal.getsignal(signal.SIGALRM) is handler


def test_without_a_limit_or_in_another_thread_there_is_no_alarm() -> None:
    seen: list[float] = []

    def body() -> None:
        with bounded_time(60.0, "Reading"):
            seen.append(signal.getitimer(signal.ITIMER_REAL)[0])

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    with bounded_time(None, "Reading"):
        seen.append(signal.getitimer(signal.ITIMER_REAL)[0])
    assert seen == [0.0, 0.0]


def test_a_block_cannot_take_more_memory_than_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    if sys.platform != "linux":
        pytest.skip("only Linux limits the memory of a process in this way")
    monkeypatch.setattr(limits, "free_memory", lambda: 2**28)
    with pytest.raises(MemoryError), bounded_memory():
        np.ones(2**28)  # 2 GiB
    assert len(np.ones(2**20)) == 2**20


def test_errors_that_mean_memory_are_recognised() -> None:
    assert is_out_of_memory(MemoryError())
    assert is_out_of_memory(RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"))
    assert not is_out_of_memory(RuntimeError("shapes differ"))
    assert not is_out_of_memory(ValueError("memory"))


def test_another_thread_does_not_limit_the_memory_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    if sys.platform != "linux":
        pytest.skip("only Linux limits the memory of a process in this way")
    import resource

    monkeypatch.setattr(limits, "free_memory", lambda: 2**28)
    before, seen = resource.getrlimit(resource.RLIMIT_AS), []

    def body() -> None:
        with bounded_memory():
            seen.append(resource.getrlimit(resource.RLIMIT_AS))

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    assert seen == [before]
