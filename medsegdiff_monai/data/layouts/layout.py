# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from medsegdiff_monai.utils import InputError

__all__ = ["LayoutCase", "LayoutData"]


@dataclass(frozen=True)
class LayoutCase:
    """One usable case of a data set.

    Attributes:
        name: name of the case.
        patient: the patient whose cases have to stay in one section.
        images: its image, or the images of its contrasts in the order of the channels.
        label: its label map; None where there is none, and the case can only be segmented.
        section: the section that the data set itself puts it in.
    """

    name: str
    patient: str
    images: tuple[Path, ...]
    label: Path | None
    section: str | None = None


@dataclass
class LayoutData:
    """A data set in its owners' layout.

    Attributes:
        name: name of the data set.
        modality: what each channel shows, by its number.
        labels: what each label value means, by the value.
        tensor_image_size: ``"2D"``, ``"3D"`` or, for volumes with channels, ``"4D"``.
        regions: label values of each region; empty where they are not known.
        background: label values of no region.
        cases: the usable cases.
        problems: case and reason for everything that is missing or doubtful.
        kept: those problems whose cases are kept nevertheless.
        notes: what a user should know about all of it.
    """

    name: str
    modality: dict[str, str]
    labels: dict[str, str]
    tensor_image_size: str
    regions: dict[str, list[int]] = field(default_factory=dict)
    background: list[int] = field(default_factory=list)
    cases: list[LayoutCase] = field(default_factory=list)
    problems: list[tuple[str, str]] = field(default_factory=list)
    kept: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def report(self, case: str, reason: str, kept: bool = False) -> None:
        """Note the one sentence why a case, or a part of one, is left out, or is doubtful and ``kept`` nevertheless."""
        self.problems.append((case, reason))
        if kept:
            self.kept.append((case, reason))

    @contextmanager
    def reporting(self, case: str) -> Iterator[None]:
        """Report a case whose reading raises an ``InputError``, and go on with the next one."""
        try:
            yield
        except InputError as e:
            self.report(case, str(e))

    @property
    def left_out(self) -> int:
        """Number of problems that cost a case, a file or a folder."""
        return len(self.problems) - len(self.kept)
