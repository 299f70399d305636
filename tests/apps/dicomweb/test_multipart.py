# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import email
import tempfile
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medsegdiff_monai.apps.dicomweb.multipart import join_parts, save_parts

KIND = "multipart/related; boundary=edge"
# Content that looks like what stands between the parts, or like a part of it.
CONTENT = st.lists(st.sampled_from([b"\r", b"\n", b"-", b"\r\n--edg", b"\r\n--", b"edge", b"\0", b"a"]), max_size=12)
PARTS = st.lists(CONTENT.map(b"".join).filter(lambda part: b"\r\n--edge" not in part), max_size=4)


def saved(pieces: list[bytes], kind: str = KIND) -> list[bytes]:
    with tempfile.TemporaryDirectory() as folder:
        return [file.read_bytes() for file in save_parts(iter(pieces), kind, Path(folder))]


@settings(max_examples=60, deadline=None)
@given(PARTS, st.lists(st.integers(0, 300), max_size=12))
def test_parts_come_back_wherever_the_message_is_cut(parts: list[bytes], cuts: list[int]) -> None:
    message = join_parts(parts, "edge")
    bounds = [0, *sorted(c for c in set(cuts) if 0 < c < len(message)), len(message)]
    assert saved([message[a:b] for a, b in pairwise(bounds)]) == parts


def test_a_message_is_what_others_read() -> None:
    whole = email.message_from_bytes(
        b"Content-Type: " + KIND.encode() + b"\r\n\r\n" + join_parts([b"ab", b"c"], "edge")
    )
    payload = whole.get_payload()
    assert isinstance(payload, list)
    assert [part.get_payload(decode=True) for part in payload] == [b"ab", b"c"]
    assert {part.get_content_type() for part in payload} == {"application/dicom"}


@pytest.mark.parametrize("begin", [b"", b"\r\n", b"for readers without MIME\r\n"])
@pytest.mark.parametrize("header", [b"", b"Content-Type: application/dicom\r\nContent-Length: 2\r\n"])
def test_preamble_and_headers_may_be_there_or_not(begin: bytes, header: bytes) -> None:
    assert saved([begin + b"--edge\r\n" + header + b"\r\nab\r\n--edge--\r\nafter"]) == [b"ab"]


def test_a_part_that_breaks_off_is_none_and_leaves_no_file(tmp_path: Path) -> None:
    message = join_parts([b"ab", b"cd"], "edge")
    files = list(save_parts(iter([message[: message.index(b"cd") + 1]]), KIND, tmp_path))
    assert [file.read_bytes() for file in files] == [b"ab"]
    assert list(tmp_path.iterdir()) == files
    assert saved([]) == []


@pytest.mark.parametrize("kind", ["text/html", "multipart/related", "application/dicom; boundary=edge", ""])
def test_another_kind_of_answer_is_refused(kind: str) -> None:
    with pytest.raises(ValueError, match="no multipart"):
        saved([join_parts([b"ab"], "edge")], kind)
