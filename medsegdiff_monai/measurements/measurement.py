# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

import math
from dataclasses import dataclass

from medsegdiff_monai.utils import InputError

__all__ = ["Measurement"]


@dataclass(frozen=True)
class Measurement:
    """A quantity of a region, from the fused mask, with its 90 % interval from the members.

    Attributes:
        region: name of the region; two of them, as ``"cup / disc"``, for a ratio.
        quantity: what was measured: ``"volume"``, ``"area"``, ``"longest diameter"``, ``"perpendicular diameter"``,
            ``"lesions"`` (connected parts, corners connect) or ``"vertical ratio"``.
        unit: unit of the values; empty for numbers and ratios.
        value: of the fused mask; None (or NaN) where there is none, as for a ratio to an empty mask.
        low: lower end of the interval; None where there are fewer than two members.
        high: upper end of the interval; None where there are fewer than two members.

    Raises:
        InputError: when only one end of the interval is given, or the lower end is above the upper one.
    """

    region: str
    quantity: str
    unit: str = ""
    value: float | None = None
    low: float | None = None
    high: float | None = None

    def __post_init__(self) -> None:
        if (self.low is None) != (self.high is None):
            raise InputError(f"The interval of {self.name!r} must have both ends, got {self.low} and {self.high}.")
        if self.low is not None and self.high is not None and self.low > self.high:
            raise InputError(f"The interval of {self.name!r} must not run backwards, got {self.low} to {self.high}.")

    @property
    def name(self) -> str:
        """Region and quantity, as ``"TC volume"``."""
        return f"{self.region} {self.quantity}"

    @property
    def shown_value(self) -> str:
        """The value to three significant digits, or "not available"."""
        return "not available" if not _is_number(self.value) else self._rounded(self.value)

    @property
    def shown_interval(self) -> str:
        """The 90 % interval with the decimals of the value, or "not available"."""
        if not _is_number(self.low) or not _is_number(self.high):
            return "not available"
        return f"{self._rounded(self.low)} to {self._rounded(self.high)}"

    def _rounded(self, number: float | None) -> str:
        """All numbers of a measurement have the decimals that give its largest one three significant digits."""
        known = [abs(v) for v in (self.value, self.low, self.high) if v is not None and math.isfinite(v)]
        top = max(known)
        decimals = 2 if top == 0 else min(max(2 - math.floor(math.log10(top)), 0), 6)
        return f"{number:z.{decimals}f}"


def _is_number(value: float | None) -> bool:
    return value is not None and math.isfinite(value)
