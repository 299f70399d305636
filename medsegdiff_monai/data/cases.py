# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = [
    "IMAGE_SUFFIXES",
    "UNREAD_SUFFIXES",
    "case_name",
    "distinguish",
    "name_in_metadata",
    "name_of_case",
    "text_for_names",
]

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".nii", ".nii.gz")
# Images in forms that are not read: each is refused by name, and none is passed over.
UNREAD_SUFFIXES = (
    *(".webp", ".gif", ".jp2", ".j2k", ".jpx", ".jxl", ".jfif", ".jpe", ".heic", ".heif", ".avif", ".psd", ".svs"),
    *(".tga", ".dib", ".pbm", ".pgm", ".ppm", ".pnm", ".dcm", ".dicom", ".ima", ".mha", ".mhd", ".nrrd", ".nhdr"),
    *(".hdr", ".mgz", ".mgh", ".nii.bz2", ".nii.xz", ".nii.zst"),
)
_NO_TEXT = ("Cc", "Cs", "Zl", "Zp")  # control characters, bytes that are no text, separators of lines


def name_of_case(case: Mapping[Any, Any]) -> str:
    """Name of a case of a datalist: its ``case``, or else what follows from its image, see :func:`case_name`."""
    return str(case.get("case") or case_name(case.get("image") or ""))


def name_in_metadata(meta: Mapping[str, Any]) -> str:
    """Name of the case in an image's metadata: its ``case``, or else what follows from the file that was read."""
    return str(meta.get("case") or case_name(str(meta["filename_or_obj"])))


def case_name(image: str | os.PathLike[str] | Sequence[str | os.PathLike[str]]) -> str:
    """Name of a case: the file name of its image without the image suffix (``scan.nii.gz`` is ``scan``).

    Of a case in several files it is their name where they have one name in different folders, or else what their
    names begin with, up to a separator (``p1_t1.nii.gz`` and ``p1_t2.nii.gz`` are ``p1``), or else the name of their
    folder. Line breaks and what else no text may hold become ``_``, see :func:`text_for_names`.
    """
    if isinstance(image, (list, tuple)):
        stems = [case_name(file) for file in image]
        if len(set(stems)) == 1:
            return stems[0]
        common = os.path.commonprefix(stems)  # noqa: RUF071 (of names, not of paths)
        cut = max(common.rfind(separator) for separator in "-_.")
        return common[:cut].rstrip("-_.") if cut > 0 else text_for_names(Path(image[0]).parent.name)
    name = Path(str(image)).name
    suffixes = sorted(IMAGE_SUFFIXES, key=len, reverse=True)
    suffix = next((s for s in suffixes if name.lower().endswith(s)), "")
    return text_for_names(name[: len(name) - len(suffix)])


def text_for_names(text: str) -> str:
    """Text with ``_`` for each line break, control character and byte that is no text.

    A file name may hold them; names of results, tables and logs may not.
    """
    return "".join("_" if unicodedata.category(c) in _NO_TEXT else c for c in text)


def distinguish(cases: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Cases whose names differ: those of one name take their path, from the folder where it begins to differ.

    ``x/a.png`` and ``y/a.png`` are the cases ``x_a`` and ``y_a``; ``a.png`` beside ``a.jpg`` are ``a.png`` and
    ``a.jpg``. A name that a datalist states stays. Cases that still have one name get the reason as ``refused``.

    Args:
        cases: cases with ``image`` and, where it is stated, ``case``.
    """
    forms = [(name_of_case(case), *([] if case.get("case") else longer)) for case, longer in zip(cases, _paths(cases))]
    chosen = [0] * len(cases)
    while True:
        names = [form[i] for form, i in zip(forms, chosen)]
        count = Counter(names)
        twins = [k for k, name in enumerate(names) if count[name] > 1 and chosen[k] + 1 < len(forms[k])]
        if not twins:
            break
        for k in twins:
            chosen[k] += 1
    distinct = [{**case, "case": name} if i else case for case, name, i in zip(cases, names, chosen)]
    return [_refused_as_twin(case, names, cases) if count[name] > 1 else case for case, name in zip(distinct, names)]


def _paths(cases: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """Names of each case by its path, without the folders that all have in common: without suffix, and with it."""
    images = [case["image"] for case in cases]
    places = [Path(os.path.abspath(image[0] if isinstance(image, (list, tuple)) else image)) for image in images]
    common = Path(os.path.commonpath([place.parent for place in places])) if places else Path()
    return [
        [
            text_for_names("_".join([*place.parent.relative_to(common).parts, last]))
            for last in (case_name(image), place.name)
        ]
        for image, place in zip(images, places)
    ]


def _refused_as_twin(case: dict[str, Any], names: Sequence[str], cases: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    own = name_of_case(case)
    images = [other["image"] for other, name in zip(cases, names) if name == own]
    files = [str(image[0] if isinstance(image, (list, tuple)) else image) for image in images[:3]]
    return {**case, "refused": f"{' and '.join(files)} would give results of one name, {own}: rename one."}
