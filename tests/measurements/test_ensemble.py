# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0


from __future__ import annotations

import pickle
import warnings

import numpy as np
import pytest
from scipy import ndimage

from medsegdiff_monai.measurements import Measurement, measure_ensemble, measure_members, measurement_intervals


def box(shape: tuple[int, ...], *ranges: tuple[int, int]) -> np.ndarray:
    mask = np.zeros(shape, dtype=bool)
    mask[tuple(slice(*r) for r in ranges)] = True
    return mask


def found(measurements: list[Measurement]) -> dict[str, tuple[float | None, str]]:
    return {m.quantity: (m.value, m.unit) for m in measurements}


def test_picture_by_hand() -> None:
    mask = box((20, 30), (2, 5), (10, 14)) | box((20, 30), (10, 11), (20, 21))  # 3 x 4 pixels, and one more
    values = found(measure_ensemble({"nodule": mask}, [], None))
    longest = np.hypot(11 - 2, 21 - 10)
    assert values["area"] == (13.0, "pixels")
    assert values["longest diameter"] == (pytest.approx(longest), "pixels")
    assert values["lesions"] == (2.0, "")
    scaled = found(measure_ensemble({"nodule": mask}, [], (0.5, 2.0)))
    assert scaled["area"] == (pytest.approx(13.0), "mm2")
    assert scaled["longest diameter"] == (pytest.approx(np.hypot(0.5 * 9, 2.0 * 11)), "mm")


def test_corners_connect() -> None:
    mask = np.eye(4, dtype=bool)
    assert found(measure_ensemble({"nodule": mask}, [], None))["lesions"] == (1.0, "")


@pytest.mark.parametrize("thick", [0, 1, 2])
def test_volume_by_hand_with_slices_across_any_axis(thick: int) -> None:
    # Two slices of 3 x 5 voxels of 1 mm, 4 mm apart: the diameter is in a slice, whichever axis is across.
    mask = np.moveaxis(box((9, 9, 6), (1, 4), (2, 7), (3, 5)), 2, thick)
    spacing = np.insert(np.ones(2), thick, 4.0)
    values = found(measure_ensemble({"WT": mask}, [], spacing))
    assert values["volume"] == (pytest.approx(2 * 15 * 4 / 1000), "mL")
    assert values["longest diameter"] == (pytest.approx(np.hypot(3, 5)), "mm")
    assert values["lesions"] == (1.0, "")


def test_slices_of_equal_spacing_are_those_across_the_last_axis() -> None:
    mask = box((4, 4, 8), (0, 1), (0, 1), (0, 8))
    values = found(measure_ensemble({"WT": mask}, [], (1.0, 1.0, 1.0)))
    assert values["longest diameter"][0] == pytest.approx(np.sqrt(2))


def test_interval_of_certain_members_is_what_they_differ_in() -> None:
    members = [{"nodule": 1.0 * box((40, 40), (0, 1), (0, n))} for n in range(1, 22)]  # areas 1 to 21
    (area, *_) = measure_ensemble({"nodule": box((40, 40), (0, 1), (0, 12))}, members, None)
    assert area == Measurement("nodule", "area", "pixels", 12.0, 2.0, 20.0)


def test_interval_of_equal_members_is_how_blurred_they_are() -> None:
    # A row of pixels whose probability falls from 0.995 to 0.005: at the level t it is 100 (1 - t) pixels long.
    row = np.zeros((3, 120))
    row[1, 10:110] = (np.arange(100)[::-1] + 0.5) / 100
    (area, longest, *_) = measure_ensemble({"nodule": row >= 0.5}, [{"nodule": row}] * 3, None)
    assert area.value == 50.0
    lengths = np.quantile([5, 15, 25, 35, 45, 55, 65, 75, 85, 95] * 3, (0.05, 0.95))
    assert (area.low, area.high) == pytest.approx(tuple(lengths), abs=0.5)
    assert longest.high == pytest.approx(np.hypot(1.0, area.high), abs=0.1)


def test_place_in_the_image_does_not_matter() -> None:
    rng = np.random.default_rng(0)
    blob = rng.random((6, 5, 4))
    members = [{"WT": np.pad(blob, [(a, 9 - a)] * 3)} for a in (0, 4, 9)]
    each = [measure_ensemble({"WT": m["WT"] >= 0.5}, [m, m], (1.0, 1.0, 3.0)) for m in members]
    assert each[0] == each[1] == each[2]


def test_empty_masks_measure_zero_with_their_interval() -> None:
    empty, small = {"nodule": np.zeros((8, 8))}, {"nodule": 1.0 * box((8, 8), (0, 2), (0, 2))}
    mask = {"nodule": np.zeros((8, 8), dtype=bool)}
    measured = measure_ensemble(mask, [empty, small], None)
    assert {m.value for m in measured} == {0.0}
    assert (measured[0].low, measured[0].high) == (0.0, 4.0)
    assert measure_ensemble(mask, [empty, empty], None)[0] == Measurement("nodule", "area", "pixels", 0.0, 0.0, 0.0)


def test_single_member_has_no_interval() -> None:
    mask = {"nodule": box((8, 8), (0, 2), (0, 2))}
    assert {(m.low, m.high) for m in measure_ensemble(mask, [{"nodule": 1.0 * mask["nodule"]}], None)} == {(None, None)}


def test_vertical_ratio_is_along_y() -> None:
    disc, cup = box((30, 30), (5, 25), (10, 20)), box((30, 30), (10, 12), (12, 16))
    measured = measure_ensemble({"disc": disc, "cup": cup}, [], None, ("cup", "disc"))
    assert measured[-1] == Measurement("cup / disc", "vertical ratio", "", pytest.approx(0.4), None, None)


