# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

"""Inputs of the fuzz test: what kind, seed and number make of a valid file."""

from __future__ import annotations

import os
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .dicom_seeds import STUDY_FORMS, ULTRASOUND_FORMS, study_files, ultrasound_file
from .mutate_bytes import BYTE_MUTATORS, Mutator
from .mutate_dicom import DICOM_MUTATORS, dicom_pixel_description, dicom_value
from .mutate_nifti import NIFTI_MUTATORS
from .mutate_pictures import BMP_MUTATORS, JPEG_MUTATORS, PNG_MUTATORS, TIFF_MUTATORS
from .seeds import Form, forms_of

__all__ = ["KINDS", "Input", "Kind", "MutatedFile", "mutated_file", "mutated_study"]

_BY_SUFFIX: dict[str, tuple[Mutator, ...]] = {
    ".png": PNG_MUTATORS,
    ".jpg": JPEG_MUTATORS,
    ".bmp": BMP_MUTATORS,
    ".tif": TIFF_MUTATORS,
    ".nii": NIFTI_MUTATORS,
    ".nii.gz": NIFTI_MUTATORS,
    ".dcm": DICOM_MUTATORS,
}
_NO_FILES = ("fifo", "dangling link", "link to itself")
_RARELY = 0.02


@dataclass(frozen=True)
class Kind:
    """A kind of inputs.

    Attributes:
        title: for the table.
        command: name of the command that gets them.
        share: share of all inputs.
        chunk: how many go through one process.
    """

    title: str
    command: str
    share: float
    chunk: int


KINDS = {
    "png": Kind("PNG", "pictures", 0.12, 100),
    "jpeg": Kind("JPEG", "pictures", 0.12, 100),
    "bmp": Kind("BMP", "pictures", 0.09, 100),
    "tiff": Kind("TIFF", "pictures", 0.12, 100),
    "nifti_2d": Kind("NIfTI, 2D", "pictures", 0.1, 100),
    "nifti_3d": Kind("NIfTI, 3D, one of four contrasts", "volumes", 0.1, 50),
    "ultrasound": Kind("DICOM, ultrasound", "dicom_pictures", 0.15, 50),
    "study": Kind("DICOM, four MR series", "dicom_volumes", 0.06, 20),
    "label": Kind("label that is scored against", "evaluation", 0.07, 50),
    "folder": Kind("picture or label of a new datalist", "datalist", 0.07, 100),
}


@dataclass(frozen=True)
class Input:
    """A mutated input; the same three give the same bytes.

    Attributes:
        kind: key of ``KINDS``.
        seed: seed of the run.
        index: number in its kind.
    """

    kind: str
    seed: int
    index: int

    @property
    def name(self) -> str:
        """Name of its case, file or folder."""
        return f"{self.kind.replace('_', '')}{self.index:05d}"

    @property
    def number(self) -> int:
        """Number of its study, where it is DICOM."""
        return list(KINDS).index(self.kind) * 10**6 + self.index + 100

    def rng(self) -> np.random.Generator:
        """Its source of randomness, at its beginning."""
        return np.random.default_rng([self.seed, zlib.crc32(self.kind.encode()), self.index])


@dataclass(frozen=True)
class MutatedFile:
    """A file to be written.

    Attributes:
        suffix: its suffix.
        content: its bytes.
        instead: what stands in its place, one of those that are no files; empty for a file.
    """

    suffix: str
    content: bytes
    instead: str = ""

    def write(self, path: Path) -> Path:
        """Write it to a path without suffix; gives the whole path."""
        whole = path.with_name(path.name + self.suffix)
        if self.instead == "fifo":
            os.mkfifo(whole)
        elif self.instead == "dangling link":
            whole.symlink_to("nothing")
        elif self.instead == "link to itself":
            whole.symlink_to(whole.name)
        else:
            whole.write_bytes(self.content)
        return whole


def _mutate(content: bytes, structural: Sequence[Mutator], rng: np.random.Generator) -> bytes:
    """One mutation of the format and at times one of bytes, or else one to three of bytes."""
    of_bytes = int(rng.integers(1, 4))
    if rng.random() < 0.7:
        content = structural[int(rng.integers(0, len(structural)))](content, rng)
        of_bytes = int(rng.random() < 0.25)
    for _ in range(of_bytes):
        if content:
            content = BYTE_MUTATORS[int(rng.integers(0, len(BYTE_MUTATORS)))](content, rng)
    return content


def _finished(form: Form, rng: np.random.Generator) -> MutatedFile:
    suffix, instead = form.suffix, ""
    content = _mutate(form.content, _BY_SUFFIX[suffix], rng)
    if rng.random() < _RARELY and suffix != ".dcm":
        others = [s for s in _BY_SUFFIX if s not in (suffix, ".dcm")]
        suffix = others[int(rng.integers(0, len(others)))]
    if rng.random() < _RARELY:
        instead = _NO_FILES[int(rng.integers(0, len(_NO_FILES)))]
    return MutatedFile(suffix, content, instead)


def mutated_file(one: Input) -> tuple[MutatedFile, np.random.Generator]:
    """An input of one file, and its randomness for what is around the file."""
    rng = one.rng()
    if one.kind == "ultrasound":
        form = Form(".dcm", ultrasound_file(one.number, int(rng.integers(0, len(ULTRASOUND_FORMS)))))
    else:
        forms = forms_of("label" if one.kind == "folder" else one.kind)
        form = forms[int(rng.integers(0, len(forms)))]
    return _finished(form, rng), rng


def mutated_study(one: Input) -> dict[str, MutatedFile]:
    """The files of a study by their names without suffix: one or two are mutated in any way, or all in the same way.

    The latter is what a scanner or an archive does that writes an attribute wrongly.
    """
    rng = one.rng()
    files = study_files(one.number, int(rng.integers(0, len(STUDY_FORMS))))
    made = {name.removesuffix(".dcm"): MutatedFile(".dcm", content) for name, content in files.items()}
    if rng.random() < 0.5:
        mutate = (dicom_value, dicom_pixel_description)[int(rng.random() < 0.2)]
        same = int(rng.integers(2**32))
        return {n: MutatedFile(".dcm", mutate(f.content, np.random.default_rng(same))) for n, f in made.items()}
    for name in rng.choice(sorted(made), size=int(rng.integers(1, 3)), replace=False):
        made[str(name)] = _finished(Form(".dcm", made[str(name)].content), rng)
    return made
