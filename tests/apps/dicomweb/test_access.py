# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import base64
from pathlib import Path

import pytest
import requests

from medsegdiff_monai.apps.dicomweb import Credentials, read_credentials
from medsegdiff_monai.utils import InputError

PREFIX = "MEDSEGDIFF_DICOMWEB_"


def sent(credentials: Credentials) -> str | None:
    """The header that requests sends with them."""
    session = requests.Session()
    session.auth = credentials
    prepared = session.prepare_request(requests.Request("GET", "http://127.0.0.1/"))
    return prepared.headers.get("Authorization")


def written(tmp_path: Path, text: str, mode: int = 0o600) -> Path:
    file = tmp_path / "credentials"
    file.write_text(text, encoding="utf-8")
    file.chmod(mode)
    return file


def test_user_and_password_of_the_environment_in_utf_8() -> None:
    found = read_credentials(environment={f"{PREFIX}USER": "Jürgen", f"{PREFIX}PASSWORD": "a:b ß"})
    header = sent(found)
    assert header is not None
    assert base64.b64decode(header.removeprefix("Basic ")).decode() == "Jürgen:a:b ß"
    assert found.given


def test_a_token_of_the_environment() -> None:
    assert sent(read_credentials(environment={f"{PREFIX}TOKEN": "abc.def"})) == "Bearer abc.def"


def test_a_file_holds_alone(tmp_path: Path) -> None:
    file = written(tmp_path, "# of the research PACS\n\nuser = anna\npassword = ge=heim\n")
    environment = {f"{PREFIX}TOKEN": "other"}
    assert read_credentials(file, environment) == Credentials(user="anna", password="ge=heim")


def test_without_any_nothing_is_sent_not_even_of_netrc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    netrc = written(tmp_path, "machine 127.0.0.1 login anna password geheim\n")
    monkeypatch.setenv("NETRC", str(netrc))
    session = requests.Session()
    plain = session.prepare_request(requests.Request("GET", "http://127.0.0.1/"))
    assert "Authorization" in plain.headers  # what requests does by itself
    nothing = read_credentials(environment={})
    assert sent(nothing) is None
    assert not nothing.given


def test_they_are_not_shown() -> None:
    assert "geheim" not in repr(Credentials("anna", "geheim", "geheim2"))


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o666])
def test_a_file_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    file = written(tmp_path, "token = geheim\n", mode)
    with pytest.raises(InputError, match="can be read by other users: take that away, with chmod 600"):
        read_credentials(file)


@pytest.mark.parametrize(
    ("text", "fragment"),
    [
        ("user = anna\n", "hold a user or a password alone"),
        ("password = geheim\n", "hold a user or a password alone"),
        ("user = anna\npassword = geheim\ntoken = geheim\n", "hold a token and a user or password"),
        ("geheim\n", "Line 1 of"),
        ("user = anna\npasword = geheim\n", "Line 2 of"),
        ("", "holds no credentials"),
        ("user = a:b\npassword = geheim\n", "characters that a user, password or token cannot have"),
        ("token = gehe\x01im\n", "characters that a user, password or token cannot have"),
        ("token = gehéim\n", "characters that a user, password or token cannot have"),
    ],
)
def test_files_that_are_incomplete_or_not_understood_are_refused(tmp_path: Path, text: str, fragment: str) -> None:
    with pytest.raises(InputError) as e:
        read_credentials(written(tmp_path, text))
    assert fragment in str(e.value)
    assert "geh" not in str(e.value)


def test_a_file_that_is_missing_or_no_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        read_credentials(tmp_path / "nowhere")
    file = written(tmp_path, "")
    file.write_bytes(b"\xff\xfe\xfd")
    with pytest.raises(InputError, match="it is no text"):
        read_credentials(file)
