# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from PIL import Image
from tqdm import tqdm

from medsegdiff_monai.data.datalists import read_datalist
from medsegdiff_monai.data.phantoms.brain import BRAIN_CONTRASTS, draw_brain
from medsegdiff_monai.data.phantoms.drawing import FIELD_OF_VIEW_MM
from medsegdiff_monai.data.phantoms.fundus import draw_fundus
from medsegdiff_monai.data.phantoms.ultrasound import LOBE_PROBABILITY, SCALE_DEVIATION, draw_readings, draw_ultrasound
from medsegdiff_monai.utils import InputError, check_writable, replace_atomically

__all__ = ["PHANTOM_KINDS", "make_phantom", "write_phantoms"]


@dataclass(frozen=True)
class _Kind:
    draw: Callable[[np.random.Generator, Sequence[int]], tuple[np.ndarray, np.ndarray]]
    title: str
    modality: dict[str, str]
    labels: dict[str, str]
    spatial_dims: int = 2
    min_size: int = 32
    suffix: str = ".png"


_KINDS = {
    "ultrasound": _Kind(
        draw_ultrasound,
        "thyroid ultrasound",
        {"0": "simulated B-mode ultrasound (8 bit grey)"},
        {"0": "background", "1": "nodule"},
    ),
    "fundus": _Kind(
        draw_fundus,
        "optic disc",
        {"0": "simulated colour fundus photograph (RGB)"},
        {"0": "background", "1": "optic disc rim", "2": "optic cup"},
    ),
    "brain": _Kind(
        draw_brain,
        "brain tumour",
        {str(i): f"simulated {name}" for i, name in enumerate(BRAIN_CONTRASTS)},
        {"0": "background", "1": "necrotic core", "2": "oedema", "4": "enhancing tumour"},
        spatial_dims=3,
        min_size=16,
        suffix=".nii.gz",
    ),
}

PHANTOM_KINDS = tuple(_KINDS)
_LICENCE = "made up by medsegdiff_monai; free to use"


def _check(kind: str, size: int | Sequence[int]) -> tuple[_Kind, tuple[int, ...]]:
    if kind not in PHANTOM_KINDS:
        raise InputError(f"There is no phantom of kind {kind!r}: choose one of {', '.join(PHANTOM_KINDS)}.")
    known = _KINDS[kind]
    each: tuple[Any, ...] = tuple(size) if isinstance(size, (list, tuple)) else (size,) * known.spatial_dims
    whole = all(isinstance(n, (int, np.integer)) and not isinstance(n, bool) for n in each)
    if len(each) != known.spatial_dims or not whole or min(each) < known.min_size:
        raise InputError(
            f"The size of a phantom of kind {kind!r} must be one whole number or {known.spatial_dims} of them, "
            f"each at least {known.min_size}, got {size!r}."
        )
    return known, tuple(int(n) for n in each)


