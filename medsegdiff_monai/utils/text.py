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

__all__ = ["printable"]


def printable(text: object) -> str:
    """Text in one line that a terminal or a log shows and does not obey.

    File names and attributes of images may hold newlines, escape sequences, marks that turn the direction of writing,
    and bytes that are no text. Each of these becomes its escape, as ``\\x1b`` for the character that begins a
    terminal's command.

    Args:
        text: anything that has text.
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in str(text))
