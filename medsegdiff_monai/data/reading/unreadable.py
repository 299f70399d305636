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
