# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

"""Judges a run of a command: what became of each input, and what is wrong with the run as a whole."""

from __future__ import annotations

import re
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from .commands import Command, Results
from .inputs import Input
from .server import Ended

__all__ = ["DONE", "FAILED", "FORESEEN", "UNFORESEEN", "Verdict", "judge"]

DONE, FORESEEN, UNFORESEEN, FAILED = "done", "foreseen", "unforeseen", "failed"
_EXCEPTION = re.compile(r"\b(?:[A-Z][a-z]+)*(?:Error|Exception|Interrupt)\b(?!:? Case)")
_LEFTOVERS = re.compile(r"\.partial-|tmp[a-z0-9_]{8}|\.write-test-|\.medsegdiff\.lock")
_INFORMS = " - INFO - "
_LEFT_OUT = re.compile(r"^(?:Error: Case |Left out: )")


@dataclass
class Verdict:
    """What is said of a run.

    Attributes:
        outcomes: of each input, one of done, foreseen, unforeseen and failed, and the line that names it or
            what is wrong with it.
        broken: what is wrong with the run, each in a few words, for which an input may be to blame.
        faults: what else is wrong with the run as a whole.
    """

    outcomes: dict[str, tuple[str, str]] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


def judge(
    command: Command, inputs: Sequence[Input], ended: Ended, log: str, out: Path, expected: Results | None
) -> Verdict:
    """Judge a run.

    Args:
        command: what was run.
        inputs: what it was given beside the good cases.
        ended: how it ended.
        log: what it printed.
        out: its output folder.
        expected: what good cases leave in a run without others; None for that run itself.
    """
    verdict = Verdict(broken=_broken(ended, log, out))
    if verdict.broken:
        return verdict
    try:
        results = command.results(out)
    except Exception as e:  # whatever a reader raises for what a run may have left half written
        verdict.broken.append(f"its results cannot be read: {type(e).__name__}: {e}")
        return verdict
    verdict.broken += _good_cases(command.goods, results, expected)
    parts = {name for name in command.goods if name in results}
    whole = len(results[min(parts)]) if parts else 0
    lines = re.split(r"[\r\n]+", log)
    for one in inputs:
        verdict.outcomes[one.name] = _outcome(command, one, results, whole, lines)
    _explain_by_number(command, inputs, results, lines, verdict.outcomes)
    named = [name for name, (kind, _) in verdict.outcomes.items() if kind in (FORESEEN, UNFORESEEN)]
    if named and ended.status == 0:
        verdict.faults.append(f"exit status 0, although {len(named)} inputs are left out")
    return verdict


def _broken(ended: Ended, log: str, out: Path) -> list[str]:
    broken = []
    if ended.too_long:
        broken.append(f"not finished after {ended.seconds:.0f} seconds")
    elif ended.status < 0:
        broken.append(f"killed by {signal.Signals(-ended.status).name}")
    elif ended.status > 1:
        broken.append(f"exit status {ended.status}: {log.strip()[-300:]}")
    if "Traceback (most recent call last)" in log:
        raised = re.findall(r"^\w[\w.]*(?:Error|Exception|Interrupt)\b.*", log, re.MULTILINE)  # the cause comes first
        broken.append(f"traceback: {raised[0][:300] if raised else log.strip()[-300:]}")
    left = sorted(path.name for path in out.rglob("*") if _LEFTOVERS.match(path.name))
    if left and not broken:
        broken.append(f"half written: {', '.join(left)}")
    return broken


def _good_cases(goods: Sequence[str], results: Results, expected: Results | None) -> list[str]:
    broken = [f"the good case {name} is not done" for name in goods if name not in results]
    if expected is None or broken:
        return broken
    return [f"the good case {n} has other results" for n in goods if not _same(results[n], expected[n])]


def _same(a: Mapping[str, Any], b: Mapping[str, Any]) -> bool:
    return a.keys() == b.keys() and all(np.array_equal(np.asarray(a[k]), np.asarray(b[k])) for k in a)


def _outcome(command: Command, one: Input, results: Results, whole: int, lines: Sequence[str]) -> tuple[str, str]:
    """What became of an input that has results or is named; it failed otherwise."""
    token = re.compile(rf"(?<![0-9A-Za-z])(?:{command.token(one)})(?![0-9A-Za-z])")
    for name, found in results.items():
        if token.search(name):
            return (DONE, "") if len(found) == whole else (FAILED, f"has but {', '.join(found)} of its results")
    naming = [line for line in lines if token.search(line) and _INFORMS not in line]
    if not naming:
        return FAILED, "is neither done nor named"
    if command.whole_list:
        last = max((i for i, line in enumerate(lines) if command.whole_list in line), default=0)
        if not any(token.search(line) for line in lines[last:]):
            return FAILED, f"is not in the list at the end: {naming[0][:300]}"
    reason = naming[0][token.search(naming[0]).end() :].strip(" :,")  # type: ignore[union-attr]
    if not reason:
        return FAILED, "is named without a reason"
    return (UNFORESEEN if _EXCEPTION.search(reason) else FORESEEN), naming[0].strip()


def _explain_by_number(
    command: Command,
    inputs: Sequence[Input],
    results: Results,
    lines: Sequence[str],
    outcomes: dict[str, tuple[str, str]],
) -> None:
    """Give inputs that nothing names, because what names them was mutated, the lines and results that name no input."""
    tokens = "|".join([*(command.token(one) for one in inputs), *command.goods])
    known = re.compile(rf"(?<![0-9A-Za-z])(?:{tokens})(?![0-9A-Za-z])")
    unknown = [line.strip() for line in lines if _LEFT_OUT.match(line) and not known.search(line)]
    unclear = [name for name, (kind, why) in outcomes.items() if why == "is neither done nor named"]
    others = [(DONE, "")] * sum(not known.search(name) for name in results)
    others += [(UNFORESEEN if _EXCEPTION.search(line) else FORESEEN, line) for line in unknown]
    outcomes.update(zip(unclear, others))
