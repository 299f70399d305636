# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

import json
import os
from pathlib import Path
from typing import Any

from medsegdiff_monai.data import read_datalist
from medsegdiff_monai.data.layouts import (
    SECTIONS,
    UNITED_LABELS,
    LayoutCase,
    LayoutData,
    read_brats,
    read_ddti,
    read_folder,
    read_msd,
    read_refuge2,
    sections_of,
)
from medsegdiff_monai.utils import InputError, check_writable, printable, replace_atomically

__all__ = ["LAYOUTS", "write_datalist"]

_READERS = {"refuge2": read_refuge2, "brats": read_brats, "msd": read_msd}
LAYOUTS = (*_READERS, "ddti", "folder")
_OWNERS = "dataset.json"  # the Decathlon's own, which has the same sections


def write_datalist(
    layout: str, root: str | Path, out: str | Path, split: Any = None, seed: int = 0, **folder_options: Any
) -> int:
    """Write a data set's datalist as the command does, and return how many cases, files and folders are left out."""
    if layout not in LAYOUTS:
        raise InputError(f"There is no layout {layout!r}: choose one of {', '.join(LAYOUTS)}.")
    given = [f"--{name}" for name, value in folder_options.items() if value is not None]
    if given and layout != "folder":
        raise InputError(f"{', '.join(given)} is for the layout folder alone: leave it out for {layout}.")
    sections_of(LayoutData("", {}, {}, ""), split, seed)  # a wrong split or seed is refused before all files are read
    path = Path(str(out))
    _check_replaceable(path)
    source = Path(str(root))
    if layout == "ddti":
        data = read_ddti(source, path.parent / "ddti_labels")
    elif layout == "folder":
        data = read_folder(source, **folder_options, labels_dir=path.parent / UNITED_LABELS)
    else:
        data = _READERS[layout](source)
    check_writable(path.parent)
    sections = sections_of(data, split, seed)
    if not any(sections.values()):
        reasons = " ".join(f"{case}: {reason}" for case, reason in data.problems[:3])
        raise InputError(f"None of the {len(data.problems)} cases in {root} can be used. {reasons}")
    text = json.dumps(_content(data, sections, path.parent), indent=1) + "\n"
    replace_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))
    _print_summary(path, data, sections)
    return data.left_out


def _check_replaceable(path: Path) -> None:
    if path.suffix != ".json":
        raise InputError(f"--out must be a file that ends in .json, got {path}.")
    if path.exists():
        try:
            content = read_datalist(path)
        except InputError:
            content = {}
        if "training" not in content or path.name == _OWNERS:
            raise InputError(f"{path} exists and is not a datalist: choose another --out.")


def _content(data: LayoutData, sections: dict[str, list[LayoutCase]], folder: Path) -> dict[str, Any]:
    def relative(path: Path) -> str:
        """The way to a file, right also where a folder on it is a link; a link to the file keeps its name."""
        return Path(os.path.relpath(path.parent.resolve() / path.name, folder.resolve())).as_posix()

    def entry(case: LayoutCase) -> dict[str, Any]:
        images = [relative(p) for p in case.images]
        label = {} if case.label is None else {"label": relative(case.label)}
        names = {"case": case.name, "patient": case.patient}
        return {"image": images if len(images) > 1 else images[0], **label, **names}

    content: dict[str, Any] = {"name": data.name, "modality": data.modality, "labels": data.labels}
    if data.regions:
        content |= {"regions": data.regions, "background": data.background}
    content["tensorImageSize"] = data.tensor_image_size
    content |= {f"num{name.capitalize()}": len(cases) for name, cases in sections.items()}
    return content | {name: [entry(case) for case in cases] for name, cases in sections.items()}


def _print_summary(path: Path, data: LayoutData, sections: dict[str, list[LayoutCase]]) -> None:
    patients = {case.patient for cases in sections.values() for case in cases}
    numbers = ", ".join(f"{name} {len(cases)}" for name, cases in sections.items())
    print(f"{printable(path)}: {sum(map(len, sections.values()))} cases of {len(patients)} patients ({numbers}).")
    for note in data.notes:
        print(f"Note: {printable(note)}")
    empty = [name for name in SECTIONS if not sections[name]]
    if empty:
        print(f"Note: there is no case for {', '.join(empty)}; --split shares the cases out.")
    if data.left_out:
        print(f"{data.left_out} left out:")
    for case, reason in data.problems:
        kind = "Note" if (case, reason) in data.kept else "Warning"
        print(f"{kind}: {printable(case)}: {reason}")
