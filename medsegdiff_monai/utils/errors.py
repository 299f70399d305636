# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

import _thread
import signal
import sys
import threading
from types import TracebackType
from typing import Any

__all__ = ["INTERRUPTED", "InputError", "find_input_error", "install_error_hook", "printable", "reason_of"]

_ONCE_MORE = 0.1  # seconds
INTERRUPTED = 128 + signal.SIGINT  # exit status of what Ctrl-C ended, as shells report it


def printable(text: object) -> str:
    """Text in one line that a terminal or a log shows and does not obey.

    Names of files and attributes of images may hold newlines, escape sequences, marks that turn the direction of
    writing and bytes that are no text. Each becomes its escape, as ``\\x1b``.
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in str(text))


class InputError(ValueError):
    """Input that a user can mend. Its message is one sentence, made printable: which case, which file, what to do."""

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))


def _root(error: BaseException) -> BaseException:
    """The :class:`InputError` that an exception was raised from, or else its first cause."""
    while error.__cause__ is not None and not isinstance(error, InputError):
        error = error.__cause__
    return error


def find_input_error(error: BaseException) -> InputError | None:
    """The :class:`InputError` that an exception was raised from, or None."""
    root = _root(error)
    return root if isinstance(root, InputError) else None


def _find_interrupt(error: BaseException | None) -> KeyboardInterrupt | None:
    """The Ctrl-C behind an exception, or None; also where tidying up after it has raised that exception."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error


def reason_of(error: BaseException) -> str:
    """One line that says why: the message of the :class:`InputError` behind an exception, or else of its root."""
    root = _root(error)
    text = printable(" ".join(str(root).split()))
    return text if isinstance(root, InputError) else f"{type(root).__name__}: {text}"


def install_error_hook() -> None:
    """Let a program that ends by an :class:`InputError` or by Ctrl-C print one sentence in place of a traceback.

    Programs that are not ours (``python -m monai.bundle``) wrap it several times. The exit status is 1, as of any
    exception, or 130 after Ctrl-C. Every other exception is shown as before.
    """
    previous, unraisable_before = sys.excepthook, sys.unraisablehook

    def unraisable_hook(unraisable: Any) -> None:
        if isinstance(unraisable.exc_value, KeyboardInterrupt):  # it came while an object was deleted, and is lost
            threading.Timer(_ONCE_MORE, _thread.interrupt_main).start()
        else:
            unraisable_before(unraisable)

    def hook(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
        interrupt, cause = _find_interrupt(error), find_input_error(error)
        if interrupt is not None:
            print(str(interrupt) or "Stopped.", file=sys.stderr)
            sys.exit(INTERRUPTED)  # Python would end itself by the signal, of which some callers make -2
        elif cause is not None:
            print(f"Error: {cause}", file=sys.stderr)
        else:
            previous(kind, error, traceback)

    sys.excepthook, sys.unraisablehook = hook, unraisable_hook
