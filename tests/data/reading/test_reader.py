# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from medsegdiff_monai.data.reading import FileHeader, label_turn, read_label
from medsegdiff_monai.data.reading.header import UnreadableFileError

VALUES = np.random.default_rng(0).integers(0, 3, (5, 7)).astype(np.uint8)


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
def test_equal_colours_are_one_channel(tmp_path: Path, mode: str) -> None:
    Image.fromarray(VALUES).convert(mode).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_label(tmp_path / "a.png")[0], VALUES.T[None])


def test_other_colours_stay_channels(tmp_path: Path) -> None:
    colours = np.dstack([VALUES, VALUES, VALUES])
    colours[2, 3, 2] += 1
    Image.fromarray(colours).save(tmp_path / "a.png")
    assert read_label(tmp_path / "a.png")[0].shape == (3, 7, 5)


@pytest.mark.parametrize(("error", "whole"), [(9e-4, True), (2e-3, False)])
def test_values_that_are_whole_up_to_rounding_are_whole(tmp_path: Path, error: float, whole: bool) -> None:
    stored = VALUES.T + np.float32(error)
    nib.save(nib.Nifti1Image(stored, np.eye(4)), tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(read_label(tmp_path / "a.nii.gz")[0][0], VALUES.T if whole else stored)


def test_nan_and_infinity_stay(tmp_path: Path) -> None:
    stored = VALUES.T.astype(np.float32)
    stored[1, 2], stored[3, 3] = np.nan, np.inf
    nib.save(nib.Nifti1Image(stored, np.eye(4)), tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(read_label(tmp_path / "a.nii.gz")[0][0], stored)


def header(columns: int, rows: int, orientation: int | None) -> FileHeader:
    return FileHeader("PNG", (columns, rows), 1, orientation)


@pytest.mark.parametrize(
    ("image", "label", "turn"),
    [
        ((5, 7, None), (5, 7, None), 1),
        ((5, 7, 1), (5, 7, None), 1),
        ((5, 7, 6), (7, 5, None), 6),  # drawn on the stored picture
        ((5, 7, 8), (7, 5, None), 8),
        ((5, 7, 6), (5, 7, None), 1),  # drawn on the shown picture
        ((5, 7, 6), (5, 7, 6), 1),  # turned as it was read
        ((5, 7, 3), (5, 7, 3), 1),
        ((5, 7, 3), (5, 7, 1), 1),  # says that it lies as shown
        ((6, 6, 5), (6, 6, 1), 1),
        ((5, 7, 6), (4, 4, None), 1),  # of neither size, which is refused later
    ],
)
def test_label_is_turned_where_its_size_says_so(image: tuple, label: tuple, turn: int) -> None:
    assert label_turn(header(*label), header(*image)) == turn


@pytest.mark.parametrize(("size", "orientation"), [((5, 7), 2), ((5, 7), 3), ((5, 7), 4), ((6, 6), 6)])
def test_label_that_may_lie_in_two_ways_is_refused(size: tuple[int, int], orientation: int) -> None:
    with pytest.raises(UnreadableFileError, match=f"differ by the EXIF orientation {orientation}: give the label"):
        label_turn(header(*size, None), header(*size, orientation))