def make_phantom(kind: str, rng: np.random.Generator, size: int | Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Draw one made-up case: image and label (uint8).

    ========== ========================== ================================================================
    kind       image                      label
    ========== ========================== ================================================================
    ultrasound uint8 grey ``(H, W)``      ``(H, W)``: 1 nodule
    fundus     uint8 RGB ``(H, W, 3)``    ``(H, W)``: 1 rim of the optic disc, 2 optic cup (disc: both)
    brain      int16 ``(X, Y, Z, 4)``     ``(X, Y, Z)``: 1 necrotic core, 2 oedema, 4 enhancing tumour (BraTS)
    ========== ========================== ================================================================

    The brain's axes are RAS. Its channels are FLAIR, T1w, T1gd and T2w, as in the Medical Segmentation Decathlon.

    Args:
        kind: ``"ultrasound"``, ``"fundus"`` or ``"brain"``.
        rng: source of randomness; one state gives one case.
        size: size of every axis, or ``(height, width)`` or ``(x, y, z)``; at least 32 in 2D and 16 in 3D.

    Raises:
        InputError: when the kind is unknown or the size does not fit it.
    """
    known, shape = _check(kind, size)
    return known.draw(rng, shape)


def write_phantoms(
    root: str | os.PathLike[str],
    kind: str = "ultrasound",
    num_training: int = 160,
    num_validation: int = 20,
    num_test: int = 40,
    size: int | Sequence[int] = 64,
    seed: int = 0,
    readers: int = 1,
) -> Path:
    """Write a dataset of made-up cases: ``images/``, ``labels/`` and a decathlon ``datalist.json``.

    A case depends on the seed, its section and its number in the section alone, so that more cases in one section
    change no others. The datalist is written last: where it exists, all its files do.

    With several readers the label of a case is a list of files, one for each, who differ by the rule of
    :func:`~medsegdiff_monai.data.phantoms.draw_readings`. ``readers.json`` has the rule and what each reader has drawn.
    ``lobes/`` has the part of each image by which a mask shows whether it holds the ambiguous lobe.

    Args:
        root: folder of the dataset, which is made as needed. An earlier dataset of phantoms in it is replaced.
        kind: ``"ultrasound"``, ``"fundus"`` (both PNG) or ``"brain"`` (NIfTI, channels last).
        num_training: number of training cases, as are ``num_validation`` and ``num_test`` of the others.
        size: as for :func:`make_phantom`.
        seed: a number not below 0; one seed gives one dataset.
        readers: number of readers of each case; more than one for ``"ultrasound"`` only.

    Returns:
        Path of the datalist.

    Raises:
        InputError: when an option is wrong, or the folder cannot be written to or holds another dataset.
    """
    known, shape = _check(kind, size)
    counts = {"training": num_training, "validation": num_validation, "test": num_test}
    _check_numbers(kind, counts, seed, readers)
    folder, name = check_writable(root), f"Phantoms of {known.title}"
    _clear_datalist(folder / "datalist.json", name)
    for part in ("images", "labels", *(["lobes"] if readers > 1 else [])):
        check_writable(folder / part)
    sections: dict[str, list[dict[str, Any]]] = {section: [] for section in counts}
    drawn: dict[str, Any] = {}
    jobs = [(code, section, i) for code, section in enumerate(counts) for i in range(counts[section])]
    for code, section, i in tqdm(jobs, desc=name, unit="case"):
        rng = np.random.default_rng([seed, PHANTOM_KINDS.index(kind), code, i])
        case = f"{section}_{i:04d}"
        if readers > 1:
            entry, drawn[case] = _write_readings(rng, shape, readers, folder, case)
        else:
            entry = {part: f"{part}s/{case}{known.suffix}" for part in ("image", "label")}
            for path, array in zip(entry.values(), known.draw(rng, shape)):
                _save(array, folder / path)
        sections[section].append(entry)
    if readers > 1:
        rule = {"scale_deviation": SCALE_DEVIATION, "lobe_probability": LOBE_PROBABILITY}
        _write_json(folder / "readers.json", {"rule": rule, "cases": drawn})
    content = {"name": name, "modality": known.modality, "labels": known.labels, "licence": _LICENCE}
    content["tensorImageSize"] = "4D" if known.spatial_dims == 3 else "2D"
    numbers = {f"num{section.capitalize()}": number for section, number in counts.items()}
    return _write_json(folder / "datalist.json", {**content, **sections, **numbers})


def _check_numbers(kind: str, counts: dict[str, int], seed: int, readers: int) -> None:
    for what, number in [*((f"num_{section}", n) for section, n in counts.items()), ("seed", seed)]:
        if not isinstance(number, int) or isinstance(number, bool) or number < 0:
            raise InputError(f"{what} must be a whole number not below 0, got {number!r}.")
    if sum(counts.values()) == 0:
        raise InputError("No phantoms were asked for: give at least one training, validation or test case.")
    if not isinstance(readers, int) or isinstance(readers, bool) or readers < 1:
        raise InputError(f"readers must be a whole number from 1 on, got {readers!r}.")
    if readers > 1 and kind != "ultrasound":
        raise InputError(f"Phantoms of kind {kind!r} have one reader: choose ultrasound, or leave readers out.")


def _clear_datalist(path: Path, name: str) -> None:
    """Take away the datalist of an earlier run, so that a broken run leaves none that names a mixture of cases."""
    if not path.exists():
        return
    try:
        earlier = read_datalist(path).get("name", "")
    except InputError:
        earlier = ""
    if not str(earlier).startswith("Phantoms of"):
        raise InputError(f"{path} belongs to another dataset, which {name} would overwrite: choose an empty folder.")
    path.unlink()


def _write_readings(
    rng: np.random.Generator, size: Sequence[int], readers: int, folder: Path, case: str
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Write a case of several readers; gives its entry in the datalist and what the readers have drawn."""
    scan = draw_readings(rng, size, readers)
    labels = [f"labels/{case}_reader{number}.png" for number in range(1, readers + 1)]
    image, lobe = f"images/{case}.png", f"lobes/{case}.png"
    _save(scan.image, folder / image)
    _save(scan.lobe, folder / lobe)
    for path, reading in zip(labels, scan.readings):
        _save(reading.label, folder / path)
    drawn = [{"scale": reading.scale, "lobe": reading.lobe} for reading in scan.readings]
    return {"image": image, "label": labels}, {"lobe": lobe, "readers": drawn}


def _save(array: np.ndarray, path: Path) -> None:
    if path.suffix == ".png":
        replace_atomically(path, Image.fromarray(array).save)
        return
    spacing = [FIELD_OF_VIEW_MM / n for n in array.shape[:3]]
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = [(v - FIELD_OF_VIEW_MM) / 2 for v in spacing]  # world origin in the middle, RAS
    volume = nib.Nifti1Image(array, affine)
    volume.header.set_xyzt_units("mm")
    replace_atomically(path, volume.to_filename)


def _write_json(path: Path, content: dict[str, Any]) -> Path:
    text = json.dumps(content, indent=1) + "\n"
    replace_atomically(path, lambda partial: partial.write_text(text, encoding="utf-8"))
    return path
