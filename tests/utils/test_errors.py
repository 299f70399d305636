# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from medsegdiff_monai.utils import InputError, check_writable, errors, find_input_error, printable, reason_of

ERRORS_FOLDER = Path(errors.__file__).parent  # imported alone in the subprocesses, which then need no PyTorch


def wrapped(cause: BaseException, *wrappers: BaseException) -> BaseException:
    """The outermost of exceptions that were raised each from the one before."""
    for wrapper in wrappers:
        try:
            raise wrapper from cause
        except BaseException as e:
            cause = e
    return cause


def run(statements: str) -> subprocess.CompletedProcess[str]:
    program = f"from errors import InputError, install_error_hook\ninstall_error_hook()\n{statements}\n"
    environment = {**os.environ, "PYTHONPATH": str(ERRORS_FOLDER)}
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment, check=False)


@pytest.mark.parametrize("depth", [0, 1, 3])
def test_input_error_is_found_behind_any_number_of_wrappers(depth: int) -> None:
    cause = InputError("Case a is damaged: replace it.")
    error = wrapped(cause, *(RuntimeError(f"applying transform {i}") for i in range(depth)))
    assert find_input_error(error) is cause
    assert reason_of(error) == "Case a is damaged: replace it."


def test_a_bug_in_handling_an_input_error_is_not_hidden_by_it() -> None:
    error = RuntimeError("while cleaning up")
    error.__context__ = InputError("Case a is damaged: replace it.")
    assert find_input_error(error) is None


def test_reason_of_another_error_is_its_root_in_one_line() -> None:
    error = wrapped(KeyError("image"), ValueError("in between"), RuntimeError("outermost"))
    assert find_input_error(error) is None
    assert reason_of(error) == "KeyError: 'image'"
    assert reason_of(OSError("two\n   lines")) == "OSError: two lines"
    assert isinstance(InputError("no reason"), ValueError)


@pytest.mark.parametrize(
    "statements",
    [
        "raise InputError('Case a is damaged: replace it.')",
        "try:\n    raise InputError('Case a is damaged: replace it.')\n"
        "except InputError as e:\n    raise RuntimeError('applying transform') from e",
    ],
    ids=["bare", "wrapped"],
)
def test_program_ends_with_the_sentence_alone(statements: str) -> None:
    result = run(statements)
    assert result.returncode == 1
    assert (result.stdout, result.stderr) == ("", "Error: Case a is damaged: replace it.\n")


@pytest.mark.parametrize(
    ("statements", "line"),
    [
        ("raise KeyboardInterrupt", "Stopped."),
        ("raise KeyboardInterrupt('Stopped; go on.')", "Stopped; go on."),
        ("try:\n    raise KeyboardInterrupt\nexcept BaseException:\n    {}['cleaning up']", "Stopped."),
        ("try:\n    raise KeyboardInterrupt\nfinally:\n    raise InputError('Cannot write a.pt.')", "Stopped."),
        (
            "import os, signal, time\n"
            "class Closing:\n"
            "    def __del__(self):\n"
            "        os.kill(os.getpid(), signal.SIGINT)\n"
            "        time.sleep(0)\n"
            "closing = Closing()\n"
            "del closing\n"
            "time.sleep(60)",
            "Stopped.",
        ),
    ],
    ids=["bare", "with its line", "error after it", "refusal after it", "while an object is deleted"],
)
def test_program_that_ctrl_c_ends_says_so_in_one_line(statements: str, line: str) -> None:
    result = run(statements)
    assert result.returncode == 130
    assert (result.stdout, result.stderr) == ("", f"{line}\n")


def test_program_shows_any_other_error_as_before() -> None:
    result = run("{}['absent']")
    assert result.returncode == 1
    assert result.stderr.startswith("Traceback (most recent call last):")
    assert result.stderr.endswith("KeyError: 'absent'\n")


def test_writable_folder_is_made_and_left_empty(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    assert check_writable(str(folder)) == folder
    assert list(folder.iterdir()) == []
    (folder / "old.txt").write_text("kept")
    check_writable(folder)
    assert [(p.name, p.read_text()) for p in folder.iterdir()] == [("old.txt", "kept")]


@pytest.mark.parametrize("below", ["", "results", "results/deep"])
def test_folder_that_cannot_be_is_refused(tmp_path: Path, below: str) -> None:
    # The tests may run as root, whom permissions do not stop: a regular file stands in the way.
    (tmp_path / "file").write_text("kept")
    folder = tmp_path / "file" / below
    with pytest.raises(InputError, match=f"output folder {folder} .*choose another folder") as caught:
        check_writable(folder)
    assert isinstance(caught.value.__cause__, OSError)
    assert (tmp_path / "file").read_text() == "kept"


def test_what_a_terminal_would_obey_is_escaped() -> None:
    assert str(InputError("No file \x1b[2Ja\nb\u202e.png.")) == r"No file \x1b[2Ja\nb\u202e.png."
    assert reason_of(OSError("bad \x1b[31mname")) == r"OSError: bad \x1b[31mname"


def test_letters_of_all_languages_stay() -> None:
    assert printable("Müller 山田 3.5 mm²") == "Müller 山田 3.5 mm²"


def test_control_characters_and_turned_writing_are_escaped() -> None:
    assert printable("a\tb\r\n\x1b]0;x\x07\u202e") == r"a\tb\r\n\x1b]0;x\x07\u202e"


def test_bytes_that_are_no_text_can_be_printed() -> None:
    printable(os.fsdecode(b"scan\xff.png")).encode("utf-8")
