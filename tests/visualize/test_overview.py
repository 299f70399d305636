# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.pictures import pixels_of, size_of

from medsegdiff_monai.utils import InputError
from medsegdiff_monai.visualize import OverviewRow, save_overview
from medsegdiff_monai.visualize.overview import PREDICTION_COLOUR, REFERENCE_COLOUR


def square(low: int, high: int, size: int = 48) -> np.ndarray:
    mask = np.zeros((size, size), bool)
    mask[low:high, low:high] = True
    return mask


def make_row(name: str = "case_1", size: int = 48, **parts: np.ndarray | None) -> OverviewRow:
    """Grey noise, a reference square and a prediction that is shifted from it."""
    prediction = square(14, 30, size)
    given: dict = {
        "image": np.random.default_rng(0).integers(60, 120, (size, size)).astype(np.uint8),
        "label": square(10, 26, size),
        "mask": prediction,
        "probability": 0.9 * prediction,
        "uncertainty": np.where(prediction, 0.2, 0.0),
    }
    return OverviewRow(name, **{**given, **parts})


def test_dice_of_a_row() -> None:
    assert make_row().dice == pytest.approx(2 * 12**2 / (2 * 16**2))
    assert make_row(label=None).dice is None
    empty = np.zeros((48, 48), np.uint8)
    assert make_row(label=empty).dice == 0.0
    assert make_row(label=empty, mask=empty).dice == 1.0
    assert make_row(label=2 * square(10, 26), mask=square(10, 26)).dice == 1.0  # any value but 0 is foreground


def test_overview_shows_both_outlines(tmp_path: Path) -> None:
    path = save_overview(tmp_path / "made" / "overview.png", [make_row("a"), make_row("b")], title="Two cases")
    width, height = size_of(path)
    assert 1200 <= width <= 2400
    assert 600 <= height <= 1500
    nothing = np.zeros((48, 48), bool)
    bare = save_overview(
        tmp_path / "bare.png", [make_row("a", label=None, mask=nothing), make_row("b", label=None, mask=nothing)]
    )
    for colour in (REFERENCE_COLOUR, PREDICTION_COLOUR):  # the bare one has them in its legend only
        assert pixels_of(path, colour) > pixels_of(bare, colour) + 300


@pytest.mark.parametrize("name", [r"$\frac$", "a$b$", "a\x1b[2J", "\udcff"])
def test_name_of_a_file_may_be_anything(name: str, tmp_path: Path) -> None:
    assert save_overview(tmp_path / "overview.png", [make_row(name)]).is_file()


def test_only_the_prediction_is_drawn_without_a_reference(tmp_path: Path) -> None:
    both = save_overview(tmp_path / "both.png", [make_row()])
    one = save_overview(tmp_path / "one.png", [make_row(label=None)])
    assert pixels_of(one, REFERENCE_COLOUR) < pixels_of(both, REFERENCE_COLOUR) - 300
    assert pixels_of(one, PREDICTION_COLOUR) > pixels_of(both, PREDICTION_COLOUR)  # a full line in place of dashes


def test_a_mask_that_fills_the_image_is_outlined_along_the_border(tmp_path: Path) -> None:
    full = np.ones((48, 48), bool)
    path = save_overview(tmp_path / "full.png", [make_row(mask=full)])
    usual = save_overview(tmp_path / "usual.png", [make_row()])
    assert pixels_of(path, PREDICTION_COLOUR) > pixels_of(usual, PREDICTION_COLOUR)


def test_maps_are_drawn_on_common_scales(tmp_path: Path) -> None:
    certain, doubtful = np.zeros((48, 48)), np.full((48, 48), 1.0)
    path = save_overview(
        tmp_path / "maps.png",
        [make_row(probability=certain, uncertainty=certain), make_row(probability=doubtful, uncertainty=doubtful)],
    )
    # Ends of viridis and cividis, each over a whole panel.
    for colour in ("#440154", "#FDE725", "#00224E", "#FEE838"):
        assert pixels_of(path, colour) > 50_000


def test_images_of_any_range_are_drawn(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    images = {
        "rgb": rng.integers(0, 255, (48, 48, 3)).astype(np.uint8),
        "signed": rng.normal(0.0, 300.0, (48, 48)).astype(np.float32),
        "normalised rgb": rng.normal(0.0, 1.0, (48, 48, 3)),
        "constant": np.full((48, 48), 7, np.int16),
        "nan": np.full((48, 48), np.nan),
    }
    path = save_overview(tmp_path / "any.png", [make_row(name, image=image) for name, image in images.items()])
    assert pixels_of(path, PREDICTION_COLOUR) > 5 * 300


def test_rows_of_unequal_shape_and_long_names(tmp_path: Path) -> None:
    wide = {
        "image": np.zeros((30, 90)),
        "label": None,
        "mask": np.eye(30, 90),
        "probability": np.zeros((30, 90)),
        "uncertainty": np.zeros((30, 90)),
    }
    rows = [make_row("a_name_without_any_space_" * 5), make_row("some words " * 20, **wide)]
    width, height = size_of(save_overview(tmp_path / "mixed.png", rows))
    assert 1200 <= width <= 2400
    assert 500 <= height <= 1500


def test_pictures_do_not_touch_the_state_of_pyplot(tmp_path: Path) -> None:
    from matplotlib import pyplot

    before = pyplot.get_fignums()
    save_overview(tmp_path / "a.png", [make_row()])
    assert pyplot.get_fignums() == before


@pytest.mark.parametrize("part", ["label", "mask", "probability", "uncertainty"])
def test_unequal_shapes_are_refused(part: str) -> None:
    with pytest.raises(InputError, match=rf"The {part} of 'case_1' must have the shape of its image, \(48, 48\)"):
        make_row(**{part: np.zeros((48, 47))})


@pytest.mark.parametrize("shape", [(48,), (48, 48, 4), (1, 48, 48, 3)])
def test_images_that_are_no_pictures_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="The image of 'case_1' must have the shape"):
        make_row(image=np.zeros(shape))


def test_an_overview_of_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="at least one case"):
        save_overview(tmp_path / "none.png", [])
    assert not list(tmp_path.iterdir())
