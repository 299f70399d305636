# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import fire
import pytest

from medsegdiff_monai.utils import InputError, check_writable, start_run, typed_text

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
    read_by_fire(monkeypatch, "--dataset_dir", "2024", "--details", "--output_dir", "1")
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
