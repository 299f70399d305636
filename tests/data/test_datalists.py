# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import codecs
import json
import logging
import os
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from medsegdiff_monai.data import IMAGE_SUFFIXES, ScreenedDataset, case_name, find_cases, load_cases
from medsegdiff_monai.data.cases import name_of_case
from medsegdiff_monai.transforms import LoadCased
from medsegdiff_monai.utils import InputError


def datalist(folder: Path, content: Any, name: str = "datalist.json") -> Path:
    (folder / name).write_text(content if isinstance(content, str) else json.dumps(content))
    return folder


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).touch()
    return folder


def test_plain_folder_gives_its_images_sorted(tmp_path: Path) -> None:
    touch(tmp_path, "c.png", "a.jpg", "b.nii.gz", "D.PNG", "e.NII.GZ", "notes.txt", "archive.gz", "readme")
    (tmp_path / "folder.png").mkdir()
    assert [Path(c["image"]).name for c in find_cases(tmp_path)] == ["D.PNG", "a.jpg", "b.nii.gz", "c.png", "e.NII.GZ"]
    assert all(list(c) == ["image"] and Path(c["image"]).is_absolute() for c in find_cases(tmp_path))


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ((), "holds no images .*png.*nii.gz.* and no datalist.json: give another folder"),
        (("notes.txt",), "holds no images"),
    ],
    ids=["empty", "no image"],
)
def test_unusable_folder_is_refused(tmp_path: Path, names: tuple[str, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        find_cases(touch(tmp_path, *names))


@pytest.mark.parametrize("name", ["absent", "file"])
def test_missing_folder_is_refused(tmp_path: Path, name: str) -> None:
    touch(tmp_path, "file")
    with pytest.raises(InputError, match=f"{tmp_path}/{name} does not exist: give an existing folder"):
        find_cases(tmp_path / name)
    with pytest.raises(InputError, match=f"Cannot read the datalist {tmp_path}/{name}/datalist.json"):
        load_cases(tmp_path / name, "test")


def test_cases_of_several_files_need_different_names(tmp_path: Path) -> None:
    files = [[f"{name}_{contrast}.nii.gz" for contrast in ("t1", "t2")] for name in ("p1", "p2", "p1")]
    files[2].append("p1_flair.nii.gz")
    datalist(tmp_path, {"test": [{"image": f} for f in files[:2]]})
    assert [case_name(case["image"]) for case in find_cases(tmp_path)] == ["p1", "p2"]
    datalist(tmp_path, {"test": [{"image": f} for f in files]})
    assert [case.get("refused", "").count("p1_t1.nii.gz") for case in find_cases(tmp_path)] == [2 + 1, 0, 2 + 1]


@pytest.mark.parametrize("suffix", IMAGE_SUFFIXES)
def test_every_image_suffix_is_found_and_cut(tmp_path: Path, suffix: str) -> None:
    touch(tmp_path, "x.1" + suffix)
    (case,) = find_cases(tmp_path)
    assert case_name(case["image"]) == "x.1"


def test_case_without_label_is_kept_for_an_evaluation_to_name(tmp_path: Path) -> None:
    entries = [{"image": "a.png", "label": "a_label.png"}, {"image": "b.png"}, {"image": "c.png", "label": None}]
    (tmp_path / "datalist.json").write_text(json.dumps({"test": entries}))
    labels = [case["label"] for case in find_cases(tmp_path, with_labels=True)]
    assert labels == [str(tmp_path / "a_label.png"), None, None]
    assert all("label" not in case for case in find_cases(tmp_path))


def test_datalist_that_was_asked_for_by_name_has_to_be_there(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    assert len(find_cases(tmp_path)) == 1
    with pytest.raises(InputError, match=r"Cannot read the datalist .*fold1\.json"):
        find_cases(tmp_path, datalist="fold1.json")


RESULTS = (
    "seg",
    "probability",
    "probability_cup",
    "uncertainty",
    "uncertainty_TC",
    "deviation",
    "mutual_information",
    "expected_entropy",
)


@pytest.mark.parametrize(("image", "suffix"), [("x.jpg", ".png"), ("x.png", ".png"), ("x.nii.gz", ".nii.gz")])
def test_results_of_an_earlier_run_are_passed_over_beside_their_image(tmp_path: Path, image: str, suffix: str) -> None:
    touch(tmp_path, image, "y.png", *(f"x_{postfix}{suffix}" for postfix in RESULTS), "x_overlay.png", "metrics.csv")
    touch(tmp_path, "x_seg_probability.png", "reliability.png", "calibration.csv")
    assert [Path(case["image"]).name for case in find_cases(tmp_path)] == [image, "y.png"]


def test_file_with_the_name_of_a_result_is_an_image_where_there_is_no_image_of_it(tmp_path: Path) -> None:
    names = [
        "reliability.png",
        "x_expected_entropy.png",
        "x_overlayed.png",
        "x_seg.png",
        "y.png",
        "y_expected_entropyred.png",
        "y_seg.jpg.bmp",
    ]
    touch(tmp_path, *names)
    assert [Path(case["image"]).name for case in find_cases(tmp_path)] == names


def test_results_of_twins_are_passed_over(tmp_path: Path) -> None:
    touch(tmp_path, "x.png", "x.jpg", "x.png_seg.png", "x.jpg_uncertainty.png")
    assert [name_of_case(case) for case in find_cases(tmp_path)] == ["x.jpg", "x.png"]


def test_masks_and_what_is_no_image_are_passed_over_in_one_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    masks = ["benign (1)_mask.png", "benign (1)_mask_1.png", "benign (1)_Segmentation.tif", "benign (1)-label.bmp"]
    touch(tmp_path, "benign (1).png", *masks, "._benign (1).png", ".DS_Store", "notes.txt", "list.csv", "a\nb.txt")
    (tmp_path / "old.png").mkdir()
    with caplog.at_level(logging.INFO):
        (case,) = find_cases(tmp_path)
    assert Path(case["image"]).name == "benign (1).png"
    (line,) = caplog.messages
    for part in ("hidden: 2", "no images: 3", "folders: 1 (old.png)", "masks: 4", r"a\nb.txt"):
        assert part in line
    assert "\n" not in line
    assert "results" not in line


def test_image_that_cannot_be_read_is_a_case_and_named_when_it_is_read(tmp_path: Path) -> None:
    names = ["a.webp", "b.GIF", "c.jp2", "d.heic", "e.dcm", "f.nrrd"]
    touch(tmp_path, *names)
    (tmp_path / "dangling.png").symlink_to("nowhere")
    (tmp_path / "loop.png").symlink_to("loop.png")
    os.mkfifo(tmp_path / "pipe.png")
    cases = find_cases(tmp_path)
    expected = [*names, "dangling.png", "loop.png", "pipe.png"]
    assert [Path(case["image"]).name for case in cases] == sorted(expected)
    with pytest.raises(InputError, match=r"None of the 9 cases can be used\."):
        ScreenedDataset(cases, [LoadCased("image")], progress=False)


def test_case_that_is_refused_costs_a_line_and_not_the_run(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        Image.new("L", (4, 4)).save(tmp_path / f"{name}.png")
    entries = [{"image": f"{name}.png", "case": case} for name, case in (("a", "one"), ("b", "two"), ("c", "two"))]
    dataset = ScreenedDataset(find_cases(datalist(tmp_path, {"test": entries})), [LoadCased("image")], progress=False)
    assert len(dataset) == 1
    with pytest.raises(InputError, match=r"2 of 3 cases could not be used .* results of one name, two: rename one"):
        dataset.report()


@pytest.mark.parametrize(("letter", "refused"), [("n", [False, True]), ("甲", [False, True])])
def test_case_whose_results_would_have_too_long_names_is_refused(
    tmp_path: Path, letter: str, refused: list[bool]
) -> None:
    longest = 200 // len(letter.encode())
    touch(tmp_path, letter * longest + ".png", letter * (longest + 1) + ".png")
    cases = sorted(find_cases(tmp_path), key=lambda case: len(case["image"]))
    assert ["refused" in case for case in cases] == refused
    # The longest name of a result, and that of the partial file that it is written as.
    touch(tmp_path, f"{name_of_case(cases[0])}_mutual_information_{'r' * 11}.nii.gz")
    with pytest.raises(OSError, match="too long"):
        touch(tmp_path, f"{'n' * 240}_mutual_information.nii.gz")


def test_names_that_are_no_text_do_no_harm(tmp_path: Path) -> None:
    names = ["-l.png", "a,b.png", "a\nb.png", "\x1b[31m.png", b"\xff.png".decode("utf-8", "surrogateescape")]
    for name in names:
        Image.new("L", (4, 4)).save(tmp_path / name)
    dataset = ScreenedDataset(find_cases(tmp_path), [LoadCased("image")], progress=False)
    assert sorted(item["image"].meta["case"] for item in dataset) == ["-l", "_", "_[31m", "a,b", "a_b"]


def test_folder_that_cannot_be_listed_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(InputError, match=r"Cannot read the dataset folder .* \(Permission denied\): mend"):
        find_cases(tmp_path)


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
