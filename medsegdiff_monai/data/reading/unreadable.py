# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from medsegdiff_monai.utils import InputError

__all__ = ["UnreadableFileError", "naming"]


class UnreadableFileError(Exception):
    """A file that is not read. Its message is the rest of a sentence that begins with which file it is."""


@contextmanager
def naming(which: str) -> Iterator[None]:
    """Let whatever fails while a file is read become one sentence about it.

    Args:
        which: the file as the subject of the sentence, such as ``"The image file a.png"``.

    Raises:
        InputError: when anything fails.
    """
    try:
        yield
    except InputError:  # of another file
        raise
    except UnreadableFileError as e:
        raise InputError(f"{which} {e}") from e
    except MemoryError as e:
        raise InputError(f"{which} does not fit into the memory: free some or make it smaller.") from e
    except Exception as e:  # decoders raise anything
        if isinstance(e, OSError) and e.errno:
            raise InputError(f"{which} cannot be read ({e.strerror}): mend its permissions or its disk.") from e
        raise InputError(
            f"{which} cannot be read: it is damaged, truncated or of a rare form that is not read; replace it."
        ) from e
