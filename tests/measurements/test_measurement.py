# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import pytest

from medsegdiff_monai.measurements import Measurement
from medsegdiff_monai.utils import InputError


@pytest.mark.parametrize(
    ("value", "low", "high", "shown", "interval"),
    [
        (12.345, 9.8, 14.06, "12.3", "9.8 to 14.1"),
        (1234.5, None, None, "1234", "not available"),
        (0.51234, 0.4, 0.6, "0.512", "0.400 to 0.600"),
        (0.51234, 0.4, 1.1, "0.51", "0.40 to 1.10"),
        (0.0, 0.0, 0.0, "0.00", "0.00 to 0.00"),
        (-0.0001, -20.0, 20.0, "0.0", "-20.0 to 20.0"),
        (0.0, 0.0, 1e-9, "0.000000", "0.000000 to 0.000000"),
        (None, None, None, "not available", "not available"),
        (float("nan"), None, None, "not available", "not available"),
        (None, 1.0, 2.0, "not available", "1.00 to 2.00"),
        (3.0, float("nan"), float("nan"), "3.00", "not available"),
    ],
)
def test_measurements_are_rounded_to_three_digits(
    value: float | None, low: float | None, high: float | None, shown: str, interval: str
) -> None:
    measurement = Measurement("TC", "volume", "mL", value, low, high)
    assert (measurement.shown_value, measurement.shown_interval) == (shown, interval)


@pytest.mark.parametrize(("low", "high", "message"), [(1.0, None, "both ends"), (2.0, 1.0, "not run backwards")])
def test_half_and_reversed_intervals_are_refused(low: float, high: float | None, message: str) -> None:
    with pytest.raises(InputError, match=f"'TC volume'.*{message}"):
        Measurement("TC", "volume", "mL", 1.5, low, high)
