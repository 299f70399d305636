# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

"""Commands of the documentation, as they stand in its fenced blocks."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["DOCUMENTS", "REPOSITORY", "Block", "Command", "blocks", "commands"]

REPOSITORY = Path(__file__).resolve().parents[2]
DOCUMENTS = [
    REPOSITORY / "README.md",
    REPOSITORY / "CONTRIBUTING.md",
    *sorted((REPOSITORY / "docs").glob("*.md")),
    *sorted(REPOSITORY.glob("bundle/*/docs/README.md")),
]
_FENCE = re.compile(r"^( *)```(\w*) *$")
_HEADING = re.compile(r"^#+ +(.*?) *$")
_HEREDOC = re.compile(r"<<'?(\w+)'?")
_PROGRAM = re.compile(r"(?:export|cd|pip|python|torchrun|make|source|\.[\w-]+/bin/)\b")


@dataclass(frozen=True)
class Block:
    """A fenced block: its document, the heading above it, its language and its text."""

    document: str
    heading: str
    language: str
    text: str


@dataclass(frozen=True)
class Command:
    """A command on one line, and the document that has it."""

    document: str
    text: str

    def __str__(self) -> str:
        return f"{self.document}: {self.text}"


def blocks(document: Path) -> Iterator[Block]:
    """Fenced blocks of a document, without their indentation."""
    name = document.relative_to(REPOSITORY).as_posix()
    heading, fence, lines = "", None, []
    for line in document.read_text(encoding="utf-8").splitlines():
        match = _FENCE.match(line)
        if fence is None and match:
            fence, lines = match, []
        elif fence is not None and line.strip() == "```":
            text = "".join(f"{part.removeprefix(fence.group(1))}\n" for part in lines)
            yield Block(name, heading, fence.group(2), text)
            fence = None
        elif fence is not None:
            lines.append(line)
        elif title := _HEADING.match(line):
            heading = title.group(1)


def _logical_lines(text: str) -> Iterator[str]:
    """Commands of a shell text: continued lines joined, each with its here-document, without comments."""
    lines = iter(text.splitlines())
    for line in lines:
        command = line
        while command.endswith("\\"):
            command = command[:-1] + next(lines)
        if heredoc := _HEREDOC.search(command):
            for inner in lines:
                command += f"\n{inner}"
                if inner.strip() == heredoc.group(1):
                    break
        else:
            command = " ".join(re.sub(r"(?:^|\s+)#\s.*", "", command).split())
        if command.strip():
            yield command


def commands(document: Path) -> Iterator[Command]:
    """Commands of a document's blocks in Bash, and of blocks without language that begin with a program."""
    for block in blocks(document):
        if block.language == "bash" or (not block.language and _PROGRAM.match(block.text)):
            for text in _logical_lines(block.text):
                yield Command(block.document, text)
