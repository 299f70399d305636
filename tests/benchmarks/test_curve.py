# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from pathlib import Path

import pytest
from harness.curve import save_curve
from support.pictures import pixels_of, size_of

from medsegdiff_monai.utils import InputError


def test_plots_do_not_touch_the_state_of_pyplot(tmp_path: Path) -> None:
    from matplotlib import pyplot

    before = pyplot.get_fignums()
    save_curve(tmp_path / "b.png", [1, 2], {"a": [0.0, 1.0]}, "x", "y")
    assert pyplot.get_fignums() == before


def test_curves_have_their_colours_and_a_legend(tmp_path: Path) -> None:
    steps = list(range(1, 51))
    one = save_curve(tmp_path / "one.png", steps, {"loss": [1.0 / s for s in steps]}, "epoch", "loss")
    two = save_curve(
        tmp_path / "two.png",
        steps,
        {
            "training": [1.0 / s for s in steps],
            "validation": [1.0 / s + 0.1 if s % 5 == 0 else float("nan") for s in steps],
        },
        "epoch",
        "loss",
    )
    assert size_of(one) == size_of(two) == (900, 600)
    assert pixels_of(one, "#0072B2") > 500
    assert pixels_of(one, "#D55E00") == 0
    assert pixels_of(two, "#D55E00") > 30


@pytest.mark.parametrize(
    ("steps", "series", "message"),
    [
        ([1, 2], {}, "at least one series"),
        ([], {"a": []}, "at least one series"),
        ([1, 2], {"a": [1.0, 2.0], "b": [1.0]}, "'b'.*got 1 for 2"),
    ],
)
def test_curves_without_values_are_refused(steps: list, series: dict, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        save_curve(tmp_path / "bad.png", steps, series, "x", "y")
