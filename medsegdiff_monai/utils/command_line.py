# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import sys
from typing import Any

from fire.parser import DefaultParseValue

__all__ = ["misread_folders", "misread_switches", "replaced_options", "typed_text"]

# Options whose values expressions of the configurations join with file names, before any code of ours sees them.
_OPTIONAL = "finetune_from"
_JOINED = ("bundle_root", "ckpt_dir", _OPTIONAL)
_SWITCHES = ("amp", "resume", "resample_contrasts", "with_labels")
_REPLACED = {
    "details": "add the overlay, --config_file \"['configs/inference.json','configs/details.json']\"",
    "air": "write --background_value",
    "several_readers": "add the overlay configs/readers.json to --config_file",
}
_FOLDERS = (*_JOINED, "dataset_dir", "output_dir", "checkpoint", "datalist")


def _typed_options() -> dict[str, str]:
    """The options of this program's command line with their values as they were typed: ``--name value``."""
    options: dict[str, str] = {}
    for argument, following in zip(sys.argv[1:], [*sys.argv[2:], ""]):
        if argument.startswith("--"):
            name, equals, value = argument.removeprefix("--").partition("=")
            options[name.replace("-", "_")] = value if equals else "" if following.startswith("--") else following
    return options


def typed_text(value: Any, option: str) -> Any:
    """The value of an option as it was typed, where Fire has made something else of it.

    ``python -m monai.bundle`` has Fire read the values of its options, which takes the folder ``2024`` for a number,
    ``a,b`` for a tuple and ``run #3`` for ``run`` with a comment.

    Args:
        value: what a configuration holds.
        option: name of the option that it may have come from.

    Returns:
        The text, or the value itself where it is not what Fire makes of the option.
    """
    text = _typed_options().get(option)
    if text is None:
        return value
    read = DefaultParseValue(text)
    return text if type(read) is type(value) and read == value else value


def misread_switches() -> dict[str, str]:
    """The switches whose values, as they were typed, are words that Python takes for yes, such as ``false``."""
    read = {name: (text, DefaultParseValue(text)) for name, text in _typed_options().items() if name in _SWITCHES}
    return {name: text for name, (text, value) in read.items() if isinstance(value, str) and value not in ("true", "")}


def replaced_options() -> dict[str, str]:
    """Options of earlier versions that were typed, with what to write instead."""
    return {name: _REPLACED[name] for name in _typed_options() if name in _REPLACED}


def misread_folders() -> dict[str, str]:
    """The options for folders and files, with what was typed, that :func:`typed_text` cannot mend.

    A bundle passes over ``None`` as if nothing had been typed, and joins some folders with file names by itself.
    """
    read = {name: (text, DefaultParseValue(text)) for name, text in _typed_options().items() if name in _FOLDERS}
    lost = {name: text for name, (text, value) in read.items() if text and value is None and name != _OPTIONAL}
    return lost | {name: text for name, (text, value) in read.items() if name in _JOINED and value not in (text, None)}
