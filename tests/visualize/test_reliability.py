# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from medsegdiff_monai.metrics import ReliabilityBins
from medsegdiff_monai.utils import InputError
from medsegdiff_monai.visualize import save_reliability_diagram

BINS = ReliabilityBins([8.0, 0.0, 2.0], [0.1, None, 0.9], [0.25, None, 1.0])


def test_what_is_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Figure] = []
    save = Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda self, *a, **k: (drawn.append(self), save(self, *a, **k)))
    path = save_reliability_diagram(tmp_path / "new" / "r.png", {"before": BINS, "after": BINS}, "A title")
    picture = np.asarray(Image.open(path).convert("RGB"))
    assert min(picture.shape[:2]) > 500
    upper, lower = drawn[0].axes
    lines = {line.get_label(): line.get_xydata().tolist() for line in upper.lines}
    assert lines["before"] == lines["after"] == [[0.1, 0.25], [0.9, 1.0]]
    assert lines["as often as stated"] == [[0, 0], [1, 1]]
    assert lower.patches[0].get_data().values.tolist() == [8, 0, 2]
    assert len({line.get_color() for line in upper.lines}) == len({line.get_marker() for line in upper.lines}) == 3
    assert sorted(p.name for p in path.parent.iterdir()) == ["r.png"]


def test_nothing_and_too_much_are_refused(tmp_path: Path) -> None:
    for diagrams in ({}, {str(i): BINS for i in range(8)}):
        with pytest.raises(InputError, match=f"1 to 7 series, got {len(diagrams)}"):
            save_reliability_diagram(tmp_path / "r.png", diagrams)
