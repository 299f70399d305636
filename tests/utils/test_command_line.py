# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fire
import pytest

from medsegdiff_monai.utils import InputError, check_writable, is_on, start_run, typed_text

FOLDERS = ["2024", "1e5", "0x10", "-5", "a,b", "(x)", "[z]", "{a: 1}", "{z}", "True", "run #3", "'q'", "plain", "./7"]


def read_by_fire(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> dict[str, Any]:
    """The options that a program which runs Fire gets, as ``python -m monai.bundle run`` does."""
    monkeypatch.setattr(sys, "argv", ["monai.bundle", *arguments])
    return fire.Fire(lambda **options: options, command=list(arguments))


@pytest.mark.parametrize("folder", FOLDERS)
def test_folder_has_the_name_that_was_typed(folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for arguments in (["--output_dir", folder], [f"--output_dir={folder}"], ["--output-dir", folder, "--seed", "3"]):
        options = read_by_fire(monkeypatch, *arguments)
        assert typed_text(options["output_dir"], "output_dir") == folder
        assert check_writable(options["output_dir"]) == Path(folder)
        assert Path(folder).is_dir()


def test_value_that_was_not_typed_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    read_by_fire(monkeypatch, "--dataset_dir", "2024", "--amp", "--output_dir", "1")
    for value, option in ((2025, "dataset_dir"), ("2024", "dataset_dir"), (2024, "checkpoint"), (True, "output_dir")):
        assert typed_text(value, option) is value
    assert typed_text(Path("2024"), "dataset_dir") == Path("2024")


@pytest.mark.parametrize(
    ("arguments", "refused"),
    [
        (("--dataset_dir", "None"), "--dataset_dir None"),
        (("--bundle_root", "2024"), "--bundle_root 2024"),
        (("--ckpt_dir=run #3",), "--ckpt_dir run #3"),
        (("--bundle_root", "./2024", "--dataset_dir", "2024", "--finetune_from", "None", "--seed", "None"), None),
    ],
)
def test_folder_that_is_lost_before_any_code_of_ours_is_refused_with_the_way_to_write_it(
    arguments: tuple[str, ...], refused: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setattr(sys, "argv", ["monai.bundle", "run", *arguments])
    if refused is None:
        start_run(keep_memory=False)
    else:
        with pytest.raises(InputError, match=f"{refused} is not read as .*: write ./{refused.split(' ', 1)[1]}"):
            start_run(keep_memory=False)


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """A start of a run with the given command line."""
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)

    def run(*arguments: str) -> None:
        monkeypatch.setattr(sys, "argv", ["monai.bundle", "run", *arguments])
        start_run(keep_memory=False)

    return run


@pytest.mark.parametrize("switch", ["amp", "resume", "resample_contrasts", "with_labels"])
def test_word_that_python_takes_for_yes_is_no_switch(start: Callable[..., None], switch: str) -> None:
    for value in ("true", "True", "False", "0"):
        start(f"--{switch}", value)
        start(f"--{switch}={value}")
    start(f"--{switch}")
    start(f"--{switch}", "--seed", "3")
    for value in ("false", "no", "off"):
        with pytest.raises(InputError, match=f"{switch} must be True or False, got '{value}': write --{switch} False"):
            start(f"--{switch}={value}")


@pytest.mark.parametrize(
    ("arguments", "advice"),
    [
        (("--details", "true"), r"details is no option any more: add the overlay, .*configs/details\.json"),
        (("--details=false",), r"configs/details\.json"),
        (
            ("--several_readers", "true"),
            r"add the overlays readers\.json and readers_train\.json, or readers_evaluate\.json",
        ),
        (("--air", "0"), "write --background_value"),
    ],
)
def test_option_of_an_earlier_version_says_what_to_write(
    start: Callable[..., None], arguments: tuple[str, ...], advice: str
) -> None:
    with pytest.raises(InputError, match=advice):
        start("--seed", "3", *arguments)


@pytest.mark.parametrize(("switch", "on"), [(True, True), (False, False), ("true", True)])
def test_switch_may_be_the_word_true(switch: bool | str, on: bool) -> None:
    assert is_on(switch, "amp") is on


@pytest.mark.parametrize("word", ["false", "no", "", 1, None])
def test_any_other_word_is_no_switch(word: object) -> None:
    with pytest.raises(InputError, match=r"amp must be True or False, got .*: write --amp False, or leave it out"):
        is_on(word, "amp")
