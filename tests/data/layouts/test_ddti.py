# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.path import Path as Outline
from PIL import Image
from scipy.ndimage import binary_dilation, binary_erosion

from medsegdiff_monai.data.layouts import read_ddti
from medsegdiff_monai.utils import InputError

SIZE = (56, 36)
SQUARE = [(10, 5), (20, 5), (20, 15), (10, 15)]
OTHER = [(15, 10), (40, 10), (40, 30), (15, 30)]


def svg(*polygons: list[tuple[float, float]]) -> str:
    shapes = [
        {"points": [{"x": x, "y": y} for x, y in p], "annotation": {}, "regionType": "freehand"} for p in polygons
    ]
    return json.dumps(shapes)


def xml(root: Path, case: str, marks: list[tuple[Any, str]], number: str | None = None) -> None:
    text = "".join(f"<mark><image>{k}</image><svg>{outline}</svg></mark>" for k, outline in marks)
    head = f"<number>{number or case}</number><age>49</age><sex>F</sex><reportbacaf/>"
    (root / f"{case}.xml").write_text(f'<?xml version="1.0" encoding="UTF-8"?><case>{head}{text}</case>')


def picture(root: Path, name: str, size: tuple[int, int] = SIZE) -> None:
    Image.new("RGB", size, (90, 90, 90)).save(root / f"{name}.jpg")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Case 1 with two images, one with two nodules; case 2 with one."""
    folder = tmp_path / "ddti"
    folder.mkdir()
    for name in ("1_1", "1_2", "2_1"):
        picture(folder, name)
    xml(folder, "1", [(1, svg(SQUARE)), (2, svg(SQUARE, OTHER))])
    xml(folder, "2", [(1, svg(OTHER))])
    return folder


def read_label(path: Path | None) -> np.ndarray:
    assert path is not None
    with Image.open(path) as label:
        assert (label.mode, label.size) == ("L", SIZE)
        return np.asarray(label)


def test_nodules_are_drawn_and_cases_are_patients(root: Path, tmp_path: Path) -> None:
    data = read_ddti(root, tmp_path / "labels")
    assert data.problems == []
    assert [(c.name, c.patient) for c in data.cases] == [("1_1", "1"), ("1_2", "1"), ("2_1", "2")]
    assert [c.images for c in data.cases] == [(root / f"{n}.jpg",) for n in ("1_1", "1_2", "2_1")]
    assert data.regions == {"nodule": [1]}
    one, both, other = (read_label(c.label) for c in data.cases)
    expected = np.zeros(SIZE[::-1], np.uint8)
    expected[5:16, 10:21] = 1
    np.testing.assert_array_equal(one, expected)
    np.testing.assert_array_equal(both, np.maximum(one, other))
    assert both.sum() == 11 * 11 + 26 * 21 - 6 * 6


def test_outline_of_any_form_is_filled(root: Path, tmp_path: Path) -> None:
    angle = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    radius = 11 + 3 * np.sin(3 * angle)
    outline = [(float(x), float(y)) for x, y in zip(28 + radius * np.cos(angle), 18 + radius * np.sin(angle))]
    xml(root, "2", [(1, svg(outline))])
    label = read_label(read_ddti(root, tmp_path / "labels").cases[2].label)
    grid = np.stack(np.meshgrid(np.arange(SIZE[0]), np.arange(SIZE[1])), axis=-1).reshape(-1, 2)
    filled = Outline([*outline, outline[0]], closed=True).contains_points(grid).reshape(SIZE[::-1])
    inside = binary_erosion(filled, np.ones((3, 3)))
    assert inside.sum() > 250
    assert label[inside].all()
    assert not label[~binary_dilation(filled, np.ones((3, 3)))].any()


def test_several_marks_of_one_image_are_joined(root: Path, tmp_path: Path) -> None:
    xml(root, "1", [(1, svg(SQUARE)), (1, svg(OTHER)), (2, svg(SQUARE))])
    labels = {c.name: read_label(c.label).sum() for c in read_ddti(root, tmp_path / "labels").cases}
    assert labels == {"1_1": 11 * 11 + 26 * 21 - 6 * 6, "1_2": 11 * 11, "2_1": 26 * 21}


@pytest.mark.parametrize(
    ("outline", "reason"),
    [
        ("", "The <svg> for image 1 in 2.xml is empty: add the outline"),
        ("[]", "has no outline: add it"),
        (svg(OTHER)[:-9], "is damaged: replace the file"),
        ('[{"annotation": {}}]', "is damaged"),
        ("7", "is damaged"),
        (svg(OTHER, SQUARE[:2]), "an outline of fewer than three points"),
        ('[{"points": [{"x": NaN, "y": 1}, {"x": 2, "y": 1}, {"x": 2, "y": 4}]}]', "fewer than three points"),
        (svg([(1, 1), (60, 1), (60, 9)]), r"2.xml has outlines beyond 2_1.jpg, as at \(60, 1\) in 56 x 36 pixels"),
    ],
    ids=["empty", "none", "truncated", "no points", "number", "line", "NaN", "outside"],
)
def test_outline_that_cannot_be_drawn_is_reported(root: Path, tmp_path: Path, outline: str, reason: str) -> None:
    xml(root, "2", [(1, outline)])
    data = read_ddti(root, tmp_path / "labels")
    assert [c.name for c in data.cases] == ["1_1", "1_2"]
    assert sorted(p.name for p in (tmp_path / "labels").iterdir()) == ["1_1.png", "1_2.png"]
    ((name, text),) = data.problems
    assert name == "2_1"
    assert re.search(reason, text)


def test_missing_and_damaged_files_are_reported_by_case(root: Path, tmp_path: Path) -> None:
    picture(root, "1_3")
    (root / "1_2.jpg").unlink()
    for case in ("3", "4", "5", "6", "7", "10"):
        picture(root, f"{case}_1")
    (root / "4.xml").write_text("<case><mark>")
    xml(root, "5", [(1, svg(SQUARE))], number="15")
    xml(root, "6", [("", svg(SQUARE))])
    xml(root, "7", [(1, svg(SQUARE))])
    (root / "7_1.jpg").write_bytes(b"no JPEG")
    xml(root, "8", [])
    xml(root, "10", [(1, svg(SQUARE))])
    picture(root, "10_01")
    data = read_ddti(root, tmp_path / "labels")
    assert [c.name for c in data.cases] == ["1_1", "2_1"]
    expected = [
        ("1_2", "1.xml marks image 2, but 1_2.jpg is missing"),
        ("1_3", "1.xml has no mark for image 3"),
        ("3", "Its images have no 3.xml"),
        ("4", "4.xml is not readable XML"),
        ("5", "5.xml says that it belongs to case 15"),
        ("6", "6.xml has a mark without the number of its image"),
        ("7_1", "7_1.jpg cannot be read"),
        ("8", "8.xml has neither marks nor images"),
        ("10_1", "10_01.jpg, 10_1.jpg are two images of one number"),
    ]
    assert [name for name, _ in data.problems] == [name for name, _ in expected]
    for (_, text), (_, beginning) in zip(data.problems, expected):
        assert text.startswith(beginning)


def test_folder_without_cases_is_refused_and_nothing_is_written(root: Path, tmp_path: Path) -> None:
    for path in root.glob("*.xml"):
        path.unlink()
    with pytest.raises(InputError, match="holds no DDTI cases: give the folder"):
        read_ddti(root, tmp_path / "labels")
    assert not (tmp_path / "labels").exists()
