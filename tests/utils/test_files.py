# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

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
