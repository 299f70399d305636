# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from medsegdiff_monai.utils import InputError, free_memory, taken_memory

__all__ = ["bounded_memory", "bounded_time", "is_out_of_memory"]

if sys.platform == "linux":
    import resource

_LOOKED_AT = 10_000  # characters of a message, which may be long
_AGAIN = 1.0  # seconds until the alarm is raised once more, where a library has caught it


class _TimeIsUp(BaseException):
    """No :class:`Exception`, for libraries catch those."""


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


@contextmanager
def bounded_time(seconds: float | None, what: str) -> Iterator[None]:
    """Let a block end with an :class:`InputError` that names it after some seconds; None for no limit.

    Only in the main thread, for signals reach no other.
    """
    if not seconds or not _in_main_thread() or not hasattr(signal, "setitimer"):
        yield
        return
    running = True

    def end(number: int, frame: FrameType | None) -> None:
        if running:
            raise _TimeIsUp

    previous = signal.signal(signal.SIGALRM, end)
    try:
        signal.setitimer(signal.ITIMER_REAL, seconds, _AGAIN)
        yield
        running = False
    except _TimeIsUp:
        running = False
        raise InputError(
            f"{what} takes longer than {seconds:g} seconds: leave it out, or allow it more (dicom: --case_timeout)."
        ) from None
    finally:
        running = False
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


@contextmanager
def bounded_memory() -> Iterator[None]:
    """Let a block take no more memory than is free when it begins; on Linux, in the main thread, for all threads."""
    if sys.platform != "linux" or not _in_main_thread():
        yield
        return
    previous = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (taken_memory() + free_memory(), previous[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, previous)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that there is not enough memory, as PyTorch and the decoders do in words of their own."""
    words = str(error).lower()[:_LOOKED_AT] if isinstance(error, RuntimeError) else ""
    return isinstance(error, MemoryError) or "memory" in words or "unable to allocate" in words
