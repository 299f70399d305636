# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

import sys
from typing import Any

from fire.parser import DefaultParseValue

from medsegdiff_monai.utils.errors import InputError

__all__ = ["check_options", "is_on", "typed_text"]

# Options whose values expressions of the configurations join with file names, before any code of ours sees them.
_OPTIONAL = "finetune_from"
_JOINED = ("bundle_root", "ckpt_dir", _OPTIONAL)
_SWITCHES = ("amp", "resume", "resample_contrasts", "with_labels")
_REPLACED = {
    "details": "add the overlay, --config_file \"['configs/inference.json','configs/details.json']\"",
    "air": "write --background_value",
    "several_readers": "add the overlays readers.json and readers_train.json, or readers_evaluate.json",
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

    Fire, which reads options for ``python -m monai.bundle``, takes the folder ``2024`` for a number, ``a,b`` for a
    tuple and ``run #3`` for ``run`` with a comment. A value that did not come from the option stays.
    """
    text = _typed_options().get(option)
    if text is None:
        return value
    read = DefaultParseValue(text)
    return text if type(read) is type(value) and read == value else value


def is_on(switch: Any, name: str) -> bool:
    """A switch of a configuration, which a command line or a file of arguments may give as the word ``true``.

    Raises:
        InputError: when it is anything else than that, True or False.
    """
    if not isinstance(switch, bool) and switch != "true":
        raise InputError(f"{name} must be True or False, got {switch!r}: write --{name} False, or leave it out.")
    return bool(switch)


def check_options() -> None:
    """Refuse options as they were typed that no code of ours could put right.

    A bundle passes over a folder ``None`` as if nothing had been typed, and joins some folders with file names by
    itself. A switch ``false`` is a word, which Python takes for yes. Options of earlier versions are refused as well.
    """
    for name, text in _typed_options().items():
        value = DefaultParseValue(text)
        is_lost = name in _FOLDERS and text and value is None and name != _OPTIONAL
        if is_lost or (name in _JOINED and value not in (text, None)):
            raise InputError(f"--{name} {text} is not read as the name of a folder or file: write ./{text}.")
        if name in _SWITCHES and isinstance(value, str) and value:
            is_on(value, name)
        if name in _REPLACED:
            raise InputError(f"--{name} is no option any more: {_REPLACED[name]}.")
