# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

import re
from collections import Counter
from pathlib import Path

from tqdm import tqdm

from medsegdiff_monai.data.cases import case_name
from medsegdiff_monai.data.layouts.files import check_label, existing_folder, files_below, words
from medsegdiff_monai.data.layouts.layout import LayoutCase, LayoutData
from medsegdiff_monai.utils import InputError

__all__ = ["read_refuge2"]

_CUP, _RIM, _BACKGROUND = 0, 128, 255
_DEPTH = 5
_SECTIONS = {"train": "training", "val": "validation", "test": "test"}
_PICTURES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff")
_MASK_FOLDERS = ("gts", "gt", "disc_cup_masks", "disc_cup_mask", "masks", "mask")  # the surest name first
_DERIVED = ("illustration", "square", "crop")  # drawings over the images, and copies of another shape

_Pictures = dict[tuple[str | None, str], list[Path]]


def read_refuge2(root: Path) -> LayoutData:
    """Read REFUGE or REFUGE-2: colour fundus photographs with the optic disc and the optic cup.

    Both common distributions are known: ``{train,val,test}/Images`` beside ``{train,val,test}/gts`` (or ``images``
    and ``mask``), and the challenge's own ``Training400/{Glaucoma,Non-Glaucoma}`` beside
    ``Annotation-Training400/Disc_Cup_Masks`` and the like for validation and test. Image and mask have one stem.

    A mask is 0 in the cup, 128 in the rim of the disc and 255 outside, so the disc is 0 and 128. The data set states no
    patients: every photograph counts as a patient of its own, and two eyes of one person may be in two sections.
    """
    paths, problems = files_below(existing_folder(root), _DEPTH)
    images, masks = _pictures(root, paths)
    if not images:
        raise InputError(
            f"{root} holds no REFUGE photographs: give the folder that holds train/Images and train/gts, or "
            "Training400 and Annotation-Training400."
        )
    data = LayoutData(
        name="REFUGE",
        modality={"0": "colour fundus photograph (RGB)"},
        labels={"0": "optic cup", "128": "rim of the optic disc", "255": "background"},
        tensor_image_size="2D",
        regions={"disc": [_CUP, _RIM], "cup": [_CUP]},
        background=[_BACKGROUND],
        problems=problems,
        notes=["REFUGE states no patients: every photograph counts as a patient of its own."],
    )
    stems = Counter(stem for _, stem in images)
    for section, stem in tqdm(list(images), desc="Checking masks", unit="image", leave=False):
        patient = stem if stems[stem] == 1 else f"{section}/{stem}"  # sections that number from 1 each
        with data.reporting(stem):
            image, mask = _files(images[section, stem], masks.get((section, stem), []))
            data.cases.append(LayoutCase(stem, patient, (image,), mask, section))
    for section, stem in masks:
        if (section, stem) not in images:
            data.report(stem, f"{words(p.name for p in masks[section, stem])} has no photograph: add it.")
    return data


def _pictures(root: Path, paths: list[Path]) -> tuple[_Pictures, _Pictures]:
    """The photographs and the masks, by section (None where no folder states one) and stem."""
    images: _Pictures = {}
    masks: dict[tuple[str | None, str], dict[int, list[Path]]] = {}
    for path in paths:
        folders = [part.lower() for part in path.relative_to(root).parts[:-1]]
        if path.suffix.lower() not in _PICTURES or any(word in part for part in folders for word in _DERIVED):
            continue
        matches = (re.search(r"(?<![a-z])(train|val|test)", part) for part in folders)
        key = next((_SECTIONS[match[1]] for match in matches if match), None), case_name(path)
        ranks = [_MASK_FOLDERS.index(part) for part in folders if part in _MASK_FOLDERS]
        if ranks or any(part.startswith("annotation") or part.endswith("-gt") for part in folders):
            rank = min(ranks, default=len(_MASK_FOLDERS))
            masks.setdefault(key, {}).setdefault(rank, []).append(path)
        else:
            images.setdefault(key, []).append(path)
    return images, {key: ranked[min(ranked)] for key, ranked in masks.items()}


def _files(images: list[Path], masks: list[Path]) -> tuple[Path, Path]:
    """The one photograph and its one mask, checked."""
    if len(images) > 1:
        raise InputError(f"There are several photographs of this name ({words(images)}): leave one.")
    if not masks:
        raise InputError(f"{images[0].name} has no mask: add it, or take the photograph away.")
    if len(masks) > 1:
        raise InputError(f"{images[0].name} has several masks ({words(masks)}): leave one.")
    which = f"The mask {masks[0].name}"
    rule = " beside 0 (cup), 128 (rim) and 255 (background): give the mask as it was published."
    values = check_label(masks[0], images[0], (_CUP, _RIM, _BACKGROUND), rule, which)
    if _RIM not in values and _CUP in values:  # without both the disc is not in the picture, which is a valid case
        raise InputError(f"{which} has no 128, the rim of the disc: give the mask as it was published.")
    return images[0], masks[0]
