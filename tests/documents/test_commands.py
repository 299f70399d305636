# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

"""Every command of the documentation is run somewhere, or listed with a reason, and has options that exist."""

from __future__ import annotations

import ast
import inspect
import re
import shlex
from pathlib import Path

import pytest
from documents.collected import DOCUMENTS, REPOSITORY, Command, blocks, commands
from documents.listed import NOT_RUN, RUN_BY
from documents.test_run import RUN_AS_THEY_STAND
from monai.bundle import ConfigParser

from medsegdiff_monai.apps.commands import Commands

COMMANDS = [command for document in DOCUMENTS for command in commands(document)]
THYROID = REPOSITORY / "bundle" / "thyroid_ultrasound_medsegdiff"


def _run_as_it_stands(command: Command) -> bool:
    texts = [
        block.text
        for document, heading in RUN_AS_THEY_STAND
        for block in blocks(REPOSITORY / document)
        if document == command.document and block.heading == heading
    ]
    return any(" ".join(command.text.split()) in " ".join(t.replace("\\\n", " ").split()) for t in texts)


def test_every_command_is_run_or_listed_with_a_reason() -> None:
    patterns = [pattern for pattern, _ in [*RUN_BY, *NOT_RUN]]
    unlisted = [
        str(c) for c in COMMANDS if not _run_as_it_stands(c) and not any(re.search(p, c.text) for p in patterns)
    ]
    assert unlisted == []


def test_the_lists_hold_nothing_that_is_gone() -> None:
    stale = [p for p, _ in [*RUN_BY, *NOT_RUN] if not any(re.search(p, command.text) for command in COMMANDS)]
    assert stale == []
    assert [place for _, place in RUN_BY if not (REPOSITORY / place).exists()] == []


def _words(command: Command) -> list[str]:
    """Words of a command, with placeholders and optional parts as words of their own."""
    text = (
        re.sub(r"[\[\]]", " ", re.sub(r"<[^>]*>", "PLACE", command.text)) if "'" not in command.text else command.text
    )
    return shlex.split(re.sub(r"<[^>']*>", "PLACE", text))


def _options(words: list[str]) -> set[str]:
    return {word[2:].split("=")[0] for word in words if word.startswith("--")}


OURS = [c for c in COMMANDS if re.search(r"-m medsegdiff_monai \w", c.text)]


@pytest.mark.parametrize("command", OURS, ids=str)
def test_our_commands_have_these_options(command: Command) -> None:
    words = _words(command)
    name, *rest = words[words.index("medsegdiff_monai") + 1 :]
    assert _options(rest) <= set(inspect.signature(getattr(Commands, name)).parameters)


BENCHMARKS = [c for c in COMMANDS if "benchmarks/" in c.text]


@pytest.mark.parametrize("command", BENCHMARKS, ids=str)
def test_benchmarks_have_these_options(command: Command) -> None:
    words = _words(command)
    script = next(REPOSITORY / word for word in words if word.startswith("benchmarks/"))
    functions = [n for n in ast.walk(ast.parse(script.read_text())) if isinstance(n, ast.FunctionDef)]
    known = {a.arg for f in functions for a in (*f.args.args, *f.args.kwonlyargs)}
    assert _options(words) <= known


BUNDLE_RUNS = [c for c in COMMANDS if "monai.bundle run" in c.text]


def _bundle_of(command: Command) -> Path:
    document = REPOSITORY / command.document
    return document.parents[1] if (document.parents[1] / "configs").is_dir() else THYROID


@pytest.mark.parametrize("command", BUNDLE_RUNS, ids=str)
def test_runs_of_bundles_name_files_and_keys_that_exist(command: Command) -> None:
    words = _words(command)
    named = re.findall(r"configs/\w+\.json", words[words.index("--config_file") + 1])
    parser = ConfigParser()
    parser.read_config([str(_bundle_of(command) / name) for name in named])
    options = _options(words) - {"config_file", "nnodes", "nproc_per_node", "standalone"}
    assert [option for option in options if parser.get(option.replace("::", "#"), "missing") == "missing"] == []
