# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import uuid

from pydicom.uid import UID

from medsegdiff_monai.apps.dicom import ResultUIDs


def all_of(uids: ResultUIDs) -> list[str]:
    made = [uids.series(901), uids.series(902), uids.instance(901, 1), uids.instance(903, 1), uids.instance(903, 2)]
    return [str(uid) for uid in [*made, uids.tracking("TC"), uids.tracking("901")]]


def test_they_are_valid_name_based_uuids_and_all_different() -> None:
    made = all_of(ResultUIDs("a case", "settings"))
    assert len(set(made)) == len(made)
    for uid in made:
        assert UID(uid).is_valid
        assert uuid.UUID(int=int(uid.removeprefix("2.25."))).version == 5


def test_equal_keys_give_equal_uids_and_no_keys_new_ones() -> None:
    assert all_of(ResultUIDs("a case", "settings")) == all_of(ResultUIDs("a case", "settings"))
    assert not set(all_of(ResultUIDs())) & set(all_of(ResultUIDs()))
    one = ResultUIDs()
    assert all_of(one) == all_of(one)


def test_settings_change_the_objects_and_not_their_series() -> None:
    one, other = ResultUIDs("a case", "4 steps"), ResultUIDs("a case", "8 steps")
    assert one.series(901) == other.series(901)
    assert one.instance(901, 1) != other.instance(901, 1)
    assert not set(all_of(one)) & set(all_of(ResultUIDs("another case", "4 steps")))
