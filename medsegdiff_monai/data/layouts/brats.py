# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from medsegdiff_monai.data.layouts.files import check_label, existing_folder, files_below, grid_difference, words
from medsegdiff_monai.data.layouts.layout import LayoutCase, LayoutData
from medsegdiff_monai.utils import InputError

__all__ = ["CONTRASTS", "contrast_files", "read_brats"]

CONTRASTS = ("FLAIR", "T1w", "T1gd", "T2w")
_DEPTH = 3  # HGG/<case>, where each file may have a folder of its own
_VOLUMES = (".nii", ".nii.gz")


@dataclass(frozen=True)
class _Convention:
    """Names of files and numbers of tissues: ``<case><joint><key>.nii.gz``, keys in the order of the channels."""

    years: str
    joint: str
    keys: tuple[str, ...]
    enhancing: int
    patient: str

    def parts(self, name: str) -> tuple[str, str] | None:
        """Case and key (of a contrast, or ``seg``) in the name of a file; None of any other name."""
        match = re.fullmatch(rf"(?i)(.+){self.joint}({'|'.join(self.keys)}|seg)\.nii(?:\.gz)?", name)
        return (match[1], match[2].lower()) if match else None


_CONVENTIONS = (
    _Convention("2018-2021", "_", ("flair", "t1", "t1ce", "t2"), 4, r"(.+)"),
    _Convention("2023 and later", "-", ("t2f", "t1n", "t1c", "t2w"), 3, r"(?i)(BraTS-[a-z]+-\d+)-\d+"),
)
# The files of a case folder, each with the name that counts: its own, or that of a folder made for it alone.
_Names = dict[Path, str]


def contrast_files(image: str) -> list[str] | None:
    """The files of FLAIR, T1w, T1gd and T2w beside the file of one of them; None where its name is not one of BraTS."""
    path = Path(image)
    for convention in _CONVENTIONS:
        case, key = convention.parts(path.name) or ("", "seg")
        if key != "seg":
            suffix = path.name[len(case) + len(convention.joint) + len(key) :]
            files = [path.with_name(f"{case}{convention.joint}{other}{suffix}") for other in convention.keys]
            if missing := [file.name for file in files if not file.is_file()]:
                raise InputError(f"The case of {path.name} lacks {', '.join(missing)}: put them into {path.parent}.")
            return [str(file) for file in files]
    return None


def read_brats(root: Path) -> LayoutData:
    """Read a folder of BraTS case folders, at most two levels down (``HGG/<case>``, as in 2018).

    Files are named as in 2018-2021 (``<case>_{flair,t1,t1ce,t2,seg}.nii.gz``; labels 1 necrotic core, 2 oedema, 4
    enhancing tumour) or as from 2023 on (``<case>-{t2f,t1n,t1c,t2w,seg}.nii.gz``; 3 enhancing tumour). The later names
    ``BraTS-GLI-<patient>-<timepoint>`` tell the patient. The image is FLAIR, T1w, T1gd, T2w. Cases without a label map
    are kept without it.

    Mirrors put each file into a folder of its own name, ``<case>_flair.nii/<case>_flair.nii``, in which it may also
    have another name.
    """
    paths, problems = files_below(existing_folder(root), _DEPTH)
    folders = _folders(paths)
    convention = _convention(root, folders)
    enhancing = convention.enhancing
    data = LayoutData(
        name=f"BraTS ({convention.years})",
        modality={str(i): contrast for i, contrast in enumerate(CONTRASTS)},
        labels={"0": "background", "1": "necrotic core", "2": "oedema", str(enhancing): "enhancing tumour"},
        tensor_image_size="3D",
        regions={"TC": [1, enhancing], "WT": [1, 2, enhancing], "ET": [enhancing]},
        background=[0],
        problems=problems,
    )
    for folder, names in tqdm(folders.items(), desc="Checking labels", unit="case", leave=False):
        cases = _cases(names, convention)
        with data.reporting(next(iter(cases)) if len(cases) == 1 else folder.name):
            if not cases:
                shown = words(names.values())
                raise InputError(f"None of the files {shown} in {folder} is named as in BraTS: rename them.")
            if len(cases) > 1:
                several = f"files of several cases ({words(cases)})"
                raise InputError(f"{folder} holds {several}: give each case a folder of its own.")
            ((name, files),) = cases.items()
            others = [path for path in names if not any(path in group for group in files.values())]
            data.cases.append(_case(data, name, files, others, convention))
    if any(case.name.upper().startswith("BRATS-PED") for case in data.cases):
        data.notes.append("BraTS-PED is read with the labels of 2023; in 2024 it numbered them in another way.")
    return data


