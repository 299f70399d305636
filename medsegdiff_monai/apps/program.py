# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

import os
import signal
import sys
from collections.abc import Callable
from functools import partial
from types import FrameType
from typing import Any, get_args, get_type_hints

__all__ = ["run_program", "with_texts_as_typed"]

_STOPPED = "Stopped."


def run_program(name: str, load: Callable[[], Any]) -> None:
    """Run the command that the command line asks for.

    Bad input ends it with one sentence and exit status 2, Ctrl-C and SIGTERM with one line and 130 and 143. ``load``
    imports what the commands need, which takes seconds, and gives them.
    """
    # What runs in the background of a script has Ctrl-C ignored, and keeps it so.
    heeded = [n for n in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(n) is not signal.SIG_IGN]
    for number in heeded:
        signal.signal(number, _end_at_once)
    commands = load()
    import fire

    from medsegdiff_monai.utils import INTERRUPTED, InputError, install_error_hook

    install_error_hook()
    try:
        for number in heeded:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else _end)
        fire.Fire(commands, name=name)
    except InputError as e:
        print(f"Error: {e}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print(_STOPPED, file=sys.stderr)
        sys.exit(INTERRUPTED)


def with_texts_as_typed(commands: type) -> type:
    """Decorate commands so that texts stay as typed: Fire takes a folder ``1e5`` for a number, ``a,b`` for a tuple."""
    from fire.decorators import SetParseFn
    from fire.parser import DefaultParseValue

    for command in vars(commands).values():
        if callable(command):
            for name, kind in get_type_hints(command).items():
                is_text = str in (kind, *get_args(kind))
                SetParseFn(partial(_text, name) if is_text else DefaultParseValue, name)(command)
            SetParseFn(str)(command)  # of arguments without a name, which are all folders
    return commands


def _text(option: str, value: str) -> str:
    from medsegdiff_monai.utils import InputError

    if value == "True" and not any(argument == value or argument.endswith("=True") for argument in sys.argv):
        raise InputError(f"--{option} has no value: write it behind the option.")  # which Fire makes True
    return value


def _end_at_once(number: int, frame: FrameType | None) -> None:
    """While modules load there is nothing to tidy up, and some would take the exception for their own."""
    os.write(sys.stderr.fileno(), f"{_STOPPED}\n".encode())
    os._exit(128 + number)


def _end(number: int, frame: FrameType | None) -> None:
    """As an error does: no image of a patient stays in a temporary folder."""
    print(_STOPPED, file=sys.stderr)
    sys.exit(128 + number)
