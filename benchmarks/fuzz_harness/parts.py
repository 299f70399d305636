# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

"""The parts of a long run, each kept in a file of its own, and the table of all."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from medsegdiff_monai.utils import replace_atomically

from .campaign import Examined
from .check import DONE, FAILED, FORESEEN, UNFORESEEN
from .inputs import KINDS, Input

__all__ = ["Part", "parts_of", "write_table"]

_COLUMNS = (
    "kind",
    "inputs",
    "done",
    "named, foreseen",
    "named, unforeseen",
    "tracebacks",
    "kills",
    "other faults",
    "peak memory GB",
    "processor seconds",
)


@dataclass(frozen=True)
class Part:
    """Inputs of a kind that go through one process.

    Attributes:
        kind: key of ``KINDS``.
        seed: seed of the run.
        start: index of the first.
        stop: index behind the last.
    """

    kind: str
    seed: int
    start: int
    stop: int

    @property
    def inputs(self) -> list[Input]:
        """The inputs."""
        return [Input(self.kind, self.seed, i) for i in range(self.start, self.stop)]

    def path(self, out: Path) -> Path:
        """File of what became of them."""
        return out / "parts" / f"seed{self.seed}-{self.kind}-{self.start:05d}-{self.stop:05d}.json"

    def write(self, out: Path, examined: Examined) -> None:
        """Keep what became of them."""
        path = self.path(out)
        path.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(asdict(examined), indent=1) + "\n"
        replace_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))

    def read(self, out: Path) -> Examined | None:
        """What became of them; None where they have not been run."""
        path = self.path(out)
        return Examined(**json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else None


def parts_of(count: int, seed: int, kinds: Sequence[str]) -> list[Part]:
    """Share inputs out between kinds, and cut them into parts.

    Args:
        count: number of all inputs.
        seed: seed of the run.
        kinds: keys of ``KINDS``.
    """
    whole = sum(KINDS[kind].share for kind in kinds)
    ends = [round(count * sum(KINDS[k].share for k in kinds[: i + 1]) / whole) for i in range(len(kinds))]
    sizes = [end - start for start, end in zip([0, *ends], ends)]
    return [part for kind, size in zip(kinds, sizes) for part in _parts_of_kind(kind, size, seed)]


def _parts_of_kind(kind: str, size: int, seed: int) -> Iterator[Part]:
    for start in range(0, size, KINDS[kind].chunk):
        yield Part(kind, seed, start, min(start + KINDS[kind].chunk, size))


def _numbers(examined: Iterable[Examined]) -> list[str]:
    """The columns behind the first."""
    total, memory = Examined(), 0
    together = 0
    for one in examined:
        total.add(one)
        together += len(one.faults)
        memory = max(memory, one.peak_memory)
    kinds = Counter(kind for kind, _ in total.outcomes.values())
    why = [reason for kind, reason in total.outcomes.values() if kind == FAILED]
    tracebacks = sum("traceback: " in reason for reason in why)
    kills = sum("traceback: " not in reason and ("killed by" in reason or "not finished" in reason) for reason in why)
    counts = (len(total.outcomes), kinds[DONE], kinds[FORESEEN], kinds[UNFORESEEN], tracebacks, kills)
    others = len(why) - tracebacks - kills + together
    return [*(f"{n:,}" for n in (*counts, others)), f"{memory / 1e9:.2f}", f"{total.processor_seconds:,.0f}"]


def write_table(out: Path, head: str, parts: Sequence[Part]) -> bool:
    """Write ``fuzz.md``: the table of the parts that have been run, and what went wrong.

    Args:
        out: folder of the run.
        head: what was run on what.
        parts: the parts.

    Returns:
        Whether nothing went wrong.
    """
    found = {part: examined for part in parts if (examined := part.read(out)) is not None}
    rows = [
        [KINDS[kind].title, *_numbers(e for part, e in found.items() if part.kind == kind)]
        for kind in dict.fromkeys(part.kind for part in found)
    ]
    rows.append(["all", *_numbers(found.values())])
    lines = [head, "", f"| {' | '.join(_COLUMNS)} |", "|---" * len(_COLUMNS) + "|"]
    lines += [f"| {' | '.join(row)} |" for row in rows]
    wrong = [(name, why) for e in found.values() for name, (kind, why) in e.outcomes.items() if kind == FAILED]
    wrong += [(part.path(out).stem, fault) for part, e in found.items() for fault in e.faults]
    if wrong:
        lines += ["", "What went wrong:", "", *(f"- `{name}`: `{why.replace('`', chr(39))}`" for name, why in wrong)]
    text = "\n".join(lines) + "\n"
    replace_atomically(out / "fuzz.md", lambda path: path.write_text(text, encoding="utf-8"))
    return not wrong
