# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

import errno
import logging
import os
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch.distributed as dist
from monai.utils import set_determinism

from medsegdiff_monai.utils.command_line import check_options
from medsegdiff_monai.utils.distributed import world_size
from medsegdiff_monai.utils.errors import InputError, install_error_hook
from medsegdiff_monai.utils.files import locked_folder
from medsegdiff_monai.utils.hardware import keep_freed_memory

__all__ = ["run_and_report", "start_run"]

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def start_run(seed: int | None = None, keep_memory: bool = True) -> None:
    """Begin a run of a bundle: errors as one sentence, options checked, generators seeded, freed memory kept.

    Args:
        seed: seed of all generators; None leaves them as they are.
        keep_memory: whether the process keeps freed memory, which is faster.
    """
    install_error_hook()
    check_options()
    if keep_memory:
        keep_freed_memory()
    if seed is not None:
        set_determinism(seed)


def run_and_report(
    engine: Any, datasets: Sequence[Any], folder: str | os.PathLike[str] | None = None, checkpoint: Any = None
) -> None:
    """Run an engine to its end, then name the cases that could not be used.

    Args:
        engine: MONAI trainer or evaluator.
        datasets: the :class:`~medsegdiff_monai.data.ScreenedDataset` that it used.
        folder: where it writes, locked until the end of the run; None for the checkpoint's folder.
        checkpoint: :class:`~medsegdiff_monai.handlers.ResumableCheckpoint` that a training can go on from after Ctrl-C.

    Raises:
        InputError: when another run writes to the folder, or a case could not be used; the others are done by then.
        KeyboardInterrupt: after Ctrl-C, with the line that says how to go on.
    """
    with locked_folder(checkpoint.path.parent if folder is None else folder), _without_tracebacks():
        if world_size() > 1:
            dist.barrier()  # the main process holds the folder now, and no other has begun to write
        try:
            engine.run()
        except KeyboardInterrupt as e:
            go_on = checkpoint is not None and checkpoint.is_of_this_run
            raise KeyboardInterrupt("Stopped; go on with --resume true." if go_on else "Stopped.") from e
        except OSError as e:
            if e.errno not in _FULL:
                raise
            what = e.filename or "the results"
            raise InputError(f"Cannot write {what} ({e.strerror}): free space or choose another output folder.") from e
        for dataset in datasets:
            dataset.report()


@contextmanager
def _without_tracebacks() -> Iterator[None]:
    """Keep out of log and terminal what engines log of Ctrl-C, and what TensorBoard's thread prints of a full disk."""

    def is_shown(record: logging.LogRecord) -> bool:
        return not isinstance(sys.exc_info()[1], KeyboardInterrupt)

    def of_thread(arguments: threading.ExceptHookArgs) -> None:
        if getattr(arguments.exc_value, "errno", None) not in _FULL:  # the engine gets it as well
            previous(arguments)

    handlers, previous = list(logging.root.handlers), threading.excepthook
    for handler in handlers:
        handler.addFilter(is_shown)
    threading.excepthook = of_thread
    try:
        yield
    finally:
        threading.excepthook = previous
        for handler in handlers:
            handler.removeFilter(is_shown)
