# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from medsegdiff_monai.data.cases import case_name

__all__ = ["MaskName", "mask_of", "masks_among", "results_among"]

_MASK = re.compile(r"(?i)(.+)[_-](mask|seg|label|segmentation|annotation|gt)(?:[_-]?(\d+))?")
_RESULT = re.compile(
    r"_(?:(?:seg|overlay)$|(?:probability|uncertainty|deviation|mutual_information|expected_entropy|disagreement|blur)(?:_|$))"
)
_RESULT_SUFFIXES = (".png", ".nii.gz")


@dataclass(frozen=True)
class MaskName:
    """The parts of a mask's name: ``benign (4)_mask_1`` is the mask 1 of ``benign (4)``.

    BUSI numbers all masks of an image but the first.

    Attributes:
        image: name of the image.
        word: the word for a mask, in lower case.
        number: number of the mask, where it has one.
    """

    image: str
    word: str
    number: int | None


def mask_of(stem: str) -> MaskName | None:
    """The parts of a mask's name; None of any other name.

    Args:
        stem: file name without suffix.
    """
    match = _MASK.fullmatch(stem)
    return MaskName(match[1], match[2].lower(), int(match[3]) if match[3] else None) if match else None


def masks_among(images: Iterable[Path]) -> set[Path]:
    """Those files of a folder that have the name of a mask of another one.

    Args:
        images: the image files of the folder.
    """
    names = _names(images)
    return {p for p in images if (mask := mask_of(case_name(p))) and mask.image in names}


def results_among(images: Iterable[Path]) -> set[Path]:
    """Those files of a folder that have the name of a result of another one, or are the reliability diagram of all.

    Args:
        images: the image files of the folder.
    """
    names = _names(images)
    return {p for p in images if p.name.lower().endswith(_RESULT_SUFFIXES) and _is_result(p, names)}


def _names(images: Iterable[Path]) -> set[str]:
    return {name for path in images for name in (path.name, case_name(path))}


def _is_result(path: Path, names: set[str]) -> bool:
    stem = case_name(path)
    is_diagram = path.name == "reliability.png" and path.with_name("calibration.csv").is_file()
    return is_diagram or any(stem[: match.start()] in names for match in _RESULT.finditer(stem))
