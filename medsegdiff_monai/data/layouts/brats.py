# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from medsegdiff_monai.data.layouts.files import existing_folder, files_below, grid_difference, label_values, words
from medsegdiff_monai.data.layouts.layout import LayoutCase, LayoutData
from medsegdiff_monai.utils import InputError

__all__ = ["contrast_files", "read_brats"]

_CONTRASTS = ("FLAIR", "T1w", "T1gd", "T2w")
_DEPTH = 3  # HGG/<case>, where each file may have a folder of its own
_VOLUMES = (".nii", ".nii.gz")


@dataclass(frozen=True)
class _Convention:
    """How files are named and tissues numbered: ``<case><joint><key>.nii.gz``, keys in the order of the channels."""

    years: str
    joint: str
    keys: tuple[str, ...]
    enhancing: int
    stranger: int
    patient: str

    @property
    def pattern(self) -> str:
        return rf"(?i)(.+){self.joint}({'|'.join(self.keys)}|seg)\.nii(?:\.gz)?"


_OLDER = _Convention("2018-2021", "_", ("flair", "t1", "t1ce", "t2"), 4, 3, r"(.+)")
_NEWER = _Convention("2023 and later", "-", ("t2f", "t1n", "t1c", "t2w"), 3, 4, r"(?i)(BraTS-[a-z]+-\d+)-\d+")

# The files of a case folder, each with the name that counts: its own, or that of a folder made for it alone.
_Files = list[tuple[str, Path]]
# These files by the case in their names, and there by key (contrast or "seg").
_Folder = dict[str, dict[str, list[Path]]]


def read_brats(root: Path) -> LayoutData:
    """Read a folder of BraTS case folders, at most two levels down (``HGG/<case>``, as in 2018).

    Mirrors put each file into a folder of its own name, ``<case>_flair.nii/<case>_flair.nii``, in which it may also
    have another name.

    Files are named as in 2018-2021 (``<case>_{flair,t1,t1ce,t2,seg}.nii.gz``; labels 1 necrotic core, 2 oedema, 4
    enhancing tumour) or as from 2023 on (``<case>-{t2f,t1n,t1c,t2w,seg}.nii.gz``; 3 enhancing tumour), whose names
    ``BraTS-GLI-<patient>-<timepoint>`` tell the patient. The image is FLAIR, T1w, T1gd, T2w. Cases without a label map
    are kept without it.

    Args:
        root: folder of the data set.

    Raises:
        InputError: when the folder is missing, holds no cases, or mixes both namings.
    """
    paths, problems = files_below(existing_folder(root), _DEPTH)
    folders = _folders(paths)
    convention = _convention(root, folders)
    data = LayoutData(
        name=f"BraTS ({convention.years})",
        modality={str(i): contrast for i, contrast in enumerate(_CONTRASTS)},
        labels={"0": "background", "1": "necrotic core", "2": "oedema", str(convention.enhancing): "enhancing tumour"},
        tensor_image_size="3D",
        regions={
            "TC": [1, convention.enhancing],
            "WT": [1, 2, convention.enhancing],
            "ET": [convention.enhancing],
        },
        background=[0],
        problems=problems,
    )
    for folder, files in tqdm(folders.items(), desc="Checking labels", unit="case", leave=False):
        cases = _cases(files, convention)
        name = next(iter(cases)) if len(cases) == 1 else folder.name
        try:
            _add(data, folder, files, cases, convention)
        except InputError as e:
            data.report(name, str(e))
    if any(case.name.upper().startswith("BRATS-PED") for case in data.cases):
        data.notes.append("BraTS-PED is read with the labels of 2023; in 2024 it numbered them in another way.")
    return data


def _folders(paths: list[Path]) -> dict[Path, _Files]:
    """The NIfTI files of each case folder."""
    folders: dict[Path, _Files] = {}
    for path in paths:
        if path.name.lower().endswith(_VOLUMES):
            in_own_folder = path.parent.name.lower().endswith(_VOLUMES)
            folder = path.parent.parent if in_own_folder else path.parent
            folders.setdefault(folder, []).append((_name(path) if in_own_folder else path.name, path))
    return folders


def _name(path: Path) -> str:
    """The name that tells what a file in a folder of its own is: the folder's or else its own; neither if they differ.

    Mirrors call the file in ``BraTS2021_00495_flair.nii`` ``00000057_brain_flair.nii``.
    """
    own, folder = _key(path.name), _key(path.parent.name)
    if own and folder and own != folder:
        return f"{path.name} (in {path.parent.name})"
    return path.parent.name if folder else path.name


def _key(name: str) -> str | None:
    """The contrast, or ``seg``, in a name that is like those of BraTS."""
    matches = (re.fullmatch(convention.pattern, name) for convention in _all())
    return next((match[2].lower() for match in matches if match), None)


def _cases(files: _Files, convention: _Convention) -> _Folder:
    """The files by case; names that differ in upper and lower case alone are of one case."""
    cases: _Folder = {}
    spelling: dict[str, str] = {}
    for name, path in files:
        match = re.fullmatch(convention.pattern, name)
        if match:
            case = spelling.setdefault(match[1].lower(), match[1])
            cases.setdefault(case, {}).setdefault(match[2].lower(), []).append(path)
    return cases


