# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

import os
import re
from collections.abc import Container, Iterable
from pathlib import Path

import numpy as np

from medsegdiff_monai.data.grids import GRID_TOLERANCE_MM, grid_shift
from medsegdiff_monai.data.reading import NIFTI, label_turn, naming, read_header, read_label, shown_size
from medsegdiff_monai.utils import InputError


def existing_folder(root: str | os.PathLike[str]) -> Path:
    """The root of a data set, which has to be a folder that can be read."""
    folder = Path(root)
    if not os.path.isdir(folder):
        raise InputError(f"The data set's folder {folder} does not exist: give the folder that holds its files.")
    if not os.access(folder, os.R_OK | os.X_OK):
        raise InputError(f"The data set's folder {folder} cannot be read: mend its permissions.")
    return folder


def natural_key(text: object) -> tuple[list[tuple[int, str]], str]:
    """A key that sorts ``case2`` before ``case10``, and no two texts alike."""
    parts = re.split(r"([0-9]+)", str(text))  # texts and numbers by turns
    return [(int(part), "") if i % 2 else (0, part) for i, part in enumerate(parts)], str(text)


def files_below(root: Path, depth: int) -> tuple[list[Path], list[tuple[str, str]]]:
    """Files of a folder and of ``depth`` levels of subfolders, without hidden ones and what macOS adds to archives.

    The files are sorted. With them come name and reason for each subfolder that cannot be read, link to nothing and
    pipe, which would never end.
    """
    paths: list[Path] = []
    problems: list[tuple[str, str]] = []

    def report(path: str | Path, reason: str) -> None:
        problems.append((Path(path).relative_to(root).as_posix() if Path(path) != root else root.name, reason))

    def unreadable(error: OSError) -> None:
        report(error.filename, f"The folder cannot be read ({error.strerror}): mend its permissions.")

    for folder, subfolders, names in os.walk(root, onerror=unreadable, followlinks=True):
        level = len(Path(folder).relative_to(root).parts)
        subfolders[:] = [s for s in subfolders if level < depth and not s.startswith(".") and s != "__MACOSX"]
        paths += [Path(folder) / name for name in names if not name.startswith(".")]
    paths.sort(key=natural_key)
    for path in paths:
        if os.path.islink(path) and not os.path.exists(path):
            report(path, "It is a link to what is not there: restore that.")
        elif not os.path.isfile(path):
            report(path, "It is a pipe, socket or device and no file: take it away.")
    return [path for path in paths if os.path.isfile(path)], problems


def words(items: Iterable[object]) -> str:
    """Items for a sentence, the first five of many."""
    shown = [str(item) for item in items]
    return ", ".join(shown[:5]) + (f" and {len(shown) - 5} more" if len(shown) > 5 else "")


def grid_difference(path: Path, reference: Path) -> str | None:
    """The difference between the grids (size, or shape and affine) of two files, in words; None where there is none."""
    header, expected = read_header(path, path.name), read_header(reference, reference.name)
    if (header.kind == NIFTI) != (expected.kind == NIFTI):
        raise InputError(f"{path.name} and {reference.name} are a picture and a volume: give both in one kind of file.")
    if header.kind != NIFTI:
        with naming(path.name):
            size = shown_size((header.shape[0], header.shape[1]), label_turn(header, expected))
        return None if size == expected.shape else f"is {_by(size)} pixels and {reference.name} {_by(expected.shape)}"
    shape, expected_shape = ((*h.shape, 1)[:3] for h in (header, expected))
    if shape != expected_shape:
        return f"is {_by(header.shape)} voxels and {reference.name} {_by(expected.shape)}"
    shift = grid_shift(expected.affine, header.affine, shape)
    if shift > GRID_TOLERANCE_MM:
        return f"has an affine that differs from that of {reference.name} by up to {shift:.3g} mm at its corners"
    return None


def _by(shape: Iterable[int]) -> str:
    return " x ".join(str(n) for n in shape)


def single_channel(path: Path) -> np.ndarray:
    """Label values, ``(X, Y)`` or ``(X, Y, Z)``, float32, of a file that may not have several channels."""
    label, _ = read_label(path, path.name)
    if len(label) > 1:
        raise InputError(f"{path.name} has {len(label)} channels: give a map of label values of one channel.")
    return label[0]


def label_values(path: Path) -> list[float]:
    """The values that occur in a label map, in rising order."""
    label = single_channel(path)
    with np.errstate(invalid="ignore"):  # of what is no byte
        small = label.astype(np.uint8)
    if np.array_equal(small, label):  # far faster to count than to sort
        return [float(v) for v in np.flatnonzero(np.bincount(small.ravel()))]
    return [float(v) for v in np.unique(label)]


def check_label(label: Path, image: Path, known: Container[float], rule: str, which: str | None = None) -> list[float]:
    """The values of a label, which is refused where it is not on its image's grid or has others than the known ones.

    ``rule`` ends the sentence about other values, which ``which`` begins; None takes the label's name.
    """
    which = which or label.name
    if difference := grid_difference(label, image):
        raise InputError(f"{which} {difference}: give a label on the grid of {image.name}.")
    values = label_values(label)
    if others := [v for v in values if v not in known]:
        raise InputError(f"{which} has the values {words(f'{v:g}' for v in others)}{rule}")
    return values
