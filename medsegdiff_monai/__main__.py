# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

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
