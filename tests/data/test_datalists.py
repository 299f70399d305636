# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import codecs
import json
import os
from pathlib import Path
from typing import Any

import pytest

from medsegdiff_monai.data import find_cases, load_cases
from medsegdiff_monai.utils import InputError


def datalist(folder: Path, content: Any, name: str = "datalist.json") -> Path:
    (folder / name).write_text(content if isinstance(content, str) else json.dumps(content))
    return folder


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).touch()
    return folder


def test_a_label_may_be_a_list_of_readers_files_which_is_not_empty(tmp_path: Path) -> None:
    datalist(tmp_path, {"training": [{"image": "a.png", "label": ["a_1.png", "a_2.png"]}], "test": [{"image": []}]})
    assert load_cases(tmp_path, "training")[0]["label"] == [f"{tmp_path}/a_1.png", f"{tmp_path}/a_2.png"]
    datalist(tmp_path, {"training": [{"image": "a.png", "label": []}]})
    with pytest.raises(InputError, match=r"label of entry 0 .* is no path: \[\]"):
        load_cases(tmp_path, "training")


def test_decathlon_datalist_gives_absolute_paths_in_its_order(tmp_path: Path) -> None:
    content = {
        "name": "some set",
        "training": [
            {"image": "images/b.png", "label": "labels/b.png", "patient": "7"},
            {"image": ["a_t1.nii.gz", "a_t2.nii.gz"], "label": "a_seg.nii.gz"},
        ],
        "test": ["images/c.png", "images/b.png"],
    }
    datalist(tmp_path, content)
    assert load_cases(tmp_path, "training") == [
        {"image": f"{tmp_path}/images/b.png", "label": f"{tmp_path}/labels/b.png", "patient": "7"},
        {"image": [f"{tmp_path}/a_t1.nii.gz", f"{tmp_path}/a_t2.nii.gz"], "label": f"{tmp_path}/a_seg.nii.gz"},
    ]
    assert load_cases(str(tmp_path), "test") == [{"image": f"{tmp_path}/images/{n}.png"} for n in "cb"]
    assert find_cases(tmp_path) == load_cases(tmp_path, "test")


def test_absolute_path_in_a_datalist_stays(tmp_path: Path) -> None:
    datalist(tmp_path, {"fold1": [{"image": "/elsewhere/a.png"}]}, name="folds.json")
    assert load_cases(tmp_path, "fold1", "folds.json") == [{"image": "/elsewhere/a.png"}]
    assert find_cases(tmp_path, "fold1", "folds.json") == [{"image": "/elsewhere/a.png"}]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"test": [', "is not valid JSON"),
        ("[]", "has no cases under 'test'; it has none"),
        ({"training": ["a.png"], "validation": []}, "has no cases under 'test'; it has training, validation"),
        ({"test": [], "training": ["a.png"]}, "has no cases under 'test'; it has test, training"),
        ({"test": {"image": "a.png"}}, "has no cases under 'test'; it has none"),
        ({"test": ["a.png", {"label": "b.png"}]}, "Entry 1 of .* has no 'image'"),
        ({"test": [3]}, "Entry 0 of .* has no 'image'"),
        ({"test": [{"image": []}]}, "Entry 0 of .* has no 'image'"),
        ({"test": [""]}, "Entry 0 of .* has no 'image'"),
    ],
    ids=["broken", "a list", "missing section", "empty section", "no list", "no image", "a number", "no file", "empty"],
)
def test_unusable_datalist_is_refused_by_name(tmp_path: Path, content: Any, message: str) -> None:
    datalist(tmp_path, content)
    for read in (load_cases, find_cases):
        with pytest.raises(InputError, match=message) as caught:
            read(tmp_path, "test")
        assert f"{tmp_path}/datalist.json" in str(caught.value)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"image": "a.png", "label": 3}, "The label of entry 0 .* is no path: 3"),
        ({"image": ["a.png", 4]}, "The image of entry 0 .* is no path"),
        ({"image": "a.png", "case": "s1/p1"}, "case 's1/p1' in .* cannot be the name of a file"),
    ],
)
def test_entry_that_cannot_be_used_is_refused(tmp_path: Path, entry: dict, message: str) -> None:
    (tmp_path / "datalist.json").write_text(json.dumps({"test": [entry]}))
    with pytest.raises(InputError, match=message):
        find_cases(tmp_path)


def test_datalist_is_read_in_every_encoding_of_json(tmp_path: Path) -> None:
    text = '{"test":\r\n["Schilddrüse 甲.png"]}\r\n'
    encodings = ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"]
    marks = {"utf-16-le": codecs.BOM_UTF16_LE, "utf-16-be": codecs.BOM_UTF16_BE}
    for encoding in encodings:
        for mark in {b"", marks.get(encoding, b"")}:
            (tmp_path / "datalist.json").write_bytes(mark + text.encode(encoding))
            assert load_cases(tmp_path, "test") == [{"image": f"{tmp_path}/Schilddrüse 甲.png"}]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"test": ["Schilddrüse.png"]}'.encode("latin-1"), "neither UTF-8 nor UTF-16: save it as UTF-8"),
        (b"", "is not valid JSON"),
        (b"\xff\xfe", "is not valid JSON"),
        (b"[" * 100_000, "is not valid JSON"),
    ],
    ids=["Latin-1", "empty", "a mark alone", "nested"],
)
def test_file_that_is_no_json_is_one_sentence(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "datalist.json").write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        load_cases(tmp_path, "test")
    assert "\n" not in str(caught.value)


def test_pipe_in_place_of_a_datalist_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "datalist.json")
    with pytest.raises(InputError, match="it is no file"):
        load_cases(tmp_path, "test")


def test_backslashes_separate_folders_where_no_file_has_them_in_its_name(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    touch(tmp_path / "images", "a.png", "b.png")
    touch(tmp_path, "images\\b.png")
    datalist(tmp_path, {"test": ["images\\a.png", "images\\b.png", {"image": ["x\\t1.nii", "x\\t2.nii"]}]})
    images = [case["image"] for case in load_cases(tmp_path, "test")]
    assert images == [
        f"{tmp_path}/images/a.png",
        f"{tmp_path}/images\\b.png",
        [f"{tmp_path}/x/t1.nii", f"{tmp_path}/x/t2.nii"],
    ]


def test_label_that_is_one_of_several_masks_is_refused_and_never_used_alone(tmp_path: Path) -> None:
    touch(
        tmp_path, "a_mask.png", "a_mask_1.png", "b_mask.png", "b_mask_1.txt", "c_mask_1.png", "c_mask.png", "d_seg.png"
    )
    touch(tmp_path, "d_mask_1.png")
    labels = {"a": "a_mask.png", "b": "b_mask.png", "c": ["c_mask.png", "c_mask_1.png"], "d": "d_seg.png"}
    datalist(tmp_path, {"training": [{"image": f"{i}.png", "label": label} for i, label in labels.items()]})
    cases = load_cases(tmp_path, "training")
    assert ["refused" in case for case in cases] == [True, False, False, False]
    assert "a_mask.png is one of several masks of this image (a_mask_1.png): unite them" in cases[0]["refused"]


def test_name_of_a_case_has_no_line_break_and_none_is_no_name(tmp_path: Path) -> None:
    datalist(tmp_path, {"test": [{"image": "a.png", "case": "a\nb\x1b[31m"}, {"image": "c.png", "case": None}]})
    assert [case.get("case") for case in load_cases(tmp_path, "test")] == ["a_b_[31m", None]
