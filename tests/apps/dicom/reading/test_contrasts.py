# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0


from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from apps.dicom import objects
from pydicom.dataset import Dataset

from medsegdiff_monai.apps.dicom import Instance, Series
from medsegdiff_monai.apps.dicom.reading.contrasts import choose_contrasts, parse_contrasts, recognise_contrast
from medsegdiff_monai.utils import InputError

CONTRASTS = ("FLAIR", "T1w", "T1gd", "T2w")


def header(**attributes: Any) -> Dataset:
    ds = Dataset()
    for name, value in attributes.items():
        setattr(ds, name, value)
    return ds


def series(number: int, folder: Path = Path("x"), **attributes: Any) -> Series:
    ds = header(SeriesNumber=number, SeriesInstanceUID=f"1.2.3.{number}", **attributes)
    return Series([Instance(folder / "a.dcm", ds)])


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({"SeriesDescription": "t2_tirm_tra_dark-fluid"}, "FLAIR"),
        ({"SeriesDescription": "AX T2 FLAIR"}, "FLAIR"),
        ({"SeriesDescription": "Sag T1 FLAIR"}, "T1w"),
        ({"SeriesDescription": "t1_mprage_sag_p2_iso"}, "T1w"),
        ({"SeriesDescription": "T1 MPRAGE POST GD"}, "T1gd"),
        ({"SeriesDescription": "t1_se_tra_KM"}, "T1gd"),
        ({"SeriesDescription": "AX T1 +C"}, "T1gd"),
        ({"SeriesDescription": "AX T1+C FS"}, "T1gd"),
        ({"SeriesDescription": "AX T1 PRE CONTRAST"}, "T1w"),
        ({"SeriesDescription": "t1 tra", "ContrastBolusAgent": "Dotarem"}, "T1gd"),
        ({"SeriesDescription": "t1 tra", "ContrastBolusAgent": "NONE"}, "T1w"),
        ({"ProtocolName": "T2W_TSE"}, "T2w"),
        ({"SeriesDescription": "brain", "EchoTime": 100, "RepetitionTime": 4000}, "T2w"),
        ({"SeriesDescription": "brain", "EchoTime": 110, "RepetitionTime": 9000, "InversionTime": 2500}, "FLAIR"),
        ({"EchoTime": 12, "RepetitionTime": 550}, "T1w"),
        ({"EchoTime": 3, "RepetitionTime": 2000, "InversionTime": 900, "ScanningSequence": "GR"}, "T1w"),
        ({"EchoTime": 45, "RepetitionTime": 2500}, None),
        ({"SeriesDescription": "ep2d_diff_b1000"}, None),
        ({"SeriesDescription": "T2* GRE"}, None),
        ({"SeriesDescription": "T1 SUB"}, None),
        ({"SeriesDescription": "t2", "ImageType": ["DERIVED", "PRIMARY", "PROJECTION IMAGE"]}, None),
        ({}, None),
    ],
)
def test_contrasts_are_recognised_as_a_reader_would(attributes: dict[str, Any], expected: str | None) -> None:
    assert recognise_contrast(header(**attributes)) == expected


def test_enhanced_objects_state_the_agent_in_a_sequence() -> None:
    agent = header(ContrastBolusAgentPhase="POST_CONTRAST")
    assert recognise_contrast(header(ProtocolName="T1", ContrastBolusAgentSequence=[agent])) == "T1gd"


def four() -> list[Series]:
    return [series(i + 1, **a) for i, a in enumerate(objects.CONTRAST_ATTRIBUTES.values())]


def test_four_contrasts_come_in_the_order_of_the_bundle() -> None:
    shuffled = [four()[i] for i in (2, 0, 3, 1)]
    assert [s.header.SeriesNumber for s in choose_contrasts(shuffled, CONTRASTS)] == [1, 2, 3, 4]


def test_a_missing_contrast_lists_what_was_found() -> None:
    with pytest.raises(InputError) as caught:
        choose_contrasts(four()[:3], CONTRASTS)
    message = str(caught.value)
    assert message.startswith("T2w missing (found series 1 (1 object): FLAIR; series 2 (1 object): T1w;")
    assert "--contrasts" in message


def test_an_ambiguous_contrast_is_settled_by_its_name() -> None:
    found = [*four(), series(9, SeriesDescription="T1 MPRAGE")]
    with pytest.raises(InputError, match="several series for T1w"):
        choose_contrasts(found, CONTRASTS)
    chosen = choose_contrasts(found, CONTRASTS, parse_contrasts("T1w=9", CONTRASTS))
    assert [s.header.SeriesNumber for s in chosen] == [1, 9, 3, 4]


def test_a_named_series_is_not_recognised_as_another_contrast_as_well() -> None:
    found = [*four()[:3], series(8, SeriesDescription="T1")]
    named = parse_contrasts("T2w=8", CONTRASTS)
    assert [s.header.SeriesNumber for s in choose_contrasts(found, CONTRASTS, named)] == [1, 2, 3, 8]


def test_series_are_named_by_number_uid_or_folder(tmp_path: Path) -> None:
    (tmp_path / "t2").mkdir()
    found = [series(1), series(2), series(3, tmp_path / "t2")]
    named = parse_contrasts(f"FLAIR=1,T1w=1.2.3.2,T2w={tmp_path / 't2'}", CONTRASTS)
    chosen = choose_contrasts(found, ("FLAIR", "T1w", "T2w"), named)
    assert [s.header.SeriesNumber for s in chosen] == [1, 2, 3]


@pytest.mark.parametrize("value", ["FLAIR=1,T1w=2", {"FLAIR": 1, "T1w": 2}, ("FLAIR=1", "T1w=2"), "{FLAIR: 1, T1w: 2}"])
def test_names_are_taken_in_every_form_that_a_shell_leaves(value: Any) -> None:
    named = parse_contrasts(value, CONTRASTS)
    assert named == {"FLAIR": "1", "T1w": "2"}


@pytest.mark.parametrize("value", ["T1=3", "T1w", "T1w="])
def test_wrong_names_are_refused(value: str) -> None:
    with pytest.raises(InputError, match="--contrasts"):
        parse_contrasts(value, CONTRASTS)
    assert parse_contrasts(None, CONTRASTS) == {}
