# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from PIL import Image
from tqdm import tqdm

from medsegdiff_monai.data.cases import (
    IMAGE_SUFFIXES,
    UNREAD_SUFFIXES,
    case_name,
    distinguish,
    mask_of,
    masks_among,
    results_among,
)
from medsegdiff_monai.data.layouts.files import (
    check_label,
    existing_folder,
    files_below,
    grid_difference,
    single_channel,
    words,
)
from medsegdiff_monai.data.layouts.layout import LayoutCase, LayoutData
from medsegdiff_monai.data.reading import NIFTI, as_shown, read_header
from medsegdiff_monai.utils import InputError, check_writable, replace_atomically

__all__ = ["UNITED_LABELS", "read_folder"]

UNITED_LABELS = "united_labels"  # folder of the labels that are made of several masks
_IMAGE_FOLDERS = ("images", "image")
_LABEL_FOLDERS = ("labels", "label", "masks", "mask", "annotations", "gt")
_DEPTH = 2  # Dataset_BUSI_with_GT/benign


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
    pairs, problems = _find_pairs(folder)
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


def _case(pair: _Pair, united: Path, data: LayoutData, patient: re.Pattern[str] | None) -> LayoutCase:
    if not pair.images:
        raise InputError(f"The label {words(p.name for p in pair.labels)} has no image: add it.")
    if len(pair.images) > 1:
        raise InputError(f"{words(p.name for p in pair.images)} would give results of one name: rename them.")
    image = pair.images[0]
    label = _label(pair, united, data.background)
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


def _label(pair: _Pair, united: Path, background: list[int]) -> Path:
    """The label of an image, for which several masks are united where their numbers tell that they are its parts."""
    image = pair.images[0]
    names = [mask_of(case_name(path)) for path in pair.labels]
    if not pair.labels or (names == [None] and case_name(pair.labels[0]) != case_name(image)):
        beside = f" of its name beside {pair.labels[0].name}" if pair.labels else ""
        raise InputError(f"{image.name} has no label{beside}: add it, or take the image away.")
    if len(pair.labels) == 1:
        return pair.labels[0]
    words_of_masks = {name.word if name else "" for name in names}
    if None in names or len(words_of_masks) > 1 or len({name.number for name in names if name}) < len(names):
        raise InputError(f"{image.name} has several labels ({words(p.name for p in pair.labels)}): leave one.")
    return _unite_masks(pair.labels, united, pair.name, background)


@dataclass
class _Pair:
    """An image and its masks, as their names tell."""

    name: str  # of the case
    images: list[Path] = field(default_factory=list)  # several where files have one name; none where masks lack one
    labels: list[Path] = field(default_factory=list)


def _find_pairs(root: Path) -> tuple[list[_Pair], list[tuple[str, str]]]:
    """The images of a data set with their masks: in two folders side by side, or together as in BUSI.

    Pairs without an image come last. With the pairs come name and reason for what cannot be read.
    """
    images_folder, labels_folder = (_only_folder(root, names) for names in (_IMAGE_FOLDERS, _LABEL_FOLDERS))
    if images_folder is not None and labels_folder is not None:
        files, problems = files_below(images_folder, 0)
        labels, label_problems = files_below(labels_folder, 0)
        pairs = _paired(files, labels)
        if not any(pair.images for pair in pairs):
            suffixes = ", ".join(IMAGE_SUFFIXES)
            raise InputError(f"The folder of images in {root} holds none ({suffixes}): add them.")
        files, problems = files + labels, problems + label_problems
    else:
        files, problems = files_below(root, _DEPTH)
        pairs = _pairs_in_one_folder(files)
        if not any(pair.images and pair.labels for pair in pairs):
            missing = _LABEL_FOLDERS if images_folder is not None else _IMAGE_FOLDERS
            raise InputError(f"{root} holds no folder of the name {', '.join(missing)}: add it.")
    reason = "It is of a kind that is not read: save it as PNG or NIfTI."
    return pairs, problems + [(path.name, reason) for path in files if path.name.lower().endswith(UNREAD_SUFFIXES)]


