# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

"""Foundations that know nothing of images: errors, files, options as typed, processes, hardware, a bundle's run."""

from .command_line import is_on, typed_text
from .distributed import (
    default_device,
    is_main_process,
    process_rank,
    shared_draw,
    shared_mean,
    start_distributed,
    stop_distributed,
    world_size,
)
from .errors import INTERRUPTED, InputError, find_input_error, install_error_hook, printable, reason_of
from .files import PARTIAL, check_writable, locked_folder, replace_atomically
from .hardware import (
    check_memory,
    checked_device,
    fast_cpu_dtype,
    free_memory,
    has_gpu,
    keep_freed_memory,
    return_freed_memory,
    taken_memory,
)
from .run import run_and_report, start_run
