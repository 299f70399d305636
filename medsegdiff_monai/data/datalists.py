# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

import json
import logging
import os
from pathlib import Path
from typing import Any

from medsegdiff_monai.data.cases import (
    IMAGE_SUFFIXES,
    UNREAD_SUFFIXES,
    case_name,
    distinguish,
    mask_of,
    masks_among,
    name_of_case,
    results_among,
    text_for_names,
)
from medsegdiff_monai.utils import InputError, is_on, printable, typed_text

__all__ = ["find_cases", "load_cases", "read_datalist"]

logger = logging.getLogger(__name__)

# The longest name of a result, <case>_mutual_information_<region>.nii.gz, and the temporary name that it is written
# under have to fit into the 255 bytes of most file systems.
_LONGEST_NAME = 200


def read_datalist(path: Path) -> dict[str, Any]:
    """Content of a datalist in UTF-8, UTF-16 or UTF-32; empty where it holds another kind of JSON than an object."""
    if os.path.exists(path) and not os.path.isfile(path):  # a pipe would never end
        raise InputError(f"Cannot read the datalist {path}: it is no file.")
    try:
        content = json.loads(path.read_bytes())
    except OSError as e:
        raise InputError(f"Cannot read the datalist {path} ({e.strerror}): give the folder that holds it.") from e
    except UnicodeDecodeError as e:
        raise InputError(f"The datalist {path} is neither UTF-8 nor UTF-16: save it as UTF-8.") from e
    except (ValueError, RecursionError) as e:
        raise InputError(f"The datalist {path} is not valid JSON ({e}): write it again.") from e
    return content if isinstance(content, dict) else {}


def load_cases(dataset_dir: str | os.PathLike[str], section: str, datalist: str = "datalist.json") -> list[dict]:
    """The cases of one section of a datalist in the form of the Medical Segmentation Decathlon.

    Paths start from the folder of the datalist, or are absolute; ``\\`` in a path that is not there so separates
    folders, as on Windows.

    Args:
        dataset_dir: folder that the paths in the datalist start from.
        section: ``"training"``, ``"validation"`` or ``"test"``.
        datalist: file name of the datalist in the folder.

    Returns:
        A dictionary for each case, with the absolute path of ``image`` and, where there is one, ``label`` (or a list of
        paths: contrasts, or readers). Whether the files are there shows when they are read. A case whose label is one
        of several masks has the reason why it cannot be used as ``refused``.

    Raises:
        InputError: when the datalist is missing or not readable, or the section is missing or empty.
    """
    path = Path(typed_text(dataset_dir, "dataset_dir")) / str(typed_text(datalist, "datalist"))
    content = read_datalist(path)
    name = str(typed_text(section, "section"))
    cases = content.get(name)
    if not isinstance(cases, list) or not cases:
        known = ", ".join(k for k, v in content.items() if isinstance(v, list))
        raise InputError(f"The datalist {path} has no cases under {name!r}; it has {known or 'none'}.")
    listed: dict[Path, list[str]] = {}
    return [_with_whole_label(_absolute(case, path, i), listed) for i, case in enumerate(cases)]


def _absolute(case: Any, datalist: Path, index: int) -> dict[str, Any]:
    case = {"image": case} if isinstance(case, str) else case
    if not isinstance(case, dict) or not case.get("image"):
        raise InputError(f"Entry {index} of a section of {datalist} has no 'image': add the path of its image.")
    resolved = {key: value for key, value in case.items() if value is not None or key not in ("label", "case")}
    if "case" in resolved:
        resolved["case"] = name = text_for_names(str(resolved["case"]))
        if not name or any(separator in name for separator in "/\\"):
            reason = "cannot be the name of a file: take a name without slashes."
            raise InputError(f"The case {name!r} in {datalist} {reason}")
    for key in [key for key in ("image", "label") if key in resolved]:
        files = case[key] if isinstance(case[key], list) else [case[key]]
        if not files or not all(isinstance(f, str) for f in files):
            raise InputError(f"The {key} of entry {index} of a section of {datalist} is no path: {case[key]!r}.")
        paths = [_path(f, datalist.parent) for f in files]
        resolved[key] = paths if isinstance(case[key], list) else paths[0]
    return resolved


def _path(text: str, folder: Path) -> str:
    is_foreign = "\\" in text and not os.path.lexists(folder / text)
    return str(folder / (text.replace("\\", "/") if is_foreign else text))


