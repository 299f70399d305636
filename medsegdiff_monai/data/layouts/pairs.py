# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import nibabel as nib
import numpy as np
from PIL import Image

from medsegdiff_monai.data.cases import (
    IMAGE_SUFFIXES,
    UNREAD_SUFFIXES,
    case_name,
    distinguish,
    mask_of,
    masks_among,
    results_among,
)
from medsegdiff_monai.data.layouts.files import files_below, grid_difference, single_channel, words
from medsegdiff_monai.data.reading import NIFTI, as_shown, read_header
from medsegdiff_monai.utils import InputError, check_writable, replace_atomically

__all__ = ["UNITED_LABELS", "Pair", "find_pairs", "unite_masks"]

UNITED_LABELS = "united_labels"  # folder of the labels that are made of several masks
_IMAGE_FOLDERS = ("images", "image")
_LABEL_FOLDERS = ("labels", "label", "masks", "mask", "annotations", "gt")
_DEPTH = 2  # Dataset_BUSI_with_GT/benign


@dataclass
class Pair:
    """An image and its masks, as their names tell."""

    name: str  # of the case
    images: list[Path] = field(default_factory=list)  # several where files have one name; none where masks lack one
    labels: list[Path] = field(default_factory=list)


def find_pairs(root: Path) -> tuple[list[Pair], list[tuple[str, str]]]:
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
        return pairs, [*problems, *label_problems, *_unread([*files, *labels])]
    files, problems = files_below(root, _DEPTH)
    pairs = _pairs_in_one_folder(files)
    if not any(pair.images and pair.labels for pair in pairs):
        missing = _LABEL_FOLDERS if images_folder is not None else _IMAGE_FOLDERS
        raise InputError(f"{root} holds no folder of the name {', '.join(missing)}: add it.")
    return pairs, [*problems, *_unread(files)]


def _only_folder(root: Path, names: tuple[str, ...]) -> Path | None:
    folders = sorted(p for p in root.iterdir() if p.is_dir() and p.name.lower() in names)
    if len(folders) > 1:
        raise InputError(
            f"{root} holds the folders {words(p.name for p in folders)}, which are of one kind: leave one."
        )
    return folders[0] if folders else None


def _unread(paths: Iterable[Path]) -> list[tuple[str, str]]:
    reason = "It is of a kind that is not read: save it as PNG or NIfTI."
    return [(path.name, reason) for path in paths if path.name.lower().endswith(UNREAD_SUFFIXES)]


def _paired(images: Iterable[Path], labels: Iterable[Path]) -> list[Pair]:
    """Images with their labels; labels without an image are pairs of their own at the end."""
    pairs: dict[str, Pair] = {}
    for path in images:
        if path.name.lower().endswith(IMAGE_SUFFIXES):
            pairs.setdefault(case_name(path), Pair(case_name(path))).images.append(path)
    stems = {*pairs}
    for path in labels:
        if path.name.lower().endswith(IMAGE_SUFFIXES):
            stem = case_name(path)
            mask = mask_of(stem)
            bare = mask.image if mask else re.sub(r"[_-]\d+$", "", stem)  # a number may come without a word for a mask
            name = bare if stem not in stems and bare in stems else stem
            pairs.setdefault(name, Pair(name)).labels.append(path)
    return list(pairs.values())


def _pairs_in_one_folder(files: Iterable[Path]) -> list[Pair]:
    """Images with the masks beside them, among which results of an earlier run may lie as well."""
    folders: dict[Path, list[Path]] = {}
    for path in files:
        if path.parent.name != UNITED_LABELS and path.name.lower().endswith(IMAGE_SUFFIXES):
            folders.setdefault(path.parent, []).append(path)
    pairs: list[Pair] = []
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


def unite_masks(masks: Sequence[Path], folder: Path, name: str, background: Sequence[int] = ()) -> Path:
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
