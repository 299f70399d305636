# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

"""Runs inputs through their commands, and finds by halving which input is to blame where a run is broken."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .check import FAILED, Verdict, judge
from .commands import COMMANDS, Command, Results
from .inputs import Input
from .server import CommandServer, Ended, Job

__all__ = ["Campaign", "Examined"]

_SECONDS, _SECONDS_EACH = 120.0, 3.0


@dataclass
class Examined:
    """What became of some inputs.

    Attributes:
        outcomes: see :class:`~fuzz_harness.check.Verdict`; a traceback and the like is that of the input to blame.
        faults: what is wrong with runs and cannot be put down to one input.
        peak_memory: most bytes that a process had in memory.
        processor_seconds: time of the processor in all processes.
    """

    outcomes: dict[str, tuple[str, str]] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    peak_memory: int = 0
    processor_seconds: float = 0.0

    def add(self, other: Examined) -> None:
        """Take in what became of other inputs."""
        self.outcomes |= other.outcomes
        self.faults += [fault for fault in other.faults if fault not in self.faults]
        self.peak_memory = max(self.peak_memory, other.peak_memory)
        self.processor_seconds += other.processor_seconds


class Campaign:
    """Runs of commands in a folder.

    Args:
        server: starts the commands.
        work: folder for what they read and write.
        failures: folder that keeps the inputs, the output and the results of each run that is wrong.
        memory: most bytes of address space of a process.
    """

    def __init__(self, server: CommandServer, work: Path, failures: Path, memory: int) -> None:
        self.server = server
        self.work = work
        self.failures = failures
        self.memory = memory
        self._expected: dict[str, Results] = {}

    def examine(self, command: str, inputs: Sequence[Input]) -> Examined:
        """Run inputs through a command, all at once, and in halves where that breaks the run.

        Args:
            command: key of ``COMMANDS``.
            inputs: the inputs.

        Raises:
            RuntimeError: when the good cases alone break the run.
        """
        called = COMMANDS[command](self.work)
        if command not in self._expected:
            verdict, _ = self._run(called, [], None)
            if verdict.broken:
                raise RuntimeError(f"The command {command} fails on good cases alone: {'; '.join(verdict.broken)}")
            self._expected[command] = called.results(self.work / "out")
        return self._examine(called, list(inputs), self._expected[command])

    def _examine(self, command: Command, inputs: list[Input], expected: Results) -> Examined:
        verdict, ended = self._run(command, inputs, expected)
        whole = Examined({}, list(verdict.faults), ended.peak_memory, ended.processor_seconds)
        if not verdict.broken:
            whole.outcomes = verdict.outcomes
            for one in inputs:
                if whole.outcomes[one.name][0] == FAILED:
                    self._keep(f"{one.name}", [one], command, whole.outcomes[one.name][1])
            return whole
        if len(inputs) == 1:
            whole.outcomes = {inputs[0].name: (FAILED, "; ".join(verdict.broken))}
            self._keep(inputs[0].name, inputs, command, "; ".join(verdict.broken))
            return whole
        halves = [self._examine(command, part, expected) for part in (inputs[::2], inputs[1::2])]
        if not any(kind == FAILED for half in halves for kind, _ in half.outcomes.values()):
            name = f"{inputs[0].name}-{len(inputs)}-together"
            self._keep(name, inputs, command, "; ".join(verdict.broken))
            whole.faults.append(f"{name}: {'; '.join(verdict.broken)}")
        for half in halves:
            whole.add(half)
        return whole

    def _run(self, command: Command, inputs: Sequence[Input], expected: Results | None) -> tuple[Verdict, Ended]:
        data, out, log = self.work / "data", self.work / "out", self.work / "log.txt"
        for folder in (data, out):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
        command.write(data, inputs)
        module, arguments = command.line(data, out)
        limit = _SECONDS + _SECONDS_EACH * len(inputs)
        ended = self.server.run(Job(module, arguments, str(log), self.memory, limit))
        text = log.read_text(encoding="utf-8", errors="replace")
        return judge(command, inputs, ended, text, out, expected), ended

    def _keep(self, name: str, inputs: Sequence[Input], command: Command, why: str) -> None:
        """Keep what shows a failure: the inputs with good cases, the command line and what it printed."""
        folder = self.failures / name
        shutil.rmtree(folder, ignore_errors=True)
        (folder / "data").mkdir(parents=True)
        command.write(folder / "data", inputs)
        module, arguments = command.line(folder / "data", folder / "out")
        shutil.copyfile(self.work / "log.txt", folder / "log.txt")
        line = " ".join(["python", "-m", module, *(f"'{argument}'" for argument in arguments)])
        (folder / "README.md").write_text(f"{why}\n\n    {line}\n", encoding="utf-8")
