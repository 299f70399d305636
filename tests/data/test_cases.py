# Copyright (c) MedSegDiff-MONAI contributors
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#     http://www.apache.org/licenses/LICENSE-2.0
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from medsegdiff_monai.data import IMAGE_SUFFIXES, case_name, find_cases, load_cases
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
        (("scan.jpg", "scan.png"), "scan.jpg and .*scan.png would give results of one name: rename one"),
        (("scan.PNG", "scan.nii.gz"), "scan.PNG and .*scan.nii.gz would"),
    ],
    ids=["empty", "no image", "twins", "twins of two kinds"],
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
    ("image", "name"),
    [
        ("a.nii.gz", "a"),
        ("/data/p.01/a.b.nii", "a.b"),
        ("A.PNG", "A"),
        ("a.NII.gz", "a"),
        ("a.dcm", "a.dcm"),
        (Path("series") / "a.tiff", "a"),
    ],
)
def test_case_name_is_the_file_name_without_image_suffix(image: str | Path, name: str) -> None:
    assert case_name(image) == name


@pytest.mark.parametrize(
    ("files", "name"),
    [
        ([f"BraTS20_Training_001_{c}.nii.gz" for c in ("flair", "t1", "t1ce", "t2")], "BraTS20_Training_001"),
        ([f"BraTS-GLI-00000-000-{c}.nii.gz" for c in ("t1c", "t1n", "t2f", "t2w")], "BraTS-GLI-00000-000"),
        (["BraTS20_Training_001_t1.nii.gz", "BraTS20_Training_001_t1ce.nii.gz"], "BraTS20_Training_001"),
        ([f"prostate_12_000{i}.nii" for i in range(2)], "prostate_12"),
        ([f"p1_-{c}.png" for c in "ab"], "p1"),
        (["t1.nii.gz", "t2.nii.gz"], "patient_7"),
        (["flair.nii.gz", "t1.nii.gz"], "patient_7"),
        (["_t1.nii.gz", "_t2.nii.gz"], "patient_7"),
        (["p1_t1.nii.gz"], "p1_t1"),
    ],
)
@pytest.mark.parametrize("kind", [str, Path])
def test_case_name_of_several_files_is_their_common_beginning(files: list[str], name: str, kind: type) -> None:
    assert case_name([kind(f"/data/patient_7/{file}") for file in files]) == name


def test_case_name_of_one_folder_a_contrast_is_the_file_name() -> None:
    assert case_name([f"/data/{contrast}/BraTS_001.nii.gz" for contrast in ("t1", "t2")]) == "BraTS_001"


def test_cases_of_several_files_need_different_names(tmp_path: Path) -> None:
    files = [[f"{name}_{contrast}.nii.gz" for contrast in ("t1", "t2")] for name in ("p1", "p2", "p1")]
    files[2].append("p1_flair.nii.gz")
    datalist(tmp_path, {"test": [{"image": f} for f in files[:2]]})
    assert [case_name(case["image"]) for case in find_cases(tmp_path)] == ["p1", "p2"]
    datalist(tmp_path, {"test": [{"image": f} for f in files]})
    with pytest.raises(InputError, match=f"{tmp_path}/p1_t1.nii.gz and .* would give results of one name"):
        find_cases(tmp_path)


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


def test_datalist_that_was_asked_for_by_name_has_to_be_there(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    assert len(find_cases(tmp_path)) == 1
    with pytest.raises(InputError, match=r"Cannot read the datalist .*fold1\.json"):
        find_cases(tmp_path, datalist="fold1.json")
