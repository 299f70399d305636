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

from pathlib import Path

import pytest

from medsegdiff_monai.utils import replace_atomically


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_any_other_end_of_a_write_is_as_harmless(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "a.b.txt"
    path.write_text("old")

    def write(temporary: Path) -> None:
        assert temporary.parent == tmp_path
        assert temporary.suffix == ".txt"
        temporary.write_text("ne")
        raise error

    with pytest.raises(error):
        replace_atomically(path, write)
    assert [p.read_text() for p in tmp_path.iterdir()] == ["old"]
    replace_atomically(path, lambda temporary: temporary.write_text("new"))
    assert [p.read_text() for p in tmp_path.iterdir()] == ["new"]
