# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0


from __future__ import annotations

import pytest
from pydicom.dataset import Dataset

from medsegdiff_monai.apps.dicom.reading.attributes import (
    decimals,
    first_value,
    number,
    numbers,
    text,
    uid_suffix,
    words,
)


def header(**attributes: object) -> Dataset:
    ds = Dataset()
    for name, value in attributes.items():
        setattr(ds, name, value)
    return ds


def test_values_of_any_multiplicity_are_read_as_text() -> None:
    ds = header(ImageType=["original", "PRIMARY"], SeriesDescription=" t1 ", EchoTime="12.5", PatientName="A^B")
    assert words(ds, "ImageType") == ("ORIGINAL", "PRIMARY")
    assert first_value(ds, "ImageType") == "original"
    assert text(ds, "SeriesDescription") == "t1"
    assert text(ds, "PatientName") == "A^B"
    assert number(ds, "EchoTime") == 12.5
    assert text(ds, "ProtocolName") == ""
    assert number(ds, "ProtocolName") is None


@pytest.mark.parametrize("value", [None, 3, "a", [1, 2], [1, 2, "x"], [1, 2, float("nan")], [1, 2, float("inf")]])
def test_what_is_not_so_many_finite_numbers_is_none(value: object) -> None:
    assert numbers(value, 3) is None


@pytest.mark.parametrize("value", [-123.456789012345678, 1e-17, 0.1, 1 / 3, -2.5e-300, 123456789.123456789])
def test_decimal_strings_are_short_and_close(value: float) -> None:
    (string,) = decimals([value])
    assert len(string) <= 16
    assert float(string) == pytest.approx(value, rel=1e-8)


def test_the_end_of_a_uid_tells_studies_apart_and_no_more() -> None:
    assert uid_suffix("1.2.3.123456789012") == "...56789012"
