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

import sys

import fire

from medsegdiff_monai.apps.commands import Commands
from medsegdiff_monai.utils import InputError, keep_freed_memory


def main() -> None:
    """Run a command; bad input ends it with one sentence and exit status 2."""
    keep_freed_memory()
    try:
        fire.Fire(Commands(), name="medsegdiff_monai")
    except InputError as e:
        print(f"Error: {e}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
