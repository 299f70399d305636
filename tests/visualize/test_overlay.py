# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from support.pictures import pixels_of as count_of
from support.pictures import size_of

from medsegdiff_monai.utils import InputError
from medsegdiff_monai.visualize import PicturedCase, overlay, region_colour, rgb, save_overlay
from medsegdiff_monai.visualize.drawing import pixels_of

SIZE = (60, 40)  # (X, Y)
GREY = "#E5E5E5"


def square(x: slice, y: slice) -> np.ndarray:
    mask = np.zeros((1, *SIZE), bool)
    mask[0, x, y] = True
    return mask


def make_case(**parts: Any) -> PicturedCase:
    """A dark picture with a square segmented in it."""
    mask = square(slice(20, 45), slice(8, 28))
    given: dict[str, Any] = {
        "name": "case 1",
        "image": np.full(SIZE, 40, np.uint8),
        "regions": ["nodule"],
        "masks": mask,
        "probability": 0.9 * mask,
        "uncertainty": 0.4 * mask,
    }
    return PicturedCase(**{**given, **parts})


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """The figure of an overlay, drawn, and its pixels."""
    kept: list[Figure] = []

    def draw(case: PicturedCase) -> tuple[Figure, np.ndarray]:
        monkeypatch.setattr(overlay, "save_figure", lambda figure, path: kept.append(figure) or path)
        save_overlay(tmp_path / "a.png", case)
        return kept[-1], pixels_of(kept[-1])

    return draw


def panel(figure: Figure, heading: str) -> Axes:
    return next(axes for axes in figure.axes if axes.get_title().startswith(heading))


def near(axes: Axes, pixels: np.ndarray, column: float, row: float, radius: int = 4) -> np.ndarray:
    """Pixels of the picture around a place of the image, ``(n, 3)``."""
    x, y = axes.transData.transform((column, row)).round().astype(int)
    y = len(pixels) - y
    return pixels[y - radius : y + radius + 1, x - radius : x + radius + 1].reshape(-1, 3).astype(int)


def has(colours: np.ndarray, colour: str) -> bool:
    return bool((np.abs(colours - rgb(colour)).max(-1) < 25).any())


@pytest.mark.parametrize(
    ("name", "shown"),
    [(r"$\frac$", r"\$\frac\$"), ("a$b$", r"a\$b\$"), ("a\x1b[2J", r"a\x1b[2J"), ("\udcff", r"\udcff"), ("a_b", "a_b")],
)
def test_name_of_a_file_is_drawn_as_it_is(name: str, shown: str, drawn: Any) -> None:
    figure, _ = drawn(make_case(name=name))  # Matplotlib shows \$ as $ and reads what is between two bare ones
    assert figure.get_suptitle().splitlines()[0] == shown


def test_contour_lies_on_the_border_of_the_mask(drawn: Any) -> None:
    figure, pixels = drawn(make_case())
    axes = panel(figure, "Segmentation")
    orange = region_colour(0)
    # The square covers the columns 20 to 44 and the rows 8 to 27: its borders are half a pixel outside.
    for column, row in ((19.5, 18), (44.5, 18), (32, 7.5), (32, 27.5)):
        assert has(near(axes, pixels, column, row, radius=2), orange)
    for column, row in ((18.0, 18), (21.0, 18), (32, 18), (32, 6.0), (32, 29)):
        assert not has(near(axes, pixels, column, row, radius=2), orange)
    assert not has(near(panel(figure, "Image"), pixels, 19.5, 18), orange)


def test_reference_is_dashed_and_of_a_colour_of_its_own(drawn: Any) -> None:
    reference = square(slice(10, 35), slice(12, 34))
    figure, pixels = drawn(make_case(reference=reference))
    axes = panel(figure, "Segmentation")
    along = [has(near(axes, pixels, 9.5, row, radius=1), "#FFFFFF") for row in np.arange(13.0, 33.0, 0.2)]
    assert 0.2 < np.mean(along) < 0.95  # dashes and gaps
    (legend,) = [axes.get_legend() for axes in figure.axes if axes.get_legend()]
    assert [text.get_text() for text in legend.get_texts()] == ["nodule", "reference"]


def test_members_are_thin_lines(drawn: Any) -> None:
    members = np.stack([square(slice(5 + i, 50), slice(4, 36)) for i in range(3)])
    bare, before = drawn(make_case())
    figure, pixels = drawn(make_case(members=members))
    axes = panel(figure, "Segmentation")

    def orange(at: Axes, picture: np.ndarray) -> float:
        patch = near(at, picture, 5.5, 20, radius=12)
        return float((patch[:, 0] - patch[:, 2]).clip(0).sum())

    assert orange(panel(bare, "Segmentation"), before) == 0
    assert orange(axes, pixels) > 500


