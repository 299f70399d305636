# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from medsegdiff_monai.data.cases import IMAGE_SUFFIXES, UNREAD_SUFFIXES, distinguish, name_of_case
from medsegdiff_monai.data.companions import masks_among, results_among
from medsegdiff_monai.data.datalists import load_cases
from medsegdiff_monai.utils import InputError, printable, typed_text

__all__ = ["find_cases"]

logger = logging.getLogger(__name__)

# The longest name of a result, <case>_mutual_information_<region>.nii.gz, and the temporary name that it is written
# under have to fit into the 255 bytes of most file systems.
_LONGEST_NAME = 200


def find_cases(
    dataset_dir: str | os.PathLike[str],
    section: str = "test",
    datalist: str = "datalist.json",
    with_labels: bool = False,
) -> list[dict]:
    """The cases to segment: a section of the folder's datalist, or every image in a folder without one.

    In a folder without a datalist, hidden files, folders and files that are no images are passed over, and so are the
    results of an earlier run and masks where the image that they belong to lies beside them; one line of the log says
    what. Images in forms that are not read, links to nothing and pipes are cases, which are refused when they are read.

    Args:
        dataset_dir: folder of the images.
        section: section of the datalist, where there is one.
        datalist: file name of the datalist.
        with_labels: whether the cases are to be scored; the folder then has to have a datalist. A case without a label
            has None for it, so that it can be left out by name.

    Returns:
        A dictionary for each case with the path of its ``image`` (and ``label``), in a plain folder sorted by name.
        Cases of one name are told apart by their paths, see :func:`~medsegdiff_monai.data.cases.distinguish`. A case
        whose results cannot have a name of their own has the reason as ``refused``, and
        :class:`~medsegdiff_monai.data.ScreenedDataset` leaves it out.

    Raises:
        InputError: when the folder is missing or has no images.
    """
    folder, datalist = Path(typed_text(dataset_dir, "dataset_dir")), str(typed_text(datalist, "datalist"))
    if not os.path.isdir(folder):
        raise InputError(f"The dataset folder {folder} does not exist: give an existing folder as --dataset_dir.")
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
    return [_refused_by_length(case) for case in distinguish(cases)]


def _images(folder: Path) -> list[Path]:
    """The images of a folder, sorted by name; what else it holds is said in one line of the log."""
    try:
        entries = sorted(folder.iterdir())
    except OSError as e:
        raise InputError(f"Cannot read the dataset folder {folder} ({e.strerror}): mend its permissions.") from e
    kinds: dict[str, list[Path]] = {}
    for path in entries:
        kinds.setdefault(_kind(path), []).append(path)
    images = kinds.pop("images", [])
    results = results_among(images)
    masks = masks_among(images) - results
    kinds |= {"results of an earlier run": sorted(results), "masks": sorted(masks)}
    _say_what_is_passed_over(folder, kinds)
    beside = results | masks
    return [path for path in images if path not in beside]


def _kind(path: Path) -> str:
    if path.name.startswith("."):
        return "hidden"
    if os.path.isdir(path):
        return "folders"
    return "images" if path.name.lower().endswith((*IMAGE_SUFFIXES, *UNREAD_SUFFIXES)) else "no images"


def _say_what_is_passed_over(folder: Path, passed_over: Mapping[str, Sequence[Path]]) -> None:
    parts = [
        f"{reason}: {len(paths)} ({', '.join(p.name for p in paths[:3])}{', ...' if len(paths) > 3 else ''})"
        for reason, paths in passed_over.items()
        if paths
    ]
    if parts:
        logger.info("Passed over in %s: %s", printable(folder), printable("; ".join(parts)))


def _refused_by_length(case: dict[str, Any]) -> dict[str, Any]:
    length = len(name_of_case(case).encode())
    if length <= _LONGEST_NAME or "refused" in case:
        return case
    reason = (
        f"The name of the case has {length} bytes, more than {_LONGEST_NAME}, so the names of its results would be too "
        "long: rename it."
    )
    return {**case, "refused": reason}