def _convention(root: Path, folders: dict[Path, _Files]) -> _Convention:
    named_files = [file for files in folders.values() for file in files]
    found = {c: [(re.fullmatch(c.pattern, name), path) for name, path in named_files] for c in _all()}
    named = {c: [p for match, p in found[c] if match and match[2].lower() != "seg"] for c in found}
    if all(named.values()):
        raise InputError(
            f"{root} mixes the namings of {' and '.join(c.years for c in _all())} "
            f"({' and '.join(str(named[c][0]) for c in _all())}), whose labels differ: give a folder of one."
        )
    if not any(named.values()):
        raise InputError(
            f"{root} holds no BraTS cases: give the folder of the case folders, which hold "
            "<case>_flair.nii.gz or <case>-t2f.nii.gz and so on."
        )
    return next(c for c in _all() if named[c])


def _all() -> tuple[_Convention, _Convention]:
    return _OLDER, _NEWER


def _add(data: LayoutData, folder: Path, files: _Files, cases: _Folder, convention: _Convention) -> None:
    """Add the case of a folder to the data.

    Raises:
        InputError: when it cannot be used.
    """
    if not cases:
        raise InputError(
            f"None of the files {words(name for name, _ in files)} in {folder} is named as in BraTS: rename them."
        )
    if len(cases) > 1:
        raise InputError(f"{folder} holds files of several cases ({words(cases)}): give each case a folder of its own.")
    ((name, found),) = cases.items()
    images = _images(name, found, convention)
    label = found["seg"][0] if "seg" in found else None
    if label:
        _check_label(label, images[0], convention)
    else:
        others = [p for _, p in files if not any(p in group for group in found.values())]
        label = _misnamed_label(data, name, others, images[0], convention)
    for path in images[1:]:  # which the bundle resamples on request
        if difference := grid_difference(path, images[0]):
            reason = f"{path.name} {difference}, so the case needs --resample_contrasts true, or to be resampled."
            data.report(name, reason, kept=True)
    patient = re.fullmatch(convention.patient, name)
    data.cases.append(LayoutCase(name, patient[1] if patient else name, tuple(images), label))


def _misnamed_label(
    data: LayoutData, name: str, others: list[Path], image: Path, convention: _Convention
) -> Path | None:
    """The label map of a case without one of the right name: its only other file, such as ``W39_1998.09.19_Segm.nii``.

    BraTS 2020 calls that of its case 355 so. It is taken where it says that it is a segmentation and fits.
    """
    hint = f" (or is {words(p.name for p in others)} the label map? then rename it)" if others else ""
    if len(others) == 1 and re.search(r"(?i)seg(m|mentation)?\.nii(\.gz)?$", others[0].name):
        try:
            _check_label(others[0], image, convention)
        except InputError as e:
            hint = f" ({e})"
        else:
            data.report(name, f"{others[0].name} is taken for its label map: rename it if it is.", kept=True)
            return others[0]
    reason = f"{name}{convention.joint}seg.nii.gz is missing, so it can only be segmented: add it{hint}."
    data.report(name, reason, kept=True)
    return None


def _check_label(label: Path, image: Path, convention: _Convention) -> None:
    if difference := grid_difference(label, image):
        raise InputError(f"{label.name} {difference}: give a label on the grid of {image.name}.")
    known = (0, 1, 2, convention.enhancing)
    others = [v for v in label_values(label) if v not in known]
    if others:
        raise InputError(
            f"{label.name} has the values {words(f'{v:g}' for v in others)}, but the labels of {convention.years} are "
            f"{words(known)}: give the label map that belongs to these names."
        )


def _images(name: str, found: dict[str, list[Path]], convention: _Convention) -> list[Path]:
    missing = [
        f"{contrast} ({name}{convention.joint}{key}.nii.gz)"
        for contrast, key in zip(_CONTRASTS, convention.keys)
        if key not in found
    ]
    if missing:
        raise InputError(f"It has no {words(missing)}: add what is missing.")
    for paths in found.values():
        if len(paths) > 1:
            raise InputError(f"{words(p.name for p in paths)} are two files of one kind: leave one.")
    return [found[key][0] for key in convention.keys]


def contrast_files(image: str) -> list[str] | None:
    """All contrasts of a case, from the file of one of them.

    Args:
        image: file of one contrast, such as ``BraTS2021_00000_flair.nii.gz``.

    Returns:
        The files of FLAIR, T1w, T1gd and T2w, or None where the file is not named as a contrast.

    Raises:
        InputError: when a contrast is missing beside it.
    """
    path = Path(image)
    for convention in _all():
        match = re.fullmatch(convention.pattern, path.name)
        if match is None or match[2].lower() not in convention.keys:
            continue
        end = path.name[match.end(2) :]
        files = [path.with_name(f"{match[1]}{convention.joint}{key}{end}") for key in convention.keys]
        missing = [file.name for file in files if not file.is_file()]
        if missing:
            raise InputError(f"The case of {path.name} lacks {', '.join(missing)}: put them into {path.parent}.")
        return [str(file) for file in files]
    return None
