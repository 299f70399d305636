# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from medsegdiff_monai.utils import InputError, locked_folder, replace_atomically


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_any_other_end_of_a_write_is_as_harmless(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "a.b.txt"
    path.write_text("old")

    def write(temporary: Path) -> None:
        assert temporary.parent == tmp_path
        assert temporary.suffix == ".txt"
        temporary.write_text("ne")
        raise error

    with pytest.raises(error):
        replace_atomically(path, write)
    assert [p.read_text() for p in tmp_path.iterdir()] == ["old"]
    replace_atomically(path, lambda temporary: temporary.write_text("new"))
    assert [p.read_text() for p in tmp_path.iterdir()] == ["new"]


HOLD = """
import sys
from medsegdiff_monai.utils import locked_folder
with locked_folder(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_run_into_one_folder_is_refused_until_the_first_has_ended(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(InputError, match="Another run is writing"), locked_folder(tmp_path):
            pass
        other.kill()
    with locked_folder(tmp_path) as folder:  # a killed process holds nothing
        assert folder == tmp_path
    assert list(tmp_path.iterdir()) == []


def test_a_run_may_open_its_own_folder_again(tmp_path: Path) -> None:
    with locked_folder(tmp_path / "out"), locked_folder(tmp_path / "out"):
        assert (tmp_path / "out").is_dir()


def test_leftovers_of_a_killed_run_are_removed_and_nothing_else(tmp_path: Path) -> None:
    kept = ["tmpabcdefgh", "a_seg.png"]
    for name in kept:
        (tmp_path / name).write_text("content")
    for name in (".partial-x.png", ".write-test-7"):
        (tmp_path / name).touch()
    (tmp_path / ".partial-case").mkdir()
    (tmp_path / ".partial-case" / "seg.dcm").touch()
    with locked_folder(tmp_path):
        assert sorted(p.name for p in tmp_path.iterdir() if p.suffix != ".lock") == sorted(kept)
