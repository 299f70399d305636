# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.transforms import LoadImage
from PIL import Image

from medsegdiff_monai.metrics import CupToDiscRatio, vertical_cup_to_disc_ratio

SIZE = (64, 48)  # width, height
EMPTY = torch.zeros(SIZE)


def ellipse(half_width: int, half_height: int, centre: tuple[int, int] = (30, 22)) -> torch.Tensor:
    """A mask ``(X, Y)`` of ``2 * half_width + 1`` columns and ``2 * half_height + 1`` rows."""
    x, y = np.meshgrid(*(np.arange(n) - c for n, c in zip(SIZE, centre)), indexing="ij")
    return torch.from_numpy((x / half_width) ** 2 + (y / half_height) ** 2 <= 1).float()


@pytest.mark.parametrize(
    ("disc", "cup", "ratio"),
    [
        (ellipse(25, 20), ellipse(7, 10), 21 / 41),
        (ellipse(10, 20), ellipse(9, 4, centre=(31, 30)), 9 / 41),
        (ellipse(25, 20), ellipse(25, 20), 1.0),
        (ellipse(8, 6), ellipse(8, 9), 19 / 13),
        (ellipse(25, 20), EMPTY, 0.0),
    ],
    ids=["wide disc", "cup below the centre", "cup as large", "cup larger", "no cup"],
)
def test_ellipses_of_known_extent(disc: torch.Tensor, cup: torch.Tensor, ratio: float) -> None:
    values = vertical_cup_to_disc_ratio(disc[None], cup[None])
    torch.testing.assert_close(values, torch.tensor([ratio]))


@pytest.mark.parametrize("cup", [EMPTY, ellipse(5, 5)], ids=["no cup", "cup"])
def test_no_disc_has_no_ratio(cup: torch.Tensor) -> None:
    assert vertical_cup_to_disc_ratio(EMPTY[None], cup[None]).isnan().tolist() == [True]


def test_extent_is_from_the_first_row_to_the_last() -> None:
    """Parts that lie apart, at the border and with a gap between them, span what lies between."""
    disc, cup = torch.zeros(2, 5, 20), torch.zeros(2, 5, 20)
    disc[0, 2, [0, 19]] = 1
    cup[0, 1, 3] = cup[0, 4, 12] = 1
    disc[1, :, 6] = cup[1, 0, 6] = 1
    torch.testing.assert_close(vertical_cup_to_disc_ratio(disc, cup), torch.tensor([10 / 20, 1.0]))


def test_vertical_is_that_of_a_picture_file(tmp_path: Path) -> None:
    """Rows of the picture as the file has them: 30 of the disc, 12 of the cup."""
    disc, cup = np.zeros((48, 64), np.uint8), np.zeros((48, 64), np.uint8)
    disc[10:40, 20:60] = 1
    cup[15:27, 25:50] = 1
    for name, array in (("disc", disc), ("cup", cup)):
        Image.fromarray(array).save(tmp_path / f"{name}.png")
    load = LoadImage(image_only=True, ensure_channel_first=True)
    values = vertical_cup_to_disc_ratio(load(tmp_path / "disc.png"), load(tmp_path / "cup.png"))
    torch.testing.assert_close(torch.as_tensor(values), torch.tensor([12 / 30]), check_dtype=False)


@pytest.mark.parametrize("shapes", [((1, 4, 4), (1, 4, 5)), ((4, 4), (4, 4)), ((1, 4, 4, 4), (1, 4, 4, 4))])
def test_masks_of_other_shapes_are_refused(shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    with pytest.raises(ValueError, match="must be 2D masks of one shape"):
        vertical_cup_to_disc_ratio(*(torch.zeros(s) for s in shapes))


def test_metric_gives_both_ratios_and_their_error() -> None:
    """Predictions by case: a smaller cup, no disc, no cup; the last reference has no disc."""
    label = torch.stack([torch.stack([ellipse(25, 20), ellipse(9, 10)])] * 4)
    pred = label.clone()
    pred[0, 1] = ellipse(9, 5)
    pred[1, 0] = 0
    pred[2, 1] = 0
    label[3, 0] = 0
    metric = CupToDiscRatio()
    values = metric(pred, label)
    reference, nan = 21 / 41, math.nan
    expected = [
        [11 / 41, reference, 10 / 41],
        [nan, reference, nan],
        [0.0, reference, reference],
        [reference, nan, nan],
    ]
    torch.testing.assert_close(values, torch.tensor(expected), equal_nan=True)
    assert metric.column_names == ("predicted", "reference", "absolute_error")
    torch.testing.assert_close(metric.aggregate(), torch.tensor((10 / 41 + 21 / 41) / 2))


def test_channels_can_be_others() -> None:
    masks = torch.stack([ellipse(9, 10), ellipse(3, 3), ellipse(25, 20)])
    metric = CupToDiscRatio(disc_channel=2, cup_channel=0)
    assert metric([masks], [masks])[0].tolist() == pytest.approx([21 / 41, 21 / 41, 0])
    assert metric.required_channels == (2, 0)


def test_no_error_at_all_is_not_called_zero() -> None:
    metric = CupToDiscRatio()
    metric(torch.zeros(2, 2, 8, 8), torch.ones(2, 2, 8, 8))
    assert metric.aggregate().isnan()