def _with_whole_label(case: dict[str, Any], listed: dict[Path, list[str]]) -> dict[str, Any]:
    """A case, refused where its label is the first of several masks, such as ``x_mask.png`` beside ``x_mask_1.png``."""
    label = case.get("label")
    mask = mask_of(case_name(label)) if isinstance(label, str) else None
    if mask is None or mask.number is not None:
        return case
    folder, name = Path(str(label)).parent, Path(str(label)).name
    if folder not in listed:
        listed[folder] = sorted(os.listdir(folder)) if os.access(folder, os.R_OK) and os.path.isdir(folder) else []
    masks = {file: mask_of(case_name(file)) for file in listed[folder] if file.lower().endswith(IMAGE_SUFFIXES)}
    further = [file for file, m in masks.items() if m and m.number is not None and m[:2] == mask[:2]]
    if not further:
        return case
    reason = (
        f"{name} is one of several masks of this image ({', '.join(further[:3])}): unite them, as the command datalist "
        "does with the layout folder, or state all as a list where they are those of several readers."
    )
    return {**case, "refused": reason}


def find_cases(
    dataset_dir: str | os.PathLike[str],
    section: str = "test",
    datalist: str = "datalist.json",
    with_labels: bool = False,
) -> list[dict]:
    """The cases to segment: a section of the folder's datalist, or every image in a folder without one.

    In a folder without a datalist, hidden files, folders and files that are no images are passed over. So are results
    of an earlier run and masks whose image lies beside them; one line of the log says what. Images in forms that are
    not read, links to nothing and pipes are cases, which are refused when they are read.

    Args:
        dataset_dir: folder of the images.
        section: section of the datalist, where there is one.
        datalist: file name of the datalist.
        with_labels: whether the cases are to be scored; the folder then has to have a datalist. A case without a label
            has None for it, so that it can be left out by name.

    Returns:
        A dictionary for each case with the path of its ``image`` (and ``label``), in a plain folder sorted by name.
        Cases of one name are told apart by their paths, see :func:`~medsegdiff_monai.data.cases.distinguish`. A case
        whose results cannot have a name of their own has the reason as ``refused``.

    Raises:
        InputError: when the folder is missing or has no images.
    """
    folder, datalist = Path(typed_text(dataset_dir, "dataset_dir")), str(typed_text(datalist, "datalist"))
    if not os.path.isdir(folder):
        raise InputError(f"The dataset folder {folder} does not exist: give an existing folder as --dataset_dir.")
    with_labels = is_on(with_labels, "with_labels")
    if with_labels or datalist != "datalist.json" or os.path.isfile(folder / datalist):
        cases = load_cases(folder, section, datalist)
        if with_labels:
            cases = [{**case, "label": case.get("label")} for case in cases]
        else:
            cases = [{k: v for k, v in case.items() if k not in ("label", "refused")} for case in cases]
    else:
        cases = [{"image": str(p)} for p in _images(folder)]
    if not cases:
        raise InputError(
            f"The dataset folder {folder} holds no images ({', '.join(IMAGE_SUFFIXES)}) and no {datalist}: "
            "give another folder as --dataset_dir."
        )
    cases = distinguish(cases)
    for case in cases:
        if (length := len(name_of_case(case).encode())) > _LONGEST_NAME:
            too_long = f"has {length} bytes, more than {_LONGEST_NAME}, so the names of its results would be too long"
            case.setdefault("refused", f"The name of the case {too_long}: rename it.")
    return cases


def _images(folder: Path) -> list[Path]:
    """The images of a folder, sorted by name; what else it holds is said in one line of the log."""
    try:
        entries = sorted(folder.iterdir())
    except OSError as e:
        raise InputError(f"Cannot read the dataset folder {folder} ({e.strerror}): mend its permissions.") from e
    kinds: dict[str, list[Path]] = {}
    for path in entries:
        if path.name.startswith("."):
            kind = "hidden"
        elif os.path.isdir(path):
            kind = "folders"
        else:
            kind = "images" if path.name.lower().endswith((*IMAGE_SUFFIXES, *UNREAD_SUFFIXES)) else "no images"
        kinds.setdefault(kind, []).append(path)
    images = kinds.pop("images", [])
    results = results_among(images)
    masks = masks_among(images) - results
    kinds |= {"results of an earlier run": sorted(results), "masks": sorted(masks)}
    passed_over = [
        f"{kind}: {len(paths)} ({', '.join(p.name for p in paths[:3])}{', ...' if len(paths) > 3 else ''})"
        for kind, paths in kinds.items()
        if paths
    ]
    if passed_over:
        logger.info("Passed over in %s: %s", printable(folder), printable("; ".join(passed_over)))
    return [path for path in images if path not in results | masks]
