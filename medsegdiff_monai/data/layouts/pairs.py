# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import re
from collections.abc import Container, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from medsegdiff_monai.data.cases import IMAGE_SUFFIXES, UNREAD_SUFFIXES, case_name, distinguish
from medsegdiff_monai.data.companions import mask_of, masks_among, results_among
from medsegdiff_monai.data.layouts.files import files_below, words
from medsegdiff_monai.utils import InputError

__all__ = ["UNITED_LABELS", "Pair", "find_pairs"]

UNITED_LABELS = "united_labels"  # folder of the labels that are made of several masks
_IMAGE_FOLDERS = ("images", "image")
_LABEL_FOLDERS = ("labels", "label", "masks", "mask", "annotations", "gt")
_DEPTH = 2  # Dataset_BUSI_with_GT/benign

_Stems = dict[str, list[Path]]


@dataclass
class Pair:
    """An image and its masks, as their names tell.

    Attributes:
        name: name of the case.
        images: the image; several where files have one name, and none where masks have no image.
        labels: its masks.
    """

    name: str
    images: list[Path]
    labels: list[Path] = field(default_factory=list)


def find_pairs(root: Path) -> tuple[list[Pair], list[tuple[str, str]]]:
    """The images of a data set with their masks: in two folders side by side, or together as in BUSI.

    Args:
        root: folder that holds a folder of images and one of masks, or images with masks beside them, at most two
            levels down.

    Returns:
        The pairs, those without an image last, and name and reason for what cannot be read.

    Raises:
        InputError: when there are neither, or two folders of one kind.
    """
    folders = [_only_folder(root, names) for names in (_IMAGE_FOLDERS, _LABEL_FOLDERS)]
    if folders[0] is not None and folders[1] is not None:
        return _in_two_folders(folders[0], folders[1])
    pairs, problems = _in_one_folder(root)
    if not any(pair.images and pair.labels for pair in pairs):
        missing = _LABEL_FOLDERS if folders[0] is not None else _IMAGE_FOLDERS
        raise InputError(f"{root} holds no folder of the name {', '.join(missing)}: add it.")
    return pairs, problems


def _only_folder(root: Path, names: tuple[str, ...]) -> Path | None:
    found = sorted(p for p in root.iterdir() if p.is_dir() and p.name.lower() in names)
    if len(found) > 1:
        raise InputError(f"{root} holds the folders {words(p.name for p in found)}, which are of one kind: leave one.")
    return found[0] if found else None


def _by_stem(paths: Iterable[Path]) -> _Stems:
    stems: _Stems = {}
    for path in paths:
        if path.name.lower().endswith(IMAGE_SUFFIXES):
            stems.setdefault(case_name(path), []).append(path)
    return stems


def _in_two_folders(images_folder: Path, labels_folder: Path) -> tuple[list[Pair], list[tuple[str, str]]]:
    files, problems = files_below(images_folder, 0)
    label_files, label_problems = files_below(labels_folder, 0)
    pairs = {stem: Pair(stem, images) for stem, images in _by_stem(files).items()}
    if not pairs:
        raise InputError(
            f"The folder of images in {images_folder.parent} holds none ({', '.join(IMAGE_SUFFIXES)}): add them."
        )
    _add_labels(pairs, label_files)
    return list(pairs.values()), [*problems, *label_problems, *_unread([*files, *label_files])]


def _add_labels(pairs: dict[str, Pair], labels: Iterable[Path]) -> None:
    """Give each label to the pair of its image; those without an image become pairs of their own at the end."""
    images = {*pairs}
    for stem, paths in _by_stem(labels).items():
        image = _image_of_label(stem, images)
        pairs.setdefault(image, Pair(image, [])).labels.extend(paths)


def _image_of_label(stem: str, images: Container[str]) -> str:
    """The image's name in that of a label, which may be numbered without a word for it; its own where there is none."""
    mask = mask_of(stem)
    bare = mask.image if mask else re.sub(r"[_-]\d+$", "", stem)
    return bare if stem not in images and bare in images else stem


def _in_one_folder(root: Path) -> tuple[list[Pair], list[tuple[str, str]]]:
    files, problems = files_below(root, _DEPTH)
    pairs: list[Pair] = []
    folders: dict[Path, list[Path]] = {}
    for path in files:
        if path.parent.name != UNITED_LABELS and path.name.lower().endswith(IMAGE_SUFFIXES):
            folders.setdefault(path.parent, []).append(path)
    for paths in folders.values():
        pairs += _pairs_among(paths)
    named = distinguish([{"image": str((pair.images or pair.labels)[0])} for pair in pairs])
    for pair, case in zip(pairs, named):
        pair.name = str(case.get("case", pair.name))
    return pairs, [*problems, *_unread(files)]


def _unread(paths: Iterable[Path]) -> list[tuple[str, str]]:
    reason = "It is of a kind that is not read: save it as PNG or NIfTI."
    return [(path.name, reason) for path in paths if path.name.lower().endswith(UNREAD_SUFFIXES)]


def _pairs_among(paths: list[Path]) -> list[Pair]:
    """The pairs of one folder, in which results of an earlier run may lie as well."""
    results = {path for path in results_among(paths) if not _is_drawn(path, paths)}
    masks = masks_among(paths) - results
    images = _by_stem(path for path in paths if path not in results | masks)
    pairs = {stem: Pair(stem, files) for stem, files in images.items()}
    _add_labels(pairs, sorted(masks))
    return list(pairs.values())


def _is_drawn(path: Path, paths: list[Path]) -> bool:
    """Whether ``x_seg`` is a mask that was given: a result of that name has a map of probabilities beside it."""
    mask = mask_of(case_name(path))
    return mask is not None and not any(p.name.startswith(f"{mask.image}_probability") for p in paths)
