# Copyright (c) MedSegDiff-MONAI contributors
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#     http://www.apache.org/licenses/LICENSE-2.0
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from medsegdiff_monai.utils import InputError

try:
    import resource
except ImportError:  # not on Windows, where there are no such limits
    resource = None  # type: ignore[assignment]

__all__ = ["bounded_memory", "bounded_time", "free_memory", "is_out_of_memory"]

_LOOKED_AT = 10_000  # characters of a message, which may be long
_AGAIN = 1.0  # seconds until the alarm is raised once more, where a library has caught it


class _TimeIsUp(BaseException):
    """No :class:`Exception`, for libraries catch those."""


@contextmanager
def bounded_time(seconds: float | None, what: str) -> Iterator[None]:
    """Let a block end with a sentence where it takes too long; in the main thread only, for signals reach no other.

    Args:
        seconds: how long it may take; None for no limit.
        what: what the block does, for the sentence.

    Raises:
        InputError: when the time is up.
    """
    main = threading.current_thread() is threading.main_thread()
    if not seconds or not main or not hasattr(signal, "setitimer"):
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
            f"{what} takes longer than {seconds:g} seconds: give --case_timeout more, or leave it out."
        ) from None
    finally:
        running = False
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


@contextmanager
def bounded_memory() -> Iterator[None]:
    """Let a block take no more memory than is free when it begins, so that it fails by itself and nothing is killed.

    Only on Linux, which tells what is free, and so far as the process has no lower limit.
    """
    free, taken = free_memory(), _taken_memory()
    if resource is None or free is None or taken is None:
        yield
        return
    previous = resource.getrlimit(resource.RLIMIT_AS)
    limits = [taken + free, *(limit for limit in previous if limit != resource.RLIM_INFINITY)]
    resource.setrlimit(resource.RLIMIT_AS, (min(limits), previous[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, previous)


def free_memory() -> int | None:
    """Bytes that processes can still take before the kernel ends one of them; None where that is not known."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    kilobytes = {name: value.split()[0] for name, _, value in (line.partition(":") for line in lines)}
    free = int(kilobytes["MemAvailable"]) * 1024
    return min(free, _free_in_container() or free)


def _free_in_container() -> int | None:
    """Bytes that a container has left; None where there is no container, or it has no limit."""
    group = Path("/sys/fs/cgroup")
    try:
        limit, used = (int((group / f"memory.{name}").read_text(encoding="ascii")) for name in ("max", "current"))
        stated = dict(line.split() for line in (group / "memory.stat").read_text(encoding="ascii").splitlines())
        return max(1, limit - used + int(stated["inactive_file"]))  # what caches files is given back when it is needed
    except (OSError, ValueError, KeyError):  # the limit may be the word "max"
        return None


def _taken_memory() -> int | None:
    """Bytes of address space that this process has."""
    try:
        return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
    except OSError:
        return None


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that there is not enough memory, as PyTorch and the decoders do in words of their own."""
    words = str(error).lower()[:_LOOKED_AT] if isinstance(error, RuntimeError) else ""
    return isinstance(error, MemoryError) or "memory" in words or "unable to allocate" in words
