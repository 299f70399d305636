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

import re
from pathlib import Path
from typing import Any

from tqdm import tqdm

from medsegdiff_monai.data.cases import IMAGE_SUFFIXES, case_name
from medsegdiff_monai.data.layouts.files import (
    existing_folder,
    files_below,
    grid_difference,
    label_values,
    volume_header,
    words,
)
from medsegdiff_monai.data.layouts.layout import LayoutCase, LayoutData
from medsegdiff_monai.utils import InputError

__all__ = ["parse_regions", "read_folder"]

_IMAGE_FOLDERS = ("images", "image")
_LABEL_FOLDERS = ("labels", "label", "masks", "mask", "annotations", "gt")
_LABEL_SUFFIX = re.compile(r"(?i)_(?:mask|seg|label|segmentation)$")


def read_folder(root: Path, regions: Any = None, background: Any = None, patient: Any = None) -> LayoutData:
    """Read a folder of images and a folder of label maps beside it.

    ``images/`` and ``labels/`` (or ``masks``, ``annotations``, ``gt``), matched by stem; a label's stem may end in
    ``_mask``, ``_seg``, ``_label`` or ``_segmentation``.

    Args:
        root: the folder that holds both.
        regions: label values of each region, as ``"disc=1+2,cup=2"``; None states none. Where it is given, labels
            with other values are left out.
        background: label values of no region, as ``"0"`` or ``"0+3"``; None is 0, or nothing where 0 is in a region.
        patient: regular expression that finds the patient in an image's stem, with one group; None takes every
            image as a patient of its own.

    Raises:
        InputError: when a folder is missing or there are two of a kind, there are no images, or an option is wrong.
    """
    values = parse_regions(regions) if regions is not None else {}
    rest = _parse_background(background, values)
    expression = _parse_patient(patient)
    folder = existing_folder(root)
    images = _by_stem(_only_folder(folder, _IMAGE_FOLDERS))
    labels = _labels_of(images, _by_stem(_only_folder(folder, _LABEL_FOLDERS)))
    if not images:
        raise InputError(f"The folder of images in {root} holds none ({', '.join(IMAGE_SUFFIXES)}): add them.")
    data = LayoutData(folder.resolve().name, {"0": "image"}, _meanings(values, rest), _size(images), values, rest)
    if expression is None:
        data.notes.append("Every image counts as a patient of its own; --patient tells which belong together.")
    for stem in tqdm(images, desc="Checking", unit="image", leave=False):
        try:
            data.cases.append(_case(stem, images[stem], labels.pop(stem, []), data, expression))
        except InputError as e:
            data.report(stem, str(e))
    for stem, files in labels.items():
        data.report(stem, f"The label {words(p.name for p in files)} has no image: add it.")
    return data


def parse_regions(text: Any) -> dict[str, list[int]]:
    """Label values of each region from ``"disc=1+2,cup=2"``.

    Raises:
        InputError: when it is written in another way.
    """
    parts = [part.split("=") for part in str(text).split(",")]
    regions = {part[0].strip(): _whole_numbers(part[1]) for part in parts if len(part) == 2 and part[0].strip()}
    if len(regions) != len(parts) or not all(regions.values()):
        raise InputError(f"--regions must be names with label values as in disc=1+2,cup=2, got {text!r}.")
    return regions


def _whole_numbers(text: str) -> list[int]:
    """The numbers of ``"1+2"``; empty where it is written in another way."""
    parts = [part.strip() for part in text.split("+")]
    return [int(part) for part in parts] if all(part.isdecimal() for part in parts) else []


def _parse_background(text: Any, regions: dict[str, list[int]]) -> list[int]:
    used = {v for values in regions.values() for v in values}
    if text is None:
        return [0] if regions and 0 not in used else []
    values = _whole_numbers(str(text))
    if not regions or not values or used & set(values):
        raise InputError(
            f"--background must be label values as in 0+3 that are in none of the --regions, got {text!r}."
        )
    return values


def _parse_patient(text: Any) -> re.Pattern[str] | None:
    if text is None:
        return None
    try:
        expression = re.compile(str(text))
    except re.error as e:
        raise InputError(f"--patient is not a regular expression ({e}), got {text!r}.") from e
    if expression.groups != 1:
        raise InputError(f"--patient must have one group, which is the patient, as in '(p[0-9]+)_', got {text!r}.")
    return expression


def _only_folder(root: Path, names: tuple[str, ...]) -> Path:
    found = sorted(p for p in root.iterdir() if p.is_dir() and p.name.lower() in names)
    if len(found) != 1:
        several = f"{root} holds the folders {words(p.name for p in found)}, which are of one kind: leave one."
        raise InputError(several if found else f"{root} holds no folder of the name {', '.join(names)}: add it.")
    return found[0]


def _by_stem(folder: Path) -> dict[str, list[Path]]:
    stems: dict[str, list[Path]] = {}
    for path in files_below(folder, 0):
        if path.name.lower().endswith(IMAGE_SUFFIXES):
            stems.setdefault(case_name(path), []).append(path)
    return stems


def _labels_of(images: dict[str, list[Path]], labels: dict[str, list[Path]]) -> dict[str, list[Path]]:
    """Labels by the stem of their image, or by their own where they have none."""
    matched: dict[str, list[Path]] = {}
    for stem, files in labels.items():
        bare = _LABEL_SUFFIX.sub("", stem)
        matched.setdefault(bare if stem not in images and bare in images else stem, []).extend(files)
    return matched


def _meanings(regions: dict[str, list[int]], background: list[int]) -> dict[str, str]:
    meanings = {str(v): "background" for v in background}
    for value in sorted({v for values in regions.values() for v in values}):
        meanings[str(value)] = ", ".join(name for name, values in regions.items() if value in values)
    return meanings


def _size(images: dict[str, list[Path]]) -> str:
    first = next(iter(images.values()))[0]
    if not first.name.lower().endswith((".nii", ".nii.gz")):
        return "2D"
    try:
        return "4D" if len(volume_header(first)[0]) == 4 else "3D"
    except InputError:
        return "3D"


def _case(
    stem: str, images: list[Path], labels: list[Path], data: LayoutData, patient: re.Pattern[str] | None
) -> LayoutCase:
    if len(images) > 1:
        raise InputError(f"{words(p.name for p in images)} would give results of one name: rename them.")
    if len(labels) != 1:
        several = f"{images[0].name} has several labels ({words(p.name for p in labels)}): leave one."
        raise InputError(several if labels else f"{images[0].name} has no label: add it, or take the image away.")
    difference = grid_difference(labels[0], images[0])
    if difference:
        raise InputError(f"The label {labels[0].name} {difference}: give a label on the image's grid.")
    known = {v for values in [*data.regions.values(), data.background] for v in values}
    others = [v for v in label_values(labels[0]) if v not in known] if data.regions else []
    if others:
        raise InputError(
            f"The label {labels[0].name} has the values {words(f'{v:g}' for v in others)}, which are in none of the "
            "--regions and not --background: mend it or declare them."
        )
    match = patient.search(stem) if patient else None
    if patient and (match is None or not match[1]):
        raise InputError(f"--patient finds no patient in {images[0].name}: rename it or mend the expression.")
    return LayoutCase(stem, match[1] if match else stem, (images[0],), labels[0])