def test_maps_have_fixed_scales_and_colour_bars_with_units(drawn: Any) -> None:
    figure, pixels = drawn(make_case(uncertainty=np.full((1, *SIZE), 0.25), mutual_information=np.zeros((1, *SIZE))))
    labels = [axes.get_xlabel() for axes in figure.axes if axes.get_xlabel()]
    assert labels == ["probability", "bits (at most 0.25)", "bits (below 0.001)"]
    for heading, limits in (("Probability", (0, 1)), ("Uncertainty", (0, 1)), ("Mutual information", (0, 1))):
        assert panel(figure, heading).images[0].get_clim() == limits
    from matplotlib import colormaps

    expected = [round(255 * v) for v in colormaps["cividis"](0.25)[:3]]
    np.testing.assert_allclose(near(panel(figure, "Uncertainty"), pixels, 30, 20).mean(0), expected, atol=2)


def test_probability_lies_where_the_mask_does_not_transposed(drawn: Any) -> None:
    figure, pixels = drawn(make_case(probability=1.0 * square(slice(40, 60), slice(0, 10))))
    axes = panel(figure, "Probability")
    assert has(near(axes, pixels, 50, 5), "#FDE725")  # viridis' upper end, at the upper right
    assert has(near(axes, pixels, 10, 30), "#440154")


def test_one_member_leaves_the_uncertainty_unavailable(drawn: Any) -> None:
    figure, _ = drawn(make_case(uncertainty=None, predicted_dice=[0.87]))
    (text,) = panel(figure, "Uncertainty").texts
    assert text.get_text().replace("\n", " ") == "Uncertainty between members is unavailable (one member)."
    assert figure.get_suptitle() == "case 1\npredicted Dice 0.87"


def test_title_tells_what_the_scores_say() -> None:
    one = make_case(predicted_dice=[0.871], agreement=[0.909])
    assert one.title == "case 1\npredicted Dice 0.87, members agree 0.91"
    two = PicturedCase(
        "eye", np.zeros(SIZE), ["disc", "cup"], np.zeros((2, *SIZE)), np.zeros((2, *SIZE)),
        predicted_dice=[0.9, float("nan")], agreement=[1.0, 0.5],
    )  # fmt: skip
    assert two.title == "eye\ndisc: predicted Dice 0.90, members agree 1.00\ncup: members agree 0.50"
    assert make_case().title == "case 1"


def test_nothing_segmented_is_drawn_without_contours(tmp_path: Path) -> None:
    nothing = np.zeros((1, *SIZE))
    empty = make_case(masks=nothing, probability=nothing, uncertainty=nothing, reference=nothing)
    path = save_overlay(tmp_path / "empty.png", empty)
    full = save_overlay(tmp_path / "full.png", make_case())
    assert count_of(path, region_colour(0)) < count_of(full, region_colour(0)) - 300  # the legend's alone


def test_scale_bar_only_where_the_spacing_is_known(drawn: Any) -> None:
    figure, _ = drawn(make_case(spacing=(0.5, 0.5)))
    assert [t.get_text() for t in panel(figure, "Image").texts] == ["5 mm"]
    figure, _ = drawn(make_case())
    assert len(panel(figure, "Image").texts) == 0


def test_volume_has_three_rows_with_the_spacing_as_aspect(drawn: Any) -> None:
    mask = np.zeros((1, 20, 24, 12), bool)
    mask[0, 5:15, 6:12, 3:9] = True
    mask[0, 5:15, 5:13, 6] = True
    case = PicturedCase(
        "v", np.random.default_rng(0).normal(size=(20, 24, 12)), ["WT"], mask, 1.0 * mask, 0.1 * mask,
        spacing=(1.0, 2.0, 6.0), frame="RAS", contrast="FLAIR",
    )  # fmt: skip
    figure, _ = drawn(case)
    images = [axes for axes in figure.axes if axes.images and axes.get_ylabel().startswith("axial")]
    assert len(images) == 3
    assert {axes.get_aspect() for axes in images} == {2.0}
    assert panel(figure, "Image").get_title() == "Image (FLAIR)"


def test_colour_picture_and_two_regions(tmp_path: Path) -> None:
    image = np.zeros((*SIZE, 3), np.uint8)
    masks = np.concatenate([square(slice(10, 50), slice(5, 35)), square(slice(20, 35), slice(10, 25))])
    case = PicturedCase("eye", image, ["disc", "cup"], masks, 0.9 * masks, 0.1 * masks)
    path = save_overlay(tmp_path / "eye.png", case)
    assert count_of(path, region_colour(0)) > 300
    assert count_of(path, region_colour(1)) > 300
    width, height = size_of(path)
    assert 2000 < width < 2600
    assert 300 < height < 900


@pytest.mark.parametrize(
    ("part", "shape"),
    [("image", (60, 41)), ("probability", (1, 60, 41)), ("reference", (2, 60, 40)), ("members", (3, 2, 60, 40))],
)
def test_shapes_that_do_not_fit_are_refused(part: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=f"The {part} of 'case 1' must have the shape"):
        make_case(**{part: np.zeros(shape)})