def _folders(paths: list[Path]) -> dict[Path, _Names]:
    """The NIfTI files of each case folder.

    In a folder of its own, a file has the folder's name where that is one of BraTS: mirrors call the file in
    ``BraTS2021_00495_flair.nii`` ``00000057_brain_flair.nii``. It has neither where the two say different things.
    """
    folders: dict[Path, _Names] = {}
    for path in paths:
        if not path.name.lower().endswith(_VOLUMES):
            continue
        folder, name = path.parent, path.name
        if folder.name.lower().endswith(_VOLUMES):
            own, outer = ({parts[1] for c in _CONVENTIONS if (parts := c.parts(n))} for n in (name, folder.name))
            differ = own and outer and own != outer
            name = f"{name} (in {folder.name})" if differ else folder.name if outer else name
            folder = folder.parent
        folders.setdefault(folder, {})[path] = name
    return folders


def _cases(names: _Names, convention: _Convention) -> dict[str, dict[str, list[Path]]]:
    """The files by case and key; names that differ in upper and lower case alone are of one case."""
    cases: dict[str, dict[str, list[Path]]] = {}
    spelling: dict[str, str] = {}
    for path, name in names.items():
        if parts := convention.parts(name):
            case = spelling.setdefault(parts[0].lower(), parts[0])
            cases.setdefault(case, {}).setdefault(parts[1], []).append(path)
    return cases


def _convention(root: Path, folders: Mapping[Path, _Names]) -> _Convention:
    files = [file for names in folders.values() for file in names.items()]
    named = [[path for path, name in files if (c.parts(name) or ("", "seg"))[1] != "seg"] for c in _CONVENTIONS]
    if all(named):
        raise InputError(
            f"{root} mixes the namings of {' and '.join(c.years for c in _CONVENTIONS)} "
            f"({' and '.join(str(paths[0]) for paths in named)}), whose labels differ: give a folder of one."
        )
    if not any(named):
        raise InputError(
            f"{root} holds no BraTS cases: give the folder of the case folders, which hold "
            "<case>_flair.nii.gz or <case>-t2f.nii.gz and so on."
        )
    return next(c for c, paths in zip(_CONVENTIONS, named) if paths)


def _case(
    data: LayoutData, name: str, files: Mapping[str, list[Path]], others: list[Path], convention: _Convention
) -> LayoutCase:
    """A case of its files by key; ``others`` in its folder have no name of BraTS."""
    stem = f"{name}{convention.joint}"
    named = zip(CONTRASTS, convention.keys)
    if missing := [f"{contrast} ({stem}{key}.nii.gz)" for contrast, key in named if key not in files]:
        raise InputError(f"It has no {words(missing)}: add what is missing.")
    for paths in files.values():
        if len(paths) > 1:
            raise InputError(f"{words(p.name for p in paths)} are two files of one kind: leave one.")
    images = tuple(files[key][0] for key in convention.keys)
    known = (0, 1, 2, convention.enhancing)
    rule = f", but the labels of {convention.years} are {words(known)}: give the label map that belongs to these names."
    label = None
    if "seg" in files:
        label = files["seg"][0]
        check_label(label, images[0], known, rule)
    else:
        hint = f" (or is {words(p.name for p in others)} the label map? then rename it)" if others else ""
        # BraTS 2020 calls the label map of its case 355 W39_1998.09.19_Segm.nii.
        if len(others) == 1 and re.search(r"(?i)seg(m|mentation)?\.nii(\.gz)?$", others[0].name):
            try:
                check_label(others[0], images[0], known, rule)
                label = others[0]
            except InputError as e:
                hint = f" ({e})"
        reason = f"{stem}seg.nii.gz is missing, so it can only be segmented: add it{hint}."
        if label is not None:
            reason = f"{label.name} is taken for its label map: rename it if it is."
        data.report(name, reason, kept=True)
    for path in images[1:]:  # which the bundle resamples on request
        if difference := grid_difference(path, images[0]):
            reason = f"{path.name} {difference}, so the case needs --resample_contrasts true, or to be resampled."
            data.report(name, reason, kept=True)
    patient = re.fullmatch(convention.patient, name)
    return LayoutCase(name, patient[1] if patient else name, images, label)
