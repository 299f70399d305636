# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

"""Mutated files of every kind through the commands that people use; the long form is ``benchmarks/fuzz.py``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest

pytest.importorskip("highdicom", reason="needs medsegdiff_monai[dicom]")

from fuzz_harness.campaign import Campaign
from fuzz_harness.check import DONE, FAILED, FORESEEN
from fuzz_harness.commands import COMMANDS
from fuzz_harness.inputs import KINDS, Input
from fuzz_harness.server import CommandServer, Job

SEED = 22
COUNT = 200
MEMORY = 6 * 10**9


@pytest.fixture(scope="module")
def server() -> Iterator[CommandServer]:
    server = CommandServer()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def campaign(server: CommandServer, tmp_path_factory: pytest.TempPathFactory) -> Campaign:
    folder = tmp_path_factory.mktemp("fuzz")
    return Campaign(server, folder / "work", folder / "failures", MEMORY)


@pytest.mark.parametrize("command", COMMANDS)
def test_each_mutated_file_costs_a_line_at_most_and_good_ones_are_done(campaign: Campaign, command: str) -> None:
    kinds = [name for name, kind in KINDS.items() if kind.command == command]
    inputs = [Input(kind, SEED, i) for kind in kinds for i in range(round(COUNT * KINDS[kind].share))]
    examined = campaign.examine(command, inputs)
    assert {name: why for name, (outcome, why) in examined.outcomes.items() if outcome == FAILED} == {}
    assert examined.faults == []
    assert len(examined.outcomes) == len(inputs)
    counts = Counter(outcome for outcome, _ in examined.outcomes.values())
    assert counts[DONE] > 0  # else the mutations would only show that rubbish is refused
    assert counts[FORESEEN] > 0


@pytest.mark.parametrize(
    ("program", "status", "said"),
    [
        ("print('well')", 0, "well"),
        ("import os; os._exit(3)", 3, ""),
        ("import os; os.kill(os.getpid(), 9)", -9, ""),
        ("raise ValueError('bad')", 1, "Traceback (most recent call last)"),
        ("bytearray(7 * 10**9)", 1, "MemoryError"),
    ],
    ids=["done", "status", "killed", "exception", "too much memory"],
)
def test_command_in_a_fork_ends_as_in_a_process_of_its_own(
    server: CommandServer, tmp_path: object, program: str, status: int, said: str
) -> None:
    log = f"{tmp_path}/log.txt"
    ended = server.run(Job("timeit", ["-n1", "-r1", program], log, MEMORY, 60))
    assert (ended.status, ended.too_long) == (status, False)
    with open(log, encoding="utf-8") as file:
        assert said in file.read()


def test_command_that_does_not_end_is_killed_with_what_it_has_started(server: CommandServer, tmp_path: object) -> None:
    program = "import subprocess; subprocess.run(['sleep', '600'])"
    ended = server.run(Job("timeit", ["-n1", "-r1", program], f"{tmp_path}/log.txt", MEMORY, 0.5))
    assert (ended.status, ended.too_long) == (-9, True)
