# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

__all__ = [
    "IMAGE_SUFFIXES",
    "UNREAD_SUFFIXES",
    "MaskName",
    "case_name",
    "distinguish",
    "mask_of",
    "masks_among",
    "name_in_metadata",
    "name_of_case",
    "results_among",
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
_MASK = re.compile(r"(?i)(.+)[_-](mask|seg|label|segmentation|annotation|gt)(?:[_-]?(\d+))?")
_RESULT = re.compile(
    r"_(?:(?:seg|overlay)$|(?:probability|uncertainty|deviation|mutual_information|expected_entropy|disagreement|blur)(?:_|$))"
)
_RESULT_SUFFIXES = (".png", ".nii.gz")


def name_of_case(case: Mapping[Any, Any]) -> str:
    """Name of a case of a datalist: its ``case``, or else what follows from its image, see :func:`case_name`."""
    return str(case.get("case") or case_name(case.get("image") or ""))


def name_in_metadata(meta: Mapping[str, Any]) -> str:
    """Name of the case in an image's metadata: its ``case``, or else what follows from the file that was read."""
    return str(meta.get("case") or case_name(str(meta["filename_or_obj"])))


def case_name(image: str | os.PathLike[str] | Sequence[str | os.PathLike[str]]) -> str:
    """Name of a case: the file name of its image without the image suffix (``scan.nii.gz`` is ``scan``).

    Of several files it is the name that they share, or else its common beginning up to a separator, or else that of
    their folder: ``p1_t1.nii.gz`` and ``p1_t2.nii.gz`` are ``p1``. :func:`text_for_names` replaces what is no text.
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
    """Text with ``_`` for line breaks, control characters and bytes that are no text, which file names may hold."""
    return "".join("_" if unicodedata.category(c) in _NO_TEXT else c for c in text)


def distinguish(cases: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Cases whose names differ: those of one name take their path, from the folder where it begins to differ.

    ``x/a.png`` and ``y/a.png`` are the cases ``x_a`` and ``y_a``; ``a.png`` beside ``a.jpg`` are ``a.png`` and
    ``a.jpg``. A name that a datalist states stays. Cases that still have one name get the reason as ``refused``.
    """
    images = [case["image"] for case in cases]
    files = [str(image[0] if isinstance(image, (list, tuple)) else image) for image in images]
    paths = [Path(os.path.abspath(file)) for file in files]
    common = os.path.commonpath([path.parent for path in paths]) if paths else ""
    forms = []  # names of each case, the shortest first
    for case, path in zip(cases, paths):
        folders = path.parent.relative_to(common).parts
        by_path = [text_for_names("_".join([*folders, last])) for last in (case_name(case["image"]), path.name)]
        forms.append([name_of_case(case), *([] if case.get("case") else by_path)])
    chosen = [0] * len(cases)
    while True:
        names = [form[i] for form, i in zip(forms, chosen)]
        count = Counter(names)
        twins = [k for k, name in enumerate(names) if count[name] > 1 and chosen[k] + 1 < len(forms[k])]
        if not twins:
            break
        for k in twins:
            chosen[k] += 1
    distinct = [{**case, "case": name} if i else dict(case) for case, name, i in zip(cases, names, chosen)]
    for case, name in zip(distinct, names):
        if count[name] > 1:
            same = [file for file, other in zip(files, names) if other == name]
            case["refused"] = f"{' and '.join(same[:3])} would give results of one name, {name}: rename one."
    return distinct


class MaskName(NamedTuple):
    """The parts of a mask's name: ``benign (4)_mask_1`` is the mask 1 of ``benign (4)``; BUSI's first has no number."""

    image: str
    word: str
    number: int | None


def mask_of(stem: str) -> MaskName | None:
    """The parts of a mask's name, which is a file name without suffix; None of any other name."""
    match = _MASK.fullmatch(stem)
    return MaskName(match[1], match[2].lower(), int(match[3]) if match[3] else None) if match else None


def masks_among(images: Iterable[Path]) -> set[Path]:
    """Those image files of a folder that have the name of a mask of another one."""
    names = {name for path in images for name in (path.name, case_name(path))}
    return {p for p in images if (mask := mask_of(case_name(p))) and mask.image in names}


def results_among(images: Iterable[Path]) -> set[Path]:
    """Those image files of a folder that have the name of a result of another one, or are the reliability diagram."""
    names = {name for path in images for name in (path.name, case_name(path))}

    def is_result(path: Path) -> bool:
        is_diagram = path.name == "reliability.png" and path.with_name("calibration.csv").is_file()
        stem = case_name(path)
        return is_diagram or any(stem[: match.start()] in names for match in _RESULT.finditer(stem))

    return {path for path in images if path.name.lower().endswith(_RESULT_SUFFIXES) and is_result(path)}
