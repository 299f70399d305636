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

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from monai.utils import set_determinism

from medsegdiff_monai.utils.command_line import misread_folders
from medsegdiff_monai.utils.errors import InputError, install_error_hook
from medsegdiff_monai.utils.memory import keep_freed_memory

__all__ = ["run_and_report", "start_run"]


def start_run(seed: int | None = None, keep_memory: bool = True, switches: Mapping[str, Any] | None = None) -> None:
    """What comes before any run of a bundle: errors as one sentence, seeded random numbers, and memory kept.

    Args:
        seed: seed of all generators; None leaves them as they are.
        keep_memory: whether the process keeps freed memory, which is faster, see :func:`keep_freed_memory`.
        switches: what is on or off, by name. ``--details false`` comes from a command line as a word, which Python
            takes for yes.

    Raises:
        InputError: when a switch is a word other than ``true``, or a folder's name is read as something else.
    """
    install_error_hook()
    for name, text in misread_folders().items():
        raise InputError(f"--{name} {text} is not read as the name of a folder or file: write ./{text}.")
    for name, value in (switches or {}).items():
        if isinstance(value, str) and value != "true":
            raise InputError(f"{name} must be True or False, got {value!r}: write --{name} False, or leave it out.")
    if keep_memory:
        keep_freed_memory()
    if seed is not None:
        set_determinism(seed)


def run_and_report(engine: Any, datasets: Sequence[Any]) -> None:
    """Run an engine to its end, then name the cases that could not be used.

    Args:
        engine: MONAI trainer or evaluator.
        datasets: the :class:`~medsegdiff_monai.data.ScreenedDataset` that it used.

    Raises:
        InputError: when a case could not be used; the others have been processed by then.
    """
    engine.run()
    for dataset in datasets:
        dataset.report()
