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

from medsegdiff_monai.utils import printable


def test_letters_of_all_languages_stay() -> None:
    assert printable("Müller 山田 3.5 mm²") == "Müller 山田 3.5 mm²"


def test_control_characters_and_turned_writing_are_escaped() -> None:
    assert printable("a\tb\r\n\x1b]0;x\x07\u202e") == r"a\tb\r\n\x1b]0;x\x07\u202e"


def test_bytes_that_are_no_text_can_be_printed() -> None:
    printable(os.fsdecode(b"scan\xff.png")).encode("utf-8")
