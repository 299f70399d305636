# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

"""Size of the package and of the README, beside the limits that the project sets itself: ``make stats``.

Lines are those of all Python files of the package. A function's lines include its signature and its docstring.
Complexity is McCabe's, as ruff counts it. The exit status is 1 where a limit is passed. With ``--update`` the table in
CONTRIBUTING.md is rewritten.
"""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
PACKAGE = REPOSITORY / "medsegdiff_monai"
CONTRIBUTING = REPOSITORY / "CONTRIBUTING.md"
_TABLE = re.compile(r"(?<=<!-- make stats -->\n).*?(?=<!-- end of make stats -->)", re.DOTALL)


@dataclass(frozen=True)
class Figure:
    """A number that has a limit, and where it comes from."""

    title: str
    value: int
    limit: int
    place: str = ""

    @property
    def passed(self) -> bool:
        return self.value > self.limit


def package_lines() -> Figure:
    """Lines of all Python files of the package."""
    lines = sum(len(path.read_text(encoding="utf-8").splitlines()) for path in PACKAGE.rglob("*.py"))
    return Figure("lines of the package", lines, 17_500)


def longest_function() -> Figure:
    """Longest function of the package, with its signature and docstring."""
    longest, place = 0, ""
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if lines > longest:
                    longest, place = lines, f"{path.relative_to(REPOSITORY)}:{node.lineno} {node.name}"
    return Figure("lines of the longest function", longest, 60, place)


def largest_complexity() -> Figure:
    """Largest cyclomatic complexity of a function of the package."""
    command = [sys.executable, "-m", "ruff", "check", "--isolated", "--select", "C901", "--exit-zero"]
    command += ["--config", "lint.mccabe.max-complexity=1", "--output-format", "json", str(PACKAGE)]
    found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    largest, place = 1, ""
    for entry in found:
        name, complexity = re.search(r"`(\w+)` is too complex \((\d+) >", entry["message"]).groups()  # type: ignore[union-attr]
        if int(complexity) > largest:
            file = Path(entry["filename"]).relative_to(REPOSITORY)
            largest, place = int(complexity), f"{file}:{entry['location']['row']} {name}"
    return Figure("largest complexity of a function", largest, 15, place)


def readme_words() -> Figure:
    """Words of the README, as ``wc -w`` counts them."""
    return Figure("words of the README", len((REPOSITORY / "README.md").read_text(encoding="utf-8").split()), 900)


def table(figures: list[Figure]) -> str:
    """The figures as a Markdown table."""
    rows = [f"| {f.title} | {f.value:,} | {f.limit:,} |" for f in figures]
    return "\n".join(["| figure | now | limit |", "|---|---|---|", *rows]) + "\n"


def main() -> int:
    """Print the figures; returns the exit status."""
    figures = [package_lines(), longest_function(), largest_complexity(), readme_words()]
    print(table(figures))
    if "--update" in sys.argv[1:]:
        text = CONTRIBUTING.read_text(encoding="utf-8")
        CONTRIBUTING.write_text(_TABLE.sub(lambda _: table(figures), text), encoding="utf-8")
    passed = [f for f in figures if f.passed]
    for figure in passed:
        print(f"Too many: {figure.title} {figure.value:,}, at most {figure.limit:,}. {figure.place}".rstrip())
    return 1 if passed else 0


if __name__ == "__main__":
    sys.exit(main())
