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
