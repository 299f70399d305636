# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from medsegdiff_monai.data.layouts.files import (
    existing_folder,
    files_below,
    grid_difference,
    label_values,
)
from medsegdiff_monai.utils import InputError


def picture(path: Path, size: tuple[int, int], orientation: int | None = None, values: int = 2) -> Path:
    pixels = (np.arange(size[0] * size[1]) % values).reshape(size[::-1]).astype(np.uint8)
    tags = Image.Exif()
    tags[0x0112] = orientation or 1
    Image.fromarray(pixels).save(path, **({"exif": tags} if orientation else {}))
    return path


def volume(path: Path, shape: tuple[int, ...], dtype: type = np.uint8) -> Path:
    values = np.arange(np.prod(shape)).reshape(shape) % 3
    nib.save(nib.Nifti1Image(values.astype(dtype), np.eye(4), dtype=dtype), path)
    return path


@pytest.mark.parametrize(
    ("label_size", "label_orientation", "difference"),
    [
        ((9, 7), None, None),  # drawn on the stored picture
        ((7, 9), None, None),  # drawn on the shown picture
        ((9, 7), 6, None),
        ((7, 9), 1, None),
        ((9, 7), 1, "is 9 x 7 pixels and image.png 7 x 9"),
        ((8, 8), None, "is 8 x 8 pixels and image.png 7 x 9"),
    ],
)
def test_label_of_a_turned_picture_may_have_either_form(
    tmp_path: Path, label_size: tuple[int, int], label_orientation: int | None, difference: str | None
) -> None:
    image = picture(tmp_path / "image.png", (9, 7), 6)
    label = picture(tmp_path / "label.png", label_size, label_orientation)
    assert grid_difference(label, image) == difference


def test_label_that_may_lie_in_two_ways_is_refused_by_its_name(tmp_path: Path) -> None:
    image, label = picture(tmp_path / "image.png", (9, 7), 3), picture(tmp_path / "label.png", (9, 7))
    with pytest.raises(InputError, match=r"^label.png may lie on its image as it is shown or as it is stored"):
        grid_difference(label, image)


def test_one_slice_is_on_the_grid_of_a_2d_image(tmp_path: Path) -> None:
    image, label = volume(tmp_path / "image.nii", (5, 4)), volume(tmp_path / "label.nii.gz", (5, 4, 1))
    assert grid_difference(label, image) is None


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
def test_values_are_those_of_the_loader_for_pictures(tmp_path: Path, mode: str) -> None:
    with Image.open(picture(tmp_path / "a.png", (9, 7), values=5)) as grey:
        grey.convert(mode).save(tmp_path / "a.png")
    assert label_values(tmp_path / "a.png") == [0.0, 1.0, 2.0, 3.0, 4.0]


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float64])
def test_values_are_those_of_the_loader_for_volumes(tmp_path: Path, dtype: type) -> None:
    assert label_values(volume(tmp_path / "a.nii.gz", (5, 4, 3, 1), dtype)) == [0.0, 1.0, 2.0]


def test_values_that_are_no_bytes_are_found(tmp_path: Path) -> None:
    values = np.array([[-1.0, 0.25], [300.0, np.nan]])
    nib.save(nib.Nifti1Image(values, np.eye(4)), tmp_path / "a.nii.gz")
    assert label_values(tmp_path / "a.nii.gz")[:3] == [-1.0, 0.25, 300.0]
    with pytest.raises(InputError, match=r"b.nii has 2 channels: give a map of label values"):
        label_values(volume(tmp_path / "b.nii", (5, 4, 3, 2)))


def test_files_are_sorted_by_number_without_what_is_hidden_and_below_the_depth(tmp_path: Path) -> None:
    for name in ("b10.png", "b2.png", ".b3.png", "x/c.png", "x/y/d.png", "__MACOSX/e.png", ".git/f.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    files, problems = files_below(tmp_path, 1)
    assert [p.relative_to(tmp_path).as_posix() for p in files] == ["b2.png", "b10.png", "x/c.png"]
    assert problems == []


def test_links_to_nothing_and_pipes_are_named_and_not_opened(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "good.png").symlink_to("file")
    (tmp_path / "bad.png").symlink_to("nowhere")
    (tmp_path / "x" / "loop.png").symlink_to("loop.png")
    os.mkfifo(tmp_path / "x" / "pipe.png")
    files, problems = files_below(tmp_path, 1)
    assert [p.name for p in files] == ["file", "good.png"]
    assert [name for name, _ in problems] == ["bad.png", "x/loop.png", "x/pipe.png"]
    assert "link to what is not there" in problems[0][1]
    assert "is a pipe" in problems[2][1]


@pytest.fixture
def forbid(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """Make folders unreadable, for the superuser as well."""
    scan = os.scandir

    def forbid(folder: Path) -> None:
        def scandir(path: Any = ".") -> Any:
            if Path(path) == folder:
                raise PermissionError(13, "Permission denied", str(path))
            return scan(path)

        monkeypatch.setattr(os, "scandir", scandir)

    return forbid


def test_folder_that_cannot_be_read_is_named(tmp_path: Path, forbid: Callable[[Path], None]) -> None:
    (tmp_path / "x" / "y").mkdir(parents=True)
    (tmp_path / "x" / "a.png").touch()
    forbid(tmp_path / "x" / "y")
    assert files_below(tmp_path, 1) == ([tmp_path / "x" / "a.png"], [])
    files, problems = files_below(tmp_path, 2)
    assert files == [tmp_path / "x" / "a.png"]
    assert problems == [("x/y", "The folder cannot be read (Permission denied): mend its permissions.")]


def test_root_that_cannot_be_read_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *arguments: False)
    with pytest.raises(InputError, match="cannot be read: mend its permissions"):
        existing_folder(tmp_path)
