# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

"""Extension of griffe for ``make docs``: references and literals of docstrings become Markdown."""

from __future__ import annotations

import re
from typing import Any

import griffe

_ROLE = re.compile(r":(?:class|func|meth|mod|attr|data|exc):`(~?)([\w.]+)`")
_LITERAL = re.compile(r"``([^`]+)``")
_TABLE = re.compile(r"^( *)=+(?: +=+)+ *\n(?:.*\n)*?\1=+(?: +=+)+ *\n(?:.*\n)*?\1=+(?: +=+)+ *$", re.MULTILINE)


def _reference(match: re.Match[str]) -> str:
    short, target = match.groups()
    name = target.rsplit(".", 1)[-1] if short else target
    if not target.startswith("medsegdiff_monai."):
        return f"`{name}`"
    return f'<autoref identifier="{target}" optional><code>{name}</code></autoref>'


def as_markdown(text: str) -> str:
    """A docstring's text as Markdown."""
    text = _TABLE.sub(lambda m: f"{m.group(1)}```text\n{m.group()}\n{m.group(1)}```", text)
    text = _LITERAL.sub(r"`\1`", _ROLE.sub(_reference, text))
    return re.sub(r"::\n\n(?=    )", ":\n\n", text)


class MarkdownDocstrings(griffe.Extension):
    """Turn every docstring of the package into Markdown."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Rewrite the docstring of an object that was just loaded."""
        if obj.docstring is not None:
            obj.docstring.value = as_markdown(obj.docstring.value)
