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
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from medsegdiff_monai.utils import InputError

__all__ = ["IMAGE_SUFFIXES", "case_name", "find_cases", "load_cases", "name_in_metadata", "name_of_case"]

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".nii", ".nii.gz")


def load_cases(dataset_dir: str | os.PathLike[str], section: str, datalist: str = "datalist.json") -> list[dict]:
    """The cases of one section of a datalist in the form of the Medical Segmentation Decathlon.

    Args:
        dataset_dir: folder that the paths in the datalist start from.
        section: ``"training"``, ``"validation"`` or ``"test"``.
        datalist: file name of the datalist in the folder.

    Returns:
        A dictionary for each case, with the absolute paths of ``image`` and, where there is one, ``label``, which is a
        list with a path for each reader where several have drawn it. Whether the files are there is found case by case
        when they are read.

    Raises:
        InputError: when the datalist is missing or not readable, or the section is missing or empty.
    """
    path = Path(dataset_dir) / datalist
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as e:
        raise InputError(f"Cannot read the datalist {path} ({e.strerror}): give the folder that holds it.") from e
    except ValueError as e:
        raise InputError(f"The datalist {path} is not valid JSON ({e}): write it again.") from e
    cases = content.get(section) if isinstance(content, dict) else None
    if not isinstance(cases, list) or not cases:
        known = [k for k, v in content.items() if isinstance(v, list)] if isinstance(content, dict) else []
        raise InputError(f"The datalist {path} has no cases under {section!r}; it has {', '.join(known) or 'none'}.")
    return [_absolute(case, path, i) for i, case in enumerate(cases)]


def _absolute(case: Any, datalist: Path, index: int) -> dict[str, Any]:
    case = {"image": case} if isinstance(case, str) else case
    if not isinstance(case, dict) or not case.get("image"):
        raise InputError(f"Entry {index} of a section of {datalist} has no 'image': add the path of its image.")
    resolved = dict(case)
    if resolved.get("label", "") is None:
        del resolved["label"]
    if "case" in resolved:
        resolved["case"] = _name(resolved["case"], datalist)
    for key in ("image", "label"):
        if key in resolved:
            files = case[key] if isinstance(case[key], list) else [case[key]]
            if not files or not all(isinstance(f, str) for f in files):
                raise InputError(f"The {key} of entry {index} of a section of {datalist} is no path: {case[key]!r}.")
            paths = [str(datalist.parent / f) for f in files]
            resolved[key] = paths if isinstance(case[key], list) else paths[0]
    return resolved


def _name(case: Any, datalist: Path) -> str:
    name = str(case)
    if not name or any(separator in name for separator in "/\\"):
        raise InputError(f"The case {name!r} in {datalist} cannot be the name of a file: take a name without slashes.")
    return name


def find_cases(
    dataset_dir: str | os.PathLike[str],
    section: str = "test",
    datalist: str = "datalist.json",
    with_labels: bool = False,
) -> list[dict]:
    """The cases to segment: a section of the folder's datalist, or every image in a folder without one.

    Args:
        dataset_dir: folder of the images.
        section: section of the datalist, where there is one.
        datalist: file name of the datalist.
        with_labels: whether the cases are to be scored; the folder then has to have a datalist. A case without a label
            has None for it, so that it can be left out by name.

    Returns:
        A dictionary for each case with the path of its ``image`` (and ``label``), in a plain folder sorted by name.

    Raises:
        InputError: when the folder is missing or has no images, or two images would give results of one name.
    """
    folder = Path(dataset_dir)
    if not folder.is_dir():
        raise InputError(f"The dataset folder {folder} does not exist: give an existing folder as --dataset_dir.")
    if with_labels or datalist != "datalist.json" or (folder / datalist).is_file():
        cases = load_cases(folder, section, datalist)
        if with_labels:
            cases = [{**case, "label": case.get("label")} for case in cases]
        else:
            cases = [{k: v for k, v in case.items() if k != "label"} for case in cases]
    else:
        images = sorted(p for p in folder.iterdir() if p.is_file() and p.name.lower().endswith(IMAGE_SUFFIXES))
        cases = [{"image": str(p)} for p in images]
    if not cases:
        raise InputError(
            f"The dataset folder {folder} holds no images ({', '.join(IMAGE_SUFFIXES)}) and no {datalist}: "
            "give another folder as --dataset_dir."
        )
    _refuse_twins(cases)
    return cases


def _refuse_twins(cases: list[dict]) -> None:
    names: dict[str, str] = {}
    for case in cases:
        image = case["image"]
        first = str(image[0] if isinstance(image, list) else image)
        twin = names.setdefault(name_of_case(case), first)
        if twin is not first:
            raise InputError(f"{twin} and {first} would give results of one name: rename one.")


def name_of_case(case: Mapping[Any, Any]) -> str:
    """Name of a case of a datalist: its ``case``, or else what follows from its image, see :func:`case_name`."""
    return str(case.get("case") or case_name(case.get("image") or ""))


def name_in_metadata(meta: Mapping[str, Any]) -> str:
    """Name of the case in an image's metadata: its ``case``, or else what follows from the file that was read."""
    return str(meta.get("case") or case_name(str(meta["filename_or_obj"])))


def case_name(image: str | os.PathLike[str] | Sequence[str | os.PathLike[str]]) -> str:
    """Name of a case: the file name of its image without the image suffix (``scan.nii.gz`` is ``scan``).

    Of a case in several files it is their name where they have one name in different folders, or else what their
    names begin with, up to a separator (``p1_t1.nii.gz`` and ``p1_t2.nii.gz`` are ``p1``), or else the name of their
    folder.
    """
    if isinstance(image, (list, tuple)):
        stems = [case_name(file) for file in image]
        if len(set(stems)) == 1:
            return stems[0]
        common = os.path.commonprefix(stems)  # noqa: RUF071 (of names, not of paths)
        cut = max(common.rfind(separator) for separator in "-_.")
        return common[:cut].rstrip("-_.") if cut > 0 else Path(image[0]).parent.name
    name = Path(str(image)).name
    suffixes = sorted(IMAGE_SUFFIXES, key=len, reverse=True)
    suffix = next((s for s in suffixes if name.lower().endswith(s)), "")
    return name[: len(name) - len(suffix)]
