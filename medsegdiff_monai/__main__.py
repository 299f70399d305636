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

from medsegdiff_monai.apps.program import run_program


def _commands() -> object:
    from medsegdiff_monai.apps.commands import Commands
    from medsegdiff_monai.utils import keep_freed_memory

    keep_freed_memory()
    return Commands()


def main() -> None:
    """Run a command."""
    run_program("medsegdiff_monai", _commands)


if __name__ == "__main__":
    main()
