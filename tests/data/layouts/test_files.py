# Copyright (c) MedSegDiff-MONAI contributors
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#     http://www.apache.org/licenses/LICENSE-2.0
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from medsegdiff_monai.data.layouts.files import existing_folder, files_below
from medsegdiff_monai.utils import InputError


def test_files_are_sorted_by_number_without_what_is_hidden_and_below_the_depth(tmp_path: Path) -> None:
    for name in ("b10.png", "b2.png", ".b3.png", "x/c.png", "x/y/d.png", "__MACOSX/e.png", ".git/f.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    files, problems = files_below(tmp_path, 1)
    assert [p.relative_to(tmp_path).as_posix() for p in files] == ["b2.png", "b10.png", "x/c.png"]
    assert problems == []


def test_links_to_nothing_and_pipes_are_named_and_not_opened(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "good.png").symlink_to("file")
    (tmp_path / "bad.png").symlink_to("nowhere")
    (tmp_path / "x" / "loop.png").symlink_to("loop.png")
    os.mkfifo(tmp_path / "x" / "pipe.png")
    files, problems = files_below(tmp_path, 1)
    assert [p.name for p in files] == ["file", "good.png"]
    assert [name for name, _ in problems] == ["bad.png", "x/loop.png", "x/pipe.png"]
    assert "link to what is not there" in problems[0][1]
    assert "is a pipe" in problems[2][1]


@pytest.fixture
def forbid(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """Make folders unreadable, for the superuser as well."""
    scan = os.scandir

    def forbid(folder: Path) -> None:
        def scandir(path: Any = ".") -> Any:
            if Path(path) == folder:
                raise PermissionError(13, "Permission denied", str(path))
            return scan(path)

        monkeypatch.setattr(os, "scandir", scandir)

    return forbid


def test_folder_that_cannot_be_read_is_named(tmp_path: Path, forbid: Callable[[Path], None]) -> None:
    (tmp_path / "x" / "y").mkdir(parents=True)
    (tmp_path / "x" / "a.png").touch()
    forbid(tmp_path / "x" / "y")
    assert files_below(tmp_path, 1) == ([tmp_path / "x" / "a.png"], [])
    files, problems = files_below(tmp_path, 2)
    assert files == [tmp_path / "x" / "a.png"]
    assert problems == [("x/y", "The folder cannot be read (Permission denied): mend its permissions.")]


def test_root_that_cannot_be_read_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *arguments: False)
    with pytest.raises(InputError, match="cannot be read: mend its permissions"):
        existing_folder(tmp_path)
