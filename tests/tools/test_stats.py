# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
CODE = '''
def short(a, b):
    """Add."""
    return a + b


def branching(a):
    if a > 0 and a < 5:
        return 1
    for i in range(a):
        if i == 3:
            return i
    return 0
'''


@pytest.fixture
def stats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script, on a small repository."""
    spec = importlib.util.spec_from_file_location("stats", REPOSITORY / "tools" / "stats.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "stats", module)
    spec.loader.exec_module(module)
    package = tmp_path / "package"
    package.mkdir()
    (package / "code.py").write_text(CODE)
    (tmp_path / "README.md").write_text("three words here\n")
    (tmp_path / "CONTRIBUTING.md").write_text("before\n<!-- make stats -->\nold\n<!-- end of make stats -->\nafter\n")
    monkeypatch.setattr(module, "REPOSITORY", tmp_path)
    monkeypatch.setattr(module, "PACKAGE", package)
    monkeypatch.setattr(module, "CONTRIBUTING", tmp_path / "CONTRIBUTING.md")
    return module


def test_figures_are_counted(stats: ModuleType) -> None:
    assert stats.package_lines().value == len(CODE.splitlines())
    assert (stats.longest_function().value, stats.longest_function().place) == (7, "package/code.py:7 branching")
    assert stats.largest_complexity().value == 4  # three branches, and one; a condition counts once
    assert stats.readme_words().value == 3


def test_a_limit_that_is_passed_is_named(stats: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert stats.main() == 0
    (stats.REPOSITORY / "README.md").write_text("word " * 901)
    assert stats.main() == 1
    assert "words of the README 901, at most 900." in capsys.readouterr().out


def test_the_table_of_the_guide_is_rewritten(stats: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["stats.py", "--update"])
    stats.main()
    text = stats.CONTRIBUTING.read_text()
    assert text.startswith("before\n<!-- make stats -->\n| figure |")
    assert text.endswith("<!-- end of make stats -->\nafter\n")
    assert "old" not in text
