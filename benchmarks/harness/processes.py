# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0


"""The processes of the accuracy benchmark's cells: started, waited for, and stopped together."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from .grid import Cell
from .kept import busy, take_lock

__all__ = ["CellProcesses", "Outcome", "interrupted_by_signals"]

# What a user, a shell or a batch system ends a run with: the cell did nothing wrong and goes on at the next call.
STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Outcome(NamedTuple):
    """How a cell's process ended.

    Attributes:
        state: "finished", "failed" or "unfinished".
        reason: one sentence, where it is not finished.
    """

    state: str
    reason: str = ""


@contextlib.contextmanager
def interrupted_by_signals() -> Iterator[None]:
    """Let the first signal that asks for the end raise ``KeyboardInterrupt``; those after it are not heeded.

    Signals that are ignored (``nohup``) stay so.
    """
    seen: list[int] = []

    def interrupt(number: int, frame: Any) -> None:
        seen.append(number)
        if len(seen) == 1:
            raise KeyboardInterrupt

    previous = {s: signal.getsignal(s) for s in STOPS}
    for number, handler in previous.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _reason(code: int, log: Path) -> str:
    if code < 0:
        name = signal.Signals(-code).name
        return f"killed by {name}" + (" (out of memory?)" if name == "SIGKILL" else "")
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1].removeprefix("Error: ") if lines else f"ended with status {code}"


class CellProcesses:
    """Runs cells, each in a process of its own; may be called from several threads.

    Args:
        script: called as ``script cell <cell as JSON> <its folder> <folder of the data sets>``.
    """

    def __init__(self, script: Path) -> None:
        self.script = script
        self._running: set[subprocess.Popen] = set()
        self._stopped = False
        self._guard = threading.Lock()

    def stop(self) -> None:
        """End the processes that run and start no others."""
        with self._guard:
            self._stopped = True
            for process in self._running:
                process.terminate()

    def run(self, cell: Cell, folder: Path, data: Path) -> Outcome:
        """Run a cell to its end; a failed one begins anew, or with its tests where its training had ended.

        Args:
            cell: the cell.
            folder: its folder.
            data: folder of the data sets.
        """
        lock = take_lock(folder)
        if lock is None:
            return Outcome("unfinished", str(busy(folder)))
        with lock:
            failed = folder / "failed.txt"
            if failed.is_file() and not (folder / "training.json").is_file():
                (folder / "last.pt").unlink(missing_ok=True)  # may be of other images than are there now
            failed.unlink(missing_ok=True)
            code = self._process(cell, folder, data, lock.fileno())
            if code == 0:
                return Outcome("finished")
            if code is None or -code in STOPS:
                return Outcome("unfinished", "stopped: the same command goes on with it.")
            reason = _reason(code, folder / "log.txt")
            failed.write_text(reason + "\n", encoding="utf-8")
            return Outcome("failed", reason)

    def _process(self, cell: Cell, folder: Path, data: Path, lock: int) -> int | None:
        """Status of the cell's process, which inherits the lock and so keeps it if this one dies; None if not begun."""
        threads = str(cell.threads)
        environment = {**os.environ, "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads, "TQDM_DISABLE": "1"}
        command = [sys.executable, str(self.script), "cell", json.dumps(asdict(cell)), str(folder), str(data)]
        with (folder / "log.txt").open("w", encoding="utf-8") as log:
            with self._guard:
                if self._stopped:
                    return None
                process = subprocess.Popen(
                    command, stdout=log, stderr=subprocess.STDOUT, env=environment, pass_fds=(lock,)
                )
                self._running.add(process)
            code = process.wait()
        with self._guard:
            self._running.discard(process)
        return code
