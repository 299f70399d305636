# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

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
