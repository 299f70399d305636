# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from .command_line import misread_folders, typed_text
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
from .errors import (
    INTERRUPTED,
    InputError,
    check_writable,
    find_input_error,
    find_interrupt,
    install_error_hook,
    reason_of,
)
from .files import PARTIAL, replace_atomically
from .folders import locked_folder, remove_leftovers
from .hardware import checked_device, fast_cpu_dtype, has_gpu
from .memory import check_memory, free_memory, keep_freed_memory, return_freed_memory, taken_memory
from .run import run_and_report, start_run
from .text import printable
