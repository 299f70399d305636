# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import combinations
from pathlib import Path
from typing import Any

from medsegdiff_monai.data.datalists import read_datalist
from medsegdiff_monai.utils import InputError, printable, typed_text

__all__ = ["Regions"]

logger = logging.getLogger(__name__)


class Regions(dict[str, list[int]]):
    """The regions to segment, by name, each with the label values that make it up; they may overlap.

    The same regions have other label values in other data sets: the enhancing tumour is 4 in BraTS 2018-2021 and 3
    from 2023 on. A datalist can therefore state the values that its labels use, as ``"regions": {"TC": [1, 4], ...}``
    and ``"background": [0]``, which take the place of the bundle's. It may state further regions. A region without any
    value is not labelled in the data set: the network learns to leave it empty, and it is not scored.

    Args:
        values: label values of each region, in the order of the network's channels.
        dataset_dir: folder of the data set; None takes ``values`` as they are.
        datalist: file name of its datalist. Where the folder has none, or it states no regions, ``values`` hold.
        background: label values that belong to no region.

    Attributes:
        background: label values that belong to no region.
        declared: all label values that may occur.

    Raises:
        InputError: when no region has a value, a value is no whole number or both in a region and background, or the
            datalist states none of the regions.

    Example:
        >>> regions = Regions({"disc": [1, 2], "cup": [2]})
        >>> regions.containing("cup"), regions.own_values, regions.background
        (['disc'], {'disc': 1, 'cup': 2}, [0])
    """

    def __init__(
        self,
        values: Mapping[str, Sequence[int]],
        dataset_dir: str | os.PathLike[str] | None = None,
        datalist: str = "datalist.json",
        background: Sequence[int] = (0,),
    ) -> None:
        folder = typed_text(dataset_dir, "dataset_dir")
        stated: dict[str, Any] = {}
        if folder is not None:
            with suppress(InputError):  # that a datalist can be read is checked where the cases are read
                stated = read_datalist(Path(folder) / str(typed_text(datalist, "datalist")))
        source: Any = stated.get("regions") or values
        if not isinstance(source, Mapping):
            raise InputError(
                f"The regions in the datalist in {dataset_dir} must be names with label values, got {source!r}."
            )
        if not any(name in source for name in values):
            raise InputError(
                f"The datalist in {dataset_dir} states the regions {', '.join(source)}, this bundle segments "
                f"{', '.join(values)}: rename them there or use another bundle."
            )
        whole = {name: _whole_numbers(name, numbers) for name, numbers in source.items()}
        # A region that the bundle's values leave out stays out, whatever the datalist states.
        own = {name: _whole_numbers(name, numbers) for name, numbers in values.items()}
        super().__init__({name: whole.get(name, []) if own[name] else [] for name in own})
        if stated.get("regions") and dict(self) != own:
            logger.info("Label values as the datalist in %s states them: %s", printable(dataset_dir), dict(self))
        self.background = _whole_numbers("background", stated.get("background", background))
        self.declared = sorted({*self.background, *(v for numbers in whole.values() for v in numbers)})
        if not any(self.values()):
            raise InputError(f"None of the regions {', '.join(self)} has a label value: give one at least.")
        for name, numbers in whole.items():
            if shared := set(numbers) & set(self.background):
                raise InputError(
                    f"The label value {min(shared)} is background and in the region {name}: state which values are "
                    'background, as "background": [255], in the datalist.'
                )

    @classmethod
    def from_values(cls, values: Mapping[str, Sequence[int]]) -> Regions:
        """Regions from their label values; regions stay as they are, with their background."""
        return values if isinstance(values, Regions) else cls(values)

    def containing(self, name: str) -> list[str]:
        """The regions that contain a region, by its label values; the outermost first."""
        inner = set(self[name])
        outer = [other for other, values in self.items() if inner and inner < set(values)]
        return sorted(outer, key=lambda other: -len(self[other]))

    @property
    def own_values(self) -> dict[str, int]:
        """The label value of each labelled region's own part, outside all regions within it; the outermost first.

        These are the values that a label map is painted with, in this order. An ``InputError`` is raised where a region
        has no value of its own, or two overlap and neither contains the other.
        """
        labelled = [name for name, values in self.items() if values]
        for a, b in combinations(labelled, 2):
            shared = {*self[a]} & {*self[b]}
            if shared and shared not in ({*self[a]}, {*self[b]}):
                raise InputError(
                    f"The regions {a} and {b} share label values and neither contains the other, so they cannot "
                    "be in one label map: give each its own values."
                )
        painted: dict[str, int] = {}
        for name in sorted(labelled, key=lambda name: -len(self[name])):
            inner = {v for other in self if name in self.containing(other) for v in self[other]}
            own = [v for v in self[name] if v not in inner]
            if not own:
                raise InputError(f"The region {name} has no label value of its own, so it cannot be in one label map.")
            painted[name] = own[0]
        return painted


def _whole_numbers(name: str, values: Any) -> list[int]:
    numbers = list(values) if isinstance(values, (list, tuple)) else [values]
    if not all(isinstance(v, int) and not isinstance(v, bool) for v in numbers):
        raise InputError(f"The label values of {name} must be whole numbers, got {values!r}.")
    return numbers
