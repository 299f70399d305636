# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from pathlib import Path

from tqdm import tqdm

from medsegdiff_monai.data.cases import case_name
from medsegdiff_monai.data.datalists import read_datalist
from medsegdiff_monai.data.layouts.brats import CONTRASTS
from medsegdiff_monai.data.layouts.files import check_label, existing_folder, files_below, words
from medsegdiff_monai.data.layouts.layout import LayoutCase, LayoutData
from medsegdiff_monai.data.reading import read_header
from medsegdiff_monai.utils import InputError

__all__ = ["read_msd"]

_TASK = "Task01_BrainTumour"
_LABELS = {"0": "background", "1": "oedema", "2": "non-enhancing tumour", "3": "enhancing tumour"}
_STATED = {"1": "edema", "2": "non-enhancing", "3": "enhancing"}  # what dataset.json calls them


def read_msd(root: Path) -> LayoutData:
    """Read Task01_BrainTumour of the Medical Segmentation Decathlon.

    Its volumes have the shape ``(X, Y, Z, 4)``: FLAIR, T1w, T1gd, T2w. Its labels are 1 oedema, 2 non-enhancing and 3
    enhancing tumour, another meaning of 1 and 2 than in BraTS. Every case is a patient. ``imagesTs`` has no labels and
    is not used. ``root`` is the task's folder or the one that holds it.
    """
    task = existing_folder(root)
    task = task if (task / "imagesTr").is_dir() else task / _TASK
    (images, problems), (labels, label_problems) = (_volumes(task / part) for part in ("imagesTr", "labelsTr"))
    if not images:
        raise InputError(f"{root} holds no imagesTr with volumes: give the folder {_TASK}.")
    data = LayoutData(
        name=f"Medical Segmentation Decathlon, {_TASK}",
        modality={str(i): contrast for i, contrast in enumerate(CONTRASTS)},
        labels=_LABELS,
        tensor_image_size="4D",
        regions={"TC": [2, 3], "WT": [1, 2, 3], "ET": [3]},
        background=[0],
        problems=problems + label_problems,
    )
    stated = _stated_cases(task / "dataset.json", data)
    names = [*images, *(name for name in stated if name not in images)]
    for name in tqdm(names, desc="Checking labels", unit="case", leave=False):
        with data.reporting(name):
            data.cases.append(_case(name, images.get(name), labels.get(name)))
    for name, label in labels.items():
        if name not in images and name not in stated:
            data.report(name, f"labelsTr/{label.name} has no volume in imagesTr: add it.")
    if _volumes(task / "imagesTs")[0]:
        data.notes.append("imagesTs has no labels and is not used.")
    return data


def _volumes(folder: Path) -> tuple[dict[str, Path], list[tuple[str, str]]]:
    """The volumes of a folder by case, and name and reason for what cannot be read."""
    files, problems = files_below(folder, 0) if folder.is_dir() else ([], [])
    volumes: dict[str, Path] = {}
    for path in files:
        if path.name.lower().endswith((".nii", ".nii.gz")):
            first = volumes.setdefault(case_name(path), path)
            if first is not path:
                problems.append((case_name(path), f"{path.name} is beside {first.name}, which is used: leave one."))
    return volumes, problems


def _stated_cases(path: Path, data: LayoutData) -> list[str]:
    """The training cases that ``dataset.json`` names."""
    if not path.is_file():
        data.notes.append("There is no dataset.json: the volumes are taken to be those of Task01_BrainTumour.")
        return []
    try:
        content = read_datalist(path)
        labels, modality = content["labels"], content["modality"]
        known = all(str(labels[value]).lower().startswith(word) for value, word in _STATED.items())
        known = known and [str(modality[str(i)]).lower() for i in range(4)] == [c.lower() for c in CONTRASTS]
        names = [case_name(case["image"]) for case in content["training"]]
    except (ValueError, KeyError, TypeError) as e:
        raise InputError(f"{path} cannot be read as the dataset.json of {_TASK}: restore it.") from e
    if not known:
        raise InputError(f"{path} states other channels or labels than those of {_TASK}: give the folder of that task.")
    return names


def _case(name: str, image: Path | None, label: Path | None) -> LayoutCase:
    if image is None:
        raise InputError(f"imagesTr/{name}.nii.gz, which dataset.json names, is missing: add it.")
    if label is None:
        raise InputError(f"labelsTr/{image.name} is missing: add it.")
    header = read_header(image, image.name)
    if len(header.shape) != 3 or header.channels != len(CONTRASTS):
        shape = (*header.shape, header.channels) if header.channels > 1 else header.shape
        sizes, expected = " x ".join(map(str, shape)), f"X x Y x Z x 4 ({words(CONTRASTS)})"
        raise InputError(f"imagesTr/{image.name} has the shape {sizes}, not {expected}: replace it.")
    rule = f", but the labels of {_TASK} are {words(range(4))}: replace it."
    check_label(label, image, range(4), rule, f"The label of {name}")
    return LayoutCase(name, name, (image,), label)
