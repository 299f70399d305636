# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

"""A process that has imported what the project's commands need, and forks for each command.

The import takes longer than most commands. The fork goes on as ``python -m <module> <arguments>`` would: the module is
run as ``__main__``, and what ends it ends the process.
"""

from __future__ import annotations

import gc
import json
import os
import resource
import runpy
import select
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

__all__ = ["CommandServer", "Ended", "Job"]

IMPORTS = ("torch", "monai.bundle", "highdicom", "medsegdiff_monai.apps.commands", "medsegdiff_monai.apps.dicom")


@dataclass(frozen=True)
class Job:
    """A command and its limits.

    Attributes:
        module: what Python runs, as behind its option -m.
        arguments: those of the command line.
        log: file that gets what it prints.
        memory: most bytes of address space.
        seconds: time after which it is killed.
    """

    module: str
    arguments: Sequence[str]
    log: str
    memory: int
    seconds: float


@dataclass(frozen=True)
class Ended:
    """How a command ended.

    Attributes:
        status: its exit status; minus the number of the signal where one ended it, as in ``subprocess``.
        too_long: whether it was killed because its time was over.
        peak_memory: most bytes that it had in memory.
        seconds: its time.
        processor_seconds: that of the processor alone.
    """

    status: int
    too_long: bool
    peak_memory: int
    seconds: float
    processor_seconds: float


class CommandServer:
    """The process, which :meth:`stop` ends."""

    def __init__(self) -> None:
        folders = [str(Path(__file__).resolve().parents[i]) for i in (1, 2)]
        paths = [*folders, *filter(None, [os.environ.get("PYTHONPATH")])]
        single = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "fuzz_harness.server"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **single, "PYTHONPATH": os.pathsep.join(paths)},
        )

    def stop(self) -> None:
        """End it, and the command that it runs."""
        self._process.terminate()
        self._process.wait()

    def run(self, job: Job) -> Ended:
        """Run a command to its end.

        Args:
            job: the command.

        Raises:
            RuntimeError: when the process itself has ended.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(asdict(job)) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(f"The process that starts the commands ended with status {self._process.wait()}.")
        return Ended(**json.loads(answer))


def _wait(process: int, seconds: float) -> Ended:
    """Wait for a fork; it and what it has started are gone then."""
    start = time.monotonic()
    waiting = select.poll()
    handle = os.pidfd_open(process)
    waiting.register(handle, select.POLLIN)
    too_long = True
    try:
        too_long = not waiting.poll(1000 * seconds)
    finally:
        os.killpg(process, signal.SIGKILL)
        os.close(handle)
        _, status, used = os.wait4(process, 0)
    code = os.waitstatus_to_exitcode(status)
    seconds = round(time.monotonic() - start, 3)
    return Ended(code, too_long, 1024 * used.ru_maxrss, seconds, round(used.ru_utime + used.ru_stime, 3))


def _become(job: dict[str, Any]) -> str:
    """Take on a command's streams, arguments and limit of memory; gives the module to run."""
    nothing = os.open(os.devnull, os.O_RDONLY)
    log = os.open(job["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for opened, stream in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(opened, stream)
    resource.setrlimit(resource.RLIMIT_AS, (job["memory"], job["memory"]))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    sys.argv = [job["module"], *job["arguments"]]
    return job["module"]


def _serve() -> str:
    """Answer jobs, one a line, until there are no more; in a fork, the module that it is to run."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    for line in sys.stdin:
        job = json.loads(line)
        process = os.fork()
        if process == 0:
            os.setsid()
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            return _become(job)
        print(json.dumps(asdict(_wait(process, job["seconds"]))), flush=True)
    sys.exit(0)


if __name__ == "__main__":
    for name in IMPORTS:
        __import__(name)
    gc.freeze()  # a fork that collects garbage at its end would otherwise copy all that was imported
    module = _serve()
    runpy.run_module(module, run_name="__main__", alter_sys=True)
