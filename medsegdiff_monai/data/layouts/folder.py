# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from tqdm import tqdm

from medsegdiff_monai.data.cases import case_name, mask_of
from medsegdiff_monai.data.layouts.files import check_label, existing_folder, grid_difference, words
from medsegdiff_monai.data.layouts.layout import LayoutCase, LayoutData
from medsegdiff_monai.data.layouts.pairs import UNITED_LABELS, Pair, find_pairs, unite_masks
from medsegdiff_monai.data.reading import read_header
from medsegdiff_monai.utils import InputError

__all__ = ["read_folder"]


def read_folder(
    root: Path, regions: Any = None, background: Any = None, patient: Any = None, labels_dir: Path | None = None
) -> LayoutData:
    """Read a folder of images and a folder of label maps beside it, or images and their masks in one folder.

    ``images/`` and ``labels/`` (or ``masks``, ``annotations``, ``gt``), matched by stem; a label's stem may end in
    ``_mask``, ``_seg``, ``_label`` or the like. Where there are no such folders, a mask lies beside its image, in the
    root or at most two levels down. Several masks of one image that are numbered, as in BUSI, are united.

    Args:
        root: the folder that holds both.
        regions: label values of each region, as ``"disc=1+2,cup=2"``; labels with other values are left out.
        background: label values of no region, as ``"0"`` or ``"0+3"``; None is 0, or nothing where 0 is in a region.
        patient: regular expression with one group, which is the patient in an image's stem; None takes every image
            as a patient of its own.
        labels_dir: folder that united labels are written to; None makes ``united_labels`` in the root.
    """
    values = _parse_regions(regions) if regions is not None else {}
    rest = _parse_background(background, values)
    expression = _parse_patient(patient)
    folder = existing_folder(root)
    pairs, problems = find_pairs(folder)
    meanings = {str(v): "background" for v in rest}
    for value in sorted({v for numbers in values.values() for v in numbers}):
        meanings[str(value)] = ", ".join(name for name, numbers in values.items() if value in numbers)
    size = _size(pairs[0].images[0])
    data = LayoutData(folder.resolve().name, {"0": "image"}, meanings, size, values, rest, problems=problems)
    if expression is None:
        data.notes.append("Every image counts as a patient of its own; --patient tells which belong together.")
    united = labels_dir or folder / UNITED_LABELS
    for pair in tqdm(pairs, desc="Checking", unit="image", leave=False):
        with data.reporting(pair.name):
            data.cases.append(_case(pair, united, data, expression))
    if several := sum(case.label is not None and case.label.parent == united for case in data.cases):
        data.notes.append(f"{several} images have several masks, which are united in {united}.")
    return data


def _parse_regions(text: Any) -> dict[str, list[int]]:
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
        rule = "must be label values as in 0+3 that are in none of the --regions"
        raise InputError(f"--background {rule}, got {text!r}.")
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


def _size(image: Path) -> str:
    if not image.name.lower().endswith((".nii", ".nii.gz")):
        return "2D"
    try:
        header = read_header(image)
    except InputError:  # it is reported as a case
        return "3D"
    return "4D" if len(header.shape) == 3 and header.channels > 1 else "3D"


def _case(pair: Pair, united: Path, data: LayoutData, patient: re.Pattern[str] | None) -> LayoutCase:
    if not pair.images:
        raise InputError(f"The label {words(p.name for p in pair.labels)} has no image: add it.")
    if len(pair.images) > 1:
        raise InputError(f"{words(p.name for p in pair.images)} would give results of one name: rename them.")
    image = pair.images[0]
    label = _label(pair, image, united, data.background)
    which = f"The label {label.name}"
    if data.regions:
        known = {v for values in [*data.regions.values(), data.background] for v in values}
        rule = ", which are in none of the --regions and not --background: mend it or declare them."
        check_label(label, image, known, rule, which)
    elif difference := grid_difference(label, image):
        raise InputError(f"{which} {difference}: give a label on the grid of {image.name}.")
    match = patient.search(case_name(image)) if patient else None
    if patient and (match is None or not match[1]):
        raise InputError(f"--patient finds no patient in {image.name}: rename it or mend the expression.")
    return LayoutCase(pair.name, match[1] if match else pair.name, (image,), label)


def _label(pair: Pair, image: Path, united: Path, background: list[int]) -> Path:
    """The label of an image, for which several masks are united where their numbers tell that they are its parts."""
    names = [mask_of(case_name(path)) for path in pair.labels]
    if not pair.labels or (names == [None] and case_name(pair.labels[0]) != case_name(image)):
        beside = f" of its name beside {pair.labels[0].name}" if pair.labels else ""
        raise InputError(f"{image.name} has no label{beside}: add it, or take the image away.")
    if len(pair.labels) == 1:
        return pair.labels[0]
    words_of_masks = {name.word if name else "" for name in names}
    if None in names or len(words_of_masks) > 1 or len({name.number for name in names if name}) < len(names):
        raise InputError(f"{image.name} has several labels ({words(p.name for p in pair.labels)}): leave one.")
    return unite_masks(pair.labels, united, pair.name, background)
