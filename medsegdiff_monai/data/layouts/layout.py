# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

import itertools
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from medsegdiff_monai.data.layouts.files import natural_key
from medsegdiff_monai.utils import InputError

__all__ = ["DEFAULT_SPLIT", "SECTIONS", "LayoutCase", "LayoutData", "parse_split", "sections_of", "split_by_patient"]

SECTIONS = ("training", "validation", "test")
DEFAULT_SPLIT = (0.7, 0.1, 0.2)


@dataclass(frozen=True)
class LayoutCase:
    """One usable case of a data set."""

    name: str
    patient: str  # whose cases have to stay in one section
    images: tuple[Path, ...]  # the image, or the images of its contrasts in the order of the channels
    label: Path | None  # None where there is none, and the case can only be segmented
    section: str | None = None  # that the data set itself puts it in


@dataclass
class LayoutData:
    """A data set in its owners' layout."""

    name: str
    modality: dict[str, str]  # what each channel shows, by its number
    labels: dict[str, str]  # what each label value means, by the value
    tensor_image_size: str  # "2D", "3D" or, for volumes with channels, "4D"
    regions: dict[str, list[int]] = field(default_factory=dict)  # label values of each; empty where not known
    background: list[int] = field(default_factory=list)  # label values of no region
    cases: list[LayoutCase] = field(default_factory=list)  # the usable ones
    problems: list[tuple[str, str]] = field(default_factory=list)  # case and reason, where one is missing or doubtful
    kept: list[tuple[str, str]] = field(default_factory=list)  # those problems whose cases are kept nevertheless
    notes: list[str] = field(default_factory=list)  # what a user should know about all of it

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


def parse_split(split: Any) -> tuple[float, ...]:
    """Shares of training, validation and test, from ``"0.7,0.1,0.2"`` or three numbers; their sum has to be 1."""
    try:
        shares = tuple(float(part) for part in (split.split(",") if isinstance(split, str) else split))
    except (TypeError, ValueError):
        shares = ()
    if len(shares) != len(SECTIONS) or not min(shares) >= 0 or not math.isclose(sum(shares), 1, abs_tol=1e-6):
        raise InputError(
            f"--split must be the shares of training, validation and test, three numbers not below 0 whose sum is 1 "
            f"as in 0.7,0.1,0.2, got {split!r}."
        )
    return shares


def split_by_patient(sizes: Mapping[str, int], shares: Sequence[float], seed: int) -> dict[str, str]:
    """The section of each patient by chance, from patients' numbers of cases and the shares of ``SECTIONS``.

    Shuffled patients are cut into sections, and single patients then moved or exchanged for as long as that brings the
    numbers of cases nearer to the shares. No section with a share stays empty where there are enough patients.
    """
    names = sorted(sizes, key=natural_key)
    order = [names[i] for i in np.random.default_rng(seed).permutation(len(names))]
    targets = np.asarray(shares) * sum(sizes.values())
    ends = np.cumsum(targets)
    seen = np.cumsum([sizes[p] for p in order]) - [sizes[p] / 2 for p in order]  # the middle of each patient's cases
    last = max(i for i, share in enumerate(shares) if share > 0)
    placed = {p: min(int(np.searchsorted(ends, m, side="right")), last) for p, m in zip(order, seen)}
    while change := _best_change(order, sizes, placed, targets):
        placed.update(change)
    return {p: SECTIONS[placed[p]] for p in names}


def _best_change(
    order: Sequence[str], sizes: Mapping[str, int], placed: Mapping[str, int], targets: np.ndarray
) -> dict[str, int]:
    """The section of the patient, or of the two, whose move improves the split most; empty where none does."""
    open_sections = [i for i, target in enumerate(targets) if target > 0]
    number = Counter(placed.values())
    filled = np.array([sum(sizes[p] for p in order if placed[p] == i) for i in range(len(targets))])
    first: dict[int, dict[int, str]] = {i: {} for i in open_sections}  # one patient of each size
    for p in order:
        first[placed[p]].setdefault(sizes[p], p)

    def cost(moved: Mapping[int, int], patients: Mapping[int, int]) -> tuple[int, float]:
        empty = sum(number[i] + patients.get(i, 0) == 0 for i in open_sections)
        miss = sum((filled[i] + moved.get(i, 0) - targets[i]) ** 2 for i in open_sections)
        return empty, round(float(miss), 6)

    best, change = cost({}, {}), {}
    for a, b in itertools.permutations(open_sections, 2):
        for size, p in first[a].items():
            options = [({a: -size, b: size}, {a: -1, b: 1}, {p: b})]
            options += [({a: other - size, b: size - other}, {}, {p: b, q: a}) for other, q in first[b].items()]
            for moved, patients, option in options:
                if (new := cost(moved, patients)) < best:
                    best, change = new, option
    return change


def sections_of(data: LayoutData, split: Any = None, seed: int = 0) -> dict[str, list[LayoutCase]]:
    """Share the cases of a data set out to the sections of a datalist, each in natural order.

    Cases without a label go to a section of their own, ``"unlabelled"``. Cases of a section whose results would have
    one name are left out of the data and reported; the cases, problems and notes of ``data`` change. Without a
    ``split``, see :func:`parse_split`, two or more sections that the data set states for all its cases are kept.
    """
    shares = parse_split(DEFAULT_SPLIT if split is None else split)
    if not isinstance(seed, int) or isinstance(seed, bool) or seed < 0:
        raise InputError(f"--seed must be a whole number not below 0, got {seed!r}.")
    stated = {case.section for case in data.cases if case.label is not None}
    keep = split is None and None not in stated and len(stated) > 1
    groups: dict[tuple[str | None, str], list[LayoutCase]] = {}
    for case in data.cases:
        groups.setdefault((case.section if keep else None, case.name), []).append(case)
    for twins in groups.values():
        if len(twins) > 1:
            files = " and ".join(str(case.images[0]) for case in twins)
            data.report(twins[0].name, f"{files} would give results of one name: rename them.")
            data.cases = [case for case in data.cases if case not in twins]
    if keep:
        kept = ", ".join(name for name in SECTIONS if name in stated)
        data.notes.append(f"The data set's own sections are kept ({kept}); --split splits all cases anew.")
    sizes = Counter(case.patient for case in data.cases if case.label is not None)
    placed = {} if keep else split_by_patient(sizes, shares, seed)
    sections: dict[str, list[LayoutCase]] = {name: [] for name in SECTIONS}
    for case in sorted(data.cases, key=lambda case: natural_key(case.images[0])):
        name = "unlabelled" if case.label is None else case.section if keep else placed[case.patient]
        sections.setdefault(str(name), []).append(case)
    return sections
