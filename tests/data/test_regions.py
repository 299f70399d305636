# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from medsegdiff_monai.data import Regions
from medsegdiff_monai.utils import InputError

BRATS_2018 = {"TC": [1, 4], "WT": [1, 2, 4], "ET": [4]}
BRATS_2023 = {"TC": [1, 3], "WT": [1, 2, 3], "ET": [3]}
MSD = {"TC": [2, 3], "WT": [1, 2, 3], "ET": [3]}
REFUGE = {"disc": [0, 128], "cup": [0]}


def datalist(folder: Path, content: Any, name: str = "datalist.json") -> Path:
    (folder / name).write_text(content if isinstance(content, str) else json.dumps(content))
    return folder


def test_regions_are_a_mapping_in_the_order_of_the_channels() -> None:
    regions = Regions(BRATS_2018)
    assert list(regions.items()) == [("TC", [1, 4]), ("WT", [1, 2, 4]), ("ET", [4])]
    assert regions.background == [0]
    assert regions.declared == [0, 1, 2, 4]
    assert regions == BRATS_2018


def test_values_are_copied() -> None:
    values = {"nodule": [1]}
    Regions(values)["nodule"].append(2)
    assert values == {"nodule": [1]}


def test_background_may_have_several_values_or_be_another() -> None:
    assert Regions({"lesion": [2]}, background=(0, 1)).declared == [0, 1, 2]
    regions = Regions(REFUGE, background=[255])
    assert regions.background == [255]
    assert regions.declared == [0, 128, 255]


def test_region_without_values_is_not_labelled() -> None:
    regions = Regions({"disc": [1], "cup": []})
    assert [bool(values) for values in regions.values()] == [True, False]
    assert regions.declared == [0, 1]
    assert regions.own_values == {"disc": 1}
    assert regions.containing("cup") == []


def test_datalist_states_the_values_that_its_labels_use(tmp_path: Path) -> None:
    datalist(tmp_path, {"regions": BRATS_2023, "background": [0, 9], "test": []})
    regions = Regions(BRATS_2018, tmp_path)
    assert regions == BRATS_2023
    assert regions.background == [0, 9]
    assert Regions(BRATS_2018) == BRATS_2018


def test_order_is_the_bundles_whatever_the_datalists(tmp_path: Path) -> None:
    datalist(tmp_path, {"regions": {"cup": 0, "disc": [0, 128]}, "background": 255})
    regions = Regions({"disc": [1, 2], "cup": [2]}, str(tmp_path))
    assert list(regions.items()) == [("disc", [0, 128]), ("cup", [0])]
    assert regions.background == [255]


def test_region_that_the_datalist_leaves_out_is_not_labelled(tmp_path: Path) -> None:
    datalist(tmp_path, {"regions": {"disc": [1]}}, name="folds.json")
    regions = Regions({"disc": [1, 2], "cup": [2]}, tmp_path, "folds.json")
    assert list(regions.items()) == [("disc", [1]), ("cup", [])]


@pytest.mark.parametrize("content", [None, "{broken", "[]", {"test": []}, {"regions": {}}], ids=str)
def test_bundles_values_hold_where_the_datalist_states_none(tmp_path: Path, content: Any) -> None:
    if content is not None:
        datalist(tmp_path, content)
    regions = Regions(REFUGE, tmp_path, background=[255])
    assert regions == REFUGE
    assert regions.background == [255]


def test_datalist_may_state_regions_beyond_those_to_segment(tmp_path: Path) -> None:
    datalist(tmp_path, {"regions": {**BRATS_2023, "resection cavity": [4]}})
    regions = Regions({"WT": [1, 2, 4]}, tmp_path)
    assert list(regions.items()) == [("WT", [1, 2, 3])]
    assert regions.declared == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("stated", [{"tumour": [1], "oedema": [2]}, {"tumour": [1]}])
def test_regions_of_another_bundle_are_refused(tmp_path: Path, stated: dict[str, list[int]]) -> None:
    datalist(tmp_path, {"regions": stated})
    with pytest.raises(InputError, match=f"states the regions {', '.join(stated)}, this bundle segments TC, WT, ET"):
        Regions(BRATS_2018, tmp_path)


