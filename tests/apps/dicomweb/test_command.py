# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from pathlib import Path

import pytest

from medsegdiff_monai.apps.commands import Commands
from medsegdiff_monai.apps.dicomweb import Limits, run_dicomweb
from medsegdiff_monai.apps.dicomweb.command import read_studies
from medsegdiff_monai.utils import InputError

UID, OTHER = "1.2.840.10008.1", "2.25.329800735698586629295641978511506172918"


def test_studies_with_commas_between_or_in_sequences_each_once() -> None:
    assert read_studies(f"{UID}, {OTHER},{UID}") == [UID, OTHER]
    assert read_studies((UID, OTHER)) == [UID, OTHER]


def test_an_option_that_is_repeated_is_taken_each_time() -> None:
    line = ["dicomweb", "--url", "http://x", "--study", UID, f"--study={OTHER},1.20", "--bundle", "b"]
    assert read_studies(OTHER, line) == [UID, OTHER, "1.20"]


@pytest.mark.parametrize("study", [None, "", ",", ()])
def test_no_study_is_refused(study: object) -> None:
    with pytest.raises(InputError, match="No study is given"):
        read_studies(study)


@pytest.mark.parametrize("study", ["Testmann", "4711007", "1.02.3", "1..2", ".1.2", "1.2.", f"1.{'2' * 63}"])
def test_what_is_no_uid_is_refused_and_not_repeated(study: str) -> None:
    with pytest.raises(InputError, match="number 2 is no UID") as e:
        read_studies(f"{UID},{study}")
    assert study not in str(e.value)


@pytest.mark.parametrize("name", ["timeout", "max_time", "max_size"])
@pytest.mark.parametrize("value", [0, -1, "60s", float("nan"), float("inf"), True])
def test_a_limit_that_is_none_is_refused(name: str, value: float) -> None:
    with pytest.raises(InputError, match=f"--{name.replace('_', '-')} must be a number above 0"):
        run_dicomweb("http://127.0.0.1/dicom-web", [UID], "nowhere", limits=Limits(**{name: value}))


def test_the_command_refuses_a_password_in_the_address_and_a_missing_bundle(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["medsegdiff_monai", "dicomweb", "--study", UID])
    with pytest.raises(InputError, match="must not hold a user name or password"):
        Commands().dicomweb("http://a:b@c/d", UID, "nowhere")
    monkeypatch.setenv("MEDSEGDIFF_DICOMWEB_TOKEN", "geheim")
    with pytest.raises(InputError, match="There is no bundle in nowhere"):
        Commands().dicomweb("http://127.0.0.1/dicom-web", UID, "nowhere")
    assert capsys.readouterr().err == ""
    with pytest.raises(InputError, match="There is no bundle in nowhere"):
        Commands().dicomweb("http://pacs.example/dicom-web", UID, "nowhere")
    warned = capsys.readouterr().err
    assert warned == "Warning: the credentials go over plain http, which others can read on the way: use https.\n"


def test_a_folder_that_is_in_use_is_refused_before_anything_is_asked(tmp_path: Path, thyroid_bundle: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(InputError, match="is not empty: choose another folder"):
        run_dicomweb("http://127.0.0.1:9/dicom-web", [UID], str(thyroid_bundle), out=tmp_path, device="cpu")