def _only_folder(root: Path, names: tuple[str, ...]) -> Path | None:
    folders = sorted(p for p in root.iterdir() if p.is_dir() and p.name.lower() in names)
    if len(folders) > 1:
        several = words(folder.name for folder in folders)
        raise InputError(f"{root} holds the folders {several}, which are of one kind: leave one.")
    return folders[0] if folders else None


def _paired(images: Iterable[Path], labels: Iterable[Path]) -> list[_Pair]:
    """Images with their labels; labels without an image are pairs of their own at the end."""
    pairs: dict[str, _Pair] = {}
    for path in images:
        if path.name.lower().endswith(IMAGE_SUFFIXES):
            pairs.setdefault(case_name(path), _Pair(case_name(path))).images.append(path)
    stems = {*pairs}
    for path in labels:
        if path.name.lower().endswith(IMAGE_SUFFIXES):
            stem = case_name(path)
            mask = mask_of(stem)
            bare = mask.image if mask else re.sub(r"[_-]\d+$", "", stem)  # a number may come without a word for a mask
            name = bare if stem not in stems and bare in stems else stem
            pairs.setdefault(name, _Pair(name)).labels.append(path)
    return list(pairs.values())


def _pairs_in_one_folder(files: Iterable[Path]) -> list[_Pair]:
    """Images with the masks beside them, among which results of an earlier run may lie as well."""
    folders: dict[Path, list[Path]] = {}
    for path in files:
        if path.parent.name != UNITED_LABELS and path.name.lower().endswith(IMAGE_SUFFIXES):
            folders.setdefault(path.parent, []).append(path)
    pairs: list[_Pair] = []
    for paths in folders.values():
        results = {path for path in results_among(paths) if not _is_drawn(path, paths)}
        masks = masks_among(paths) - results
        pairs += _paired([path for path in paths if path not in results | masks], sorted(masks))
    for pair, case in zip(pairs, distinguish([{"image": str((pair.images or pair.labels)[0])} for pair in pairs])):
        pair.name = str(case.get("case", pair.name))
    return pairs


def _is_drawn(path: Path, paths: list[Path]) -> bool:
    """Whether ``x_seg`` is a mask that was given: a result of that name has a map of probabilities beside it."""
    mask = mask_of(case_name(path))
    return mask is not None and not any(p.name.startswith(f"{mask.image}_probability") for p in paths)


def _unite_masks(masks: Sequence[Path], folder: Path, name: str, background: Sequence[int] = ()) -> Path:
    """Write ``<name>.png``, or ``.nii.gz`` of volumes: the union of masks that hold parts of a label, as in BUSI.

    ``background`` are label values of no region; without any, 0.
    """
    rest = list(background) or [0]
    union = single_channel(masks[0]).astype(np.int32)
    for mask in masks[1:]:
        if difference := grid_difference(mask, masks[0]):
            raise InputError(f"{mask.name} {difference}: give all masks of an image on its grid.")
        part = single_channel(mask).astype(np.int32)
        drawn = ~np.isin(part, rest)
        if (drawn & ~np.isin(union, rest) & (part != union)).any():
            raise InputError(f"{mask.name} has another value than a further mask at one place: give one label map.")
        union = np.where(drawn, part, union)
    header = read_header(masks[0], masks[0].name)
    if header.kind == NIFTI:
        path = check_writable(folder) / f"{name}.nii.gz"
        volume = nib.Nifti1Image(union, header.affine)
        volume.header["xyzt_units"] = header.metadata["xyzt_units"]
        replace_atomically(path, volume.to_filename)
    else:
        path = check_writable(folder) / f"{name}.png"
        picture = Image.fromarray(np.ascontiguousarray(union.T).astype(np.uint8 if union.max() < 256 else np.uint16))
        # Masks that stated how they are to be turned have been turned.
        exif = as_shown() if header.orientation else None
        replace_atomically(path, lambda partial: picture.save(partial, exif=exif))
    return path
