# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import os

from medsegdiff_monai.utils import printable


def test_letters_of_all_languages_stay() -> None:
    assert printable("Müller 山田 3.5 mm²") == "Müller 山田 3.5 mm²"


def test_control_characters_and_turned_writing_are_escaped() -> None:
    assert printable("a\tb\r\n\x1b]0;x\x07\u202e") == r"a\tb\r\n\x1b]0;x\x07\u202e"


def test_bytes_that_are_no_text_can_be_printed() -> None:
    printable(os.fsdecode(b"scan\xff.png")).encode("utf-8")