def test_ratio_to_no_disc_is_unknown_and_left_out_of_the_interval() -> None:
    none = np.zeros((30, 30), dtype=bool)
    disc, cup = box((30, 30), (5, 25), (10, 20)), box((30, 30), (10, 12), (12, 16))
    eye, blind = {"disc": 1.0 * disc, "cup": 1.0 * cup}, {"disc": 1.0 * none, "cup": 1.0 * none}
    measured = measure_ensemble({"disc": none, "cup": none}, [eye, eye, blind], None, ("cup", "disc"))
    ratio = measured[-1]
    assert ratio.value is None
    assert (ratio.low, ratio.high) == (pytest.approx(0.4), pytest.approx(0.4))


def test_members_that_have_passed_give_the_intervals_of_those_at_hand() -> None:
    rng = np.random.default_rng(3)
    members = [{"disc": rng.random((12, 9)), "cup": rng.random((12, 9)) ** 2} for _ in range(3)]
    fused = {name: np.mean([m[name] for m in members], axis=0) >= 0.5 for name in ("disc", "cup")}
    # Values of a member travel between processes.
    passed = [pickle.loads(pickle.dumps(measure_members([m], (0.5, 2.0), ("cup", "disc"))[0])) for m in members]
    streamed = measurement_intervals(fused, passed, (0.5, 2.0), ("cup", "disc"))
    assert streamed == measure_ensemble(fused, members, (0.5, 2.0), ("cup", "disc"))
    areas = [0.5 * 2.0 * (m["cup"] >= level).sum() for m in members for level in np.arange(0.05, 1.0, 0.1)]
    (cup,) = (m for m in streamed if (m.region, m.quantity) == ("cup", "area"))
    assert (cup.value, cup.unit) == (pytest.approx(fused["cup"].sum()), "mm2")
    assert (cup.low, cup.high) == pytest.approx(tuple(np.quantile(areas, (0.05, 0.95))))


@pytest.mark.parametrize("shape", [(8, 8), (6, 5, 4)])
@pytest.mark.parametrize("spacing", [None, 2.0])
def test_nothing_at_all_is_measured_without_a_warning(shape: tuple[int, ...], spacing: float | None) -> None:
    nothing = {"a": np.zeros(shape), "b": np.zeros(shape)}
    scale = None if spacing is None else [spacing] * len(shape)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ratio = ("a", "b") if len(shape) == 2 else None
        found = measure_ensemble({k: v > 0.5 for k, v in nothing.items()}, [nothing] * 2, scale, ratio)
    assert {(m.value, m.low, m.high) for m in found if m.quantity != "vertical ratio"} == {(0.0, 0.0, 0.0)}
    assert [m.value for m in found if m.quantity == "vertical ratio"] == ([None] if ratio else [])


@pytest.mark.parametrize("cell", [1, 8, 40])
def test_lesions_of_noise_and_of_smooth_members_are_those_that_scipy_counts(cell: int) -> None:
    rng = np.random.default_rng(cell)
    coarse = rng.random((80 // cell + 1, 120 // cell + 1))
    member = {"nodule": ndimage.zoom(coarse, (80 / len(coarse), 120 / coarse.shape[1]), order=1)}
    levels = [(2 * i + 1) / 20 for i in range(10)]
    expected = [ndimage.label(member["nodule"] >= level, np.ones((3, 3)))[1] for level in levels]
    assert [values["nodule", "lesions"] for values in measure_members([member], None)[0]] == expected


@pytest.mark.parametrize("cell", [1, 20])
def test_what_is_measured_piece_by_piece_is_what_is_measured_at_once(
    cell: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(cell)
    members = [
        {name: np.kron(rng.random((60 // cell, 80 // cell)), np.ones((cell, cell))) for name in ("disc", "cup")}
        for _ in range(3)
    ]
    at_once = measure_members(members, (0.5, 2.0), ("cup", "disc"))
    monkeypatch.setattr("medsegdiff_monai.measurements.ensemble._MOST_STEPS", 20)
    assert measure_members(members, (0.5, 2.0), ("cup", "disc")) == at_once
    assert measure_members(members[:1], (0.5, 2.0), ("cup", "disc")) == at_once[:1]


def test_a_member_measures_the_same_alone_and_beside_others() -> None:
    # Two of its diameters are equally long, and rounding decides which is the longest.
    member = np.zeros((12, 12))
    member[2:5, 2:5] = [[1, 1, 1], [1, 1, 0], [0, 1, 0]]
    other = np.zeros((12, 12))
    other[0, 0] = 1
    together = measure_members([{"a": member}, {"a": other}], (0.3, 0.3))
    assert together == [measure_members([{"a": m}], (0.3, 0.3))[0] for m in (member, other)]


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.float16, np.float32, np.float64])
def test_members_of_any_type(dtype: type) -> None:
    mask = np.zeros((5, 6), dtype=dtype)
    mask[1:3, 2:6] = 1
    assert [level["a", "area"] for level in measure_members([{"a": mask}], None)[0]] == [8] * 10


def test_what_resampling_overshoots_is_none_of_another_member() -> None:
    sure, never = np.full((4, 4), 1.06), np.full((4, 4), -0.2)
    found = measure_members([{"a": sure}, {"a": never}, {"a": sure}], None)
    assert [[level["a", "area"] for level in member] for member in found] == [[16] * 10, [0] * 10, [16] * 10]