@pytest.mark.parametrize("values", [[1.5], ["1"], [True], "1", None, {"value": 1}], ids=str)
def test_values_that_are_no_whole_numbers_are_refused(tmp_path: Path, values: Any) -> None:
    with pytest.raises(InputError, match="The label values of cup must be whole numbers, got "):
        Regions({"disc": [1], "cup": values})
    datalist(tmp_path, {"background": values})
    with pytest.raises(InputError, match="The label values of background must be whole numbers, got "):
        Regions({"disc": [1]}, tmp_path)


@pytest.mark.parametrize("stated", [["disc"], "disc", 3])
def test_regions_without_values_are_refused(tmp_path: Path, stated: Any) -> None:
    datalist(tmp_path, {"regions": stated})
    with pytest.raises(InputError, match=f"regions in the datalist in {tmp_path} must be names with label values"):
        Regions({"disc": [1]}, tmp_path)


def test_some_region_must_have_a_value() -> None:
    with pytest.raises(InputError, match="None of the regions disc, cup has a label value"):
        Regions({"disc": [], "cup": []})


@pytest.mark.parametrize("stated", [{"regions": REFUGE}, {"regions": {"disc": [1, 3]}, "background": [0, 3]}])
def test_background_is_in_no_region(tmp_path: Path, stated: dict[str, Any]) -> None:
    datalist(tmp_path, stated)
    with pytest.raises(InputError, match=r"The label value [03] is background and in the region disc: state which"):
        Regions({"disc": [1, 2], "cup": [2]}, tmp_path)


@pytest.mark.parametrize(
    ("values", "name", "containing"),
    [
        (BRATS_2018, "ET", ["WT", "TC"]),
        (BRATS_2018, "TC", ["WT"]),
        (BRATS_2018, "WT", []),
        (MSD, "ET", ["WT", "TC"]),
        (REFUGE, "cup", ["disc"]),
        (REFUGE, "disc", []),
        ({"a": [1, 2], "b": [2, 3]}, "a", []),
        ({"a": [1], "b": [1]}, "a", []),
    ],
)
def test_regions_around_a_region_from_outside(values: dict[str, list[int]], name: str, containing: list[str]) -> None:
    assert Regions(values, background=[99]).containing(name) == containing


@pytest.mark.parametrize(
    ("values", "own"),
    [
        (BRATS_2018, [("WT", 2), ("TC", 1), ("ET", 4)]),
        (BRATS_2023, [("WT", 2), ("TC", 1), ("ET", 3)]),
        (MSD, [("WT", 1), ("TC", 2), ("ET", 3)]),
        (REFUGE, [("disc", 128), ("cup", 0)]),
        ({"cup": [2], "disc": [1, 2]}, [("disc", 1), ("cup", 2)]),
        ({"nodule": [1, 255]}, [("nodule", 1)]),
        ({"left": [1], "right": [2], "both": [1, 2, 3]}, [("both", 3), ("left", 1), ("right", 2)]),
    ],
)
def test_each_regions_own_value_from_outside(values: dict[str, list[int]], own: list[tuple[str, int]]) -> None:
    assert list(Regions(values, background=[99]).own_values.items()) == own


def test_region_without_a_value_of_its_own_cannot_be_painted() -> None:
    regions = Regions({"left": [1], "right": [2], "both": [1, 2]})
    with pytest.raises(InputError, match="region both has no label value of its own"):
        _ = regions.own_values


def test_regions_that_overlap_without_nesting_have_no_label_map() -> None:
    regions = Regions({"A": [1, 2], "B": [2, 3]})
    with pytest.raises(InputError, match="A and B share label values and neither contains the other"):
        _ = regions.own_values
    assert Regions({"A": [1, 2], "B": [3]}).own_values == {"A": 1, "B": 3}


def test_region_that_the_bundle_leaves_out_stays_out_whatever_the_datalist_states(tmp_path: Path) -> None:
    stated = {"regions": {"disc": [1, 2], "cup": [2]}, "test": []}
    regions = Regions({"disc": [1, 255], "cup": []}, datalist(tmp_path, stated))
    assert dict(regions) == {"disc": [1, 2], "cup": []}
    assert regions.declared == [0, 1, 2]
