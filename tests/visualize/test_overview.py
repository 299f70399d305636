# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from support.pictures import pixels_of, size_of

from medsegdiff_monai.utils import InputError
from medsegdiff_monai.visualize import PicturedCase, overview, save_overview
from medsegdiff_monai.visualize.overview import PREDICTION_COLOUR, REFERENCE_COLOUR


def square(low: int, high: int, size: int = 48) -> np.ndarray:
    mask = np.zeros((size, size), bool)
    mask[low:high, low:high] = True
    return mask


def make_row(name: str = "case_1", size: int = 48, **parts: np.ndarray | None) -> PicturedCase:
    """Grey noise, a reference square and a prediction that is shifted from it."""
    prediction = square(14, 30, size)
    given: dict = {
        "image": np.random.default_rng(0).integers(60, 120, (size, size)).astype(np.uint8),
        "reference": square(10, 26, size),
        "masks": prediction,
        "probability": 0.9 * prediction,
        "uncertainty": np.where(prediction, 0.2, 0.0),
        **parts,
    }
    arrays = {key: array[None] if key != "image" and array is not None else array for key, array in given.items()}
    return PicturedCase(name, regions=["nodule"], **arrays)


def labels(path: Path, *cases: PicturedCase) -> list[str]:
    """Labels of the rows."""
    drawn: list[Figure] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(overview, "save_figure", lambda figure, path: drawn.append(figure) or path)
        save_overview(path, cases)
    return [axes.get_ylabel() for axes in drawn[0].axes if axes.get_ylabel()]


def test_dice_of_a_row(tmp_path: Path) -> None:
    empty = np.zeros((48, 48), np.uint8)
    cases = [
        make_row(),
        make_row(reference=None),
        make_row(reference=empty),
        make_row(reference=empty, masks=empty),
        make_row(reference=2 * square(10, 26), masks=square(10, 26)),  # any value but 0 is foreground
    ]
    dice = 2 * 12**2 / (2 * 16**2)
    shown = [f"case_1\nDice {dice:.3f}", "case_1", "case_1\nDice 0.000", *["case_1\nDice 1.000"] * 2]
    assert labels(tmp_path / "a.png", *cases) == shown


def test_overview_shows_both_outlines(tmp_path: Path) -> None:
    path = save_overview(tmp_path / "made" / "overview.png", [make_row("a"), make_row("b")], title="Two cases")
    width, height = size_of(path)
    assert 1200 <= width <= 2400
    assert 600 <= height <= 1500
    nothing = np.zeros((48, 48), bool)
    bare = save_overview(
        tmp_path / "bare.png",
        [make_row("a", reference=None, masks=nothing), make_row("b", reference=None, masks=nothing)],
    )
    for colour in (REFERENCE_COLOUR, PREDICTION_COLOUR):  # the bare one has them in its legend only
        assert pixels_of(path, colour) > pixels_of(bare, colour) + 300


@pytest.mark.parametrize("name", [r"$\frac$", "a$b$", "a\x1b[2J", "\udcff"])
def test_name_of_a_file_may_be_anything(name: str, tmp_path: Path) -> None:
    assert save_overview(tmp_path / "overview.png", [make_row(name)]).is_file()


def test_only_the_prediction_is_drawn_without_a_reference(tmp_path: Path) -> None:
    both = save_overview(tmp_path / "both.png", [make_row()])
    one = save_overview(tmp_path / "one.png", [make_row(reference=None)])
    assert pixels_of(one, REFERENCE_COLOUR) < pixels_of(both, REFERENCE_COLOUR) - 300
    assert pixels_of(one, PREDICTION_COLOUR) > pixels_of(both, PREDICTION_COLOUR)  # a full line in place of dashes


def test_a_mask_that_fills_the_image_is_outlined_along_the_border(tmp_path: Path) -> None:
    full = np.ones((48, 48), bool)
    path = save_overview(tmp_path / "full.png", [make_row(masks=full)])
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
        "reference": None,
        "masks": np.eye(30, 90),
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


def test_cases_that_no_row_can_show_are_refused(tmp_path: Path) -> None:
    volume = np.zeros((1, 8, 8, 8))
    two = np.zeros((2, 8, 8))
    for case in (
        make_row(uncertainty=None),
        PicturedCase("case_1", two[0], ["disc", "cup"], two, two, two),
        PicturedCase("case_1", volume[0], ["WT"], volume, volume, volume),
    ):
        with pytest.raises(InputError, match="2D images of one region with its uncertainty, not 'case_1'"):
            save_overview(tmp_path / "none.png", [case])


def test_an_overview_of_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="at least one case"):
        save_overview(tmp_path / "none.png", [])
    assert not list(tmp_path.iterdir())
