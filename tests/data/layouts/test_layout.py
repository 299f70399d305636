# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import itertools
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medsegdiff_monai.data.layouts import (
    SECTIONS,
    LayoutCase,
    LayoutData,
    parse_split,
    sections_of,
    split_by_patient,
)
from medsegdiff_monai.utils import InputError


def totals(sizes: dict[str, int], placed: dict[str, str]) -> list[int]:
    return [sum(sizes[p] for p, s in placed.items() if s == section) for section in SECTIONS]


def largest_remainders(number: int, shares: tuple[float, ...]) -> list[int]:
    """Hamilton's apportionment: the whole numbers nearest to the shares."""
    targets = [number * s for s in shares]
    result = [int(t + 1e-9) for t in targets]
    for i in sorted(range(3), key=lambda i: result[i] - targets[i])[: number - sum(result)]:
        result[i] += 1
    return result


def data_of(*cases: tuple[str, str, str | None]) -> LayoutData:
    made = [
        LayoutCase(name, patient, (Path(f"{name}.png"),), Path("l.png"), section) for name, patient, section in cases
    ]
    return LayoutData("some set", {}, {}, "2D", cases=made)


@pytest.mark.parametrize("split", ["0.7,0.1,0.2", (0.7, 0.1, 0.2), [0.7, 0.1, 0.2], " 0.7, 0.1,0.2 "])
def test_split_is_read_from_text_and_numbers(split: Any) -> None:
    assert parse_split(split) == (0.7, 0.1, 0.2)


@pytest.mark.parametrize(
    "split", ["0.7,0.3", "0.7,0.1,0.1", "a,b,c", "1.2,-0.2,0", "nan,0.5,0.5", "", True, 1.0, "0.5,0.2,0.2,0.1"]
)
def test_wrong_split_is_refused(split: Any) -> None:
    with pytest.raises(InputError, match="--split must be the shares of training, validation and test"):
        parse_split(split)


@pytest.mark.parametrize("seed", [-1, 1.5, "1", True])
def test_wrong_seed_is_refused(seed: Any) -> None:
    with pytest.raises(InputError, match="--seed must be a whole number not below 0"):
        sections_of(data_of(("a", "a", None)), None, seed)


@pytest.mark.parametrize("shares", [(0.7, 0.1, 0.2), (0.8, 0.2, 0.0), (0.0, 0.4, 0.6), (1.0, 0.0, 0.0)])
@pytest.mark.parametrize("number", [10, 11, 17, 100, 369])
def test_single_images_are_apportioned_by_largest_remainders(shares: tuple[float, ...], number: int) -> None:
    sizes = {f"p{i}": 1 for i in range(number)}
    assert totals(sizes, split_by_patient(sizes, shares, 0)) == largest_remainders(number, shares)


@pytest.mark.parametrize("seed", range(5))
def test_shares_are_as_near_as_whole_patients_allow(seed: int) -> None:
    rng = np.random.default_rng(seed)
    sizes = {f"p{i}": int(n) for i, n in enumerate(rng.integers(1, 6, size=8))}
    shares = (0.5, 0.2, 0.3)
    targets = np.array(shares) * sum(sizes.values())

    def miss(placed: dict[str, str]) -> float:
        return float(((np.array(totals(sizes, placed)) - targets) ** 2).sum())

    every = (dict(zip(sizes, sections)) for sections in itertools.product(SECTIONS, repeat=len(sizes)))
    best = min(miss(placed) for placed in every if set(placed.values()) == set(SECTIONS))
    assert miss(split_by_patient(sizes, shares, seed)) <= best + 2.0  # one case more here and one fewer there


@pytest.mark.parametrize("sizes", [{"a": 1, "b": 1, "c": 1}, {"a": 40, "b": 1, "c": 1}, {f"p{i}": 1 for i in range(6)}])
@pytest.mark.parametrize("seed", range(4))
def test_no_section_stays_empty_where_there_are_enough_patients(sizes: dict[str, int], seed: int) -> None:
    placed = split_by_patient(sizes, (0.98, 0.01, 0.01), seed)
    assert set(placed.values()) == set(SECTIONS)
    assert set(split_by_patient(sizes, (0.98, 0.0, 0.02), seed).values()) == {"training", "test"}


def test_fewer_patients_than_sections_and_none_at_all() -> None:
    assert len(set(split_by_patient({"a": 3, "b": 1}, (0.7, 0.1, 0.2), 0).values())) == 2
    assert list(split_by_patient({"a": 3}, (0.7, 0.1, 0.2), 0)) == ["a"]
    assert split_by_patient({}, (0.7, 0.1, 0.2), 0) == {}


def test_split_depends_on_the_seed_and_not_on_the_order() -> None:
    sizes = {f"p{i}": 1 + i % 3 for i in range(40)} | {"p01": 2, "p1 ": 1}
    reverse = dict(reversed(sizes.items()))
    assert split_by_patient(sizes, (0.7, 0.1, 0.2), 3) == split_by_patient(reverse, (0.7, 0.1, 0.2), 3)
    chosen = [split_by_patient(sizes, (0.7, 0.1, 0.2), seed) for seed in range(200)]
    tested = Counter(p for placed in chosen for p, section in placed.items() if section == "test")
    assert set(tested) == set(sizes)
    assert max(tested.values()) < 100  # 40 are expected of each


def test_images_of_a_patient_stay_together() -> None:
    data = data_of(*((f"case{i}_{k}", f"case{i}", None) for i in range(12) for k in range(1 + i % 3)))
    sections = sections_of(data, "0.6,0.2,0.2", seed=1)
    assert sorted(c.name for cases in sections.values() for c in cases) == sorted(c.name for c in data.cases)
    patients = [{c.patient for c in sections[s]} for s in SECTIONS]
    assert all(patients)
    assert not patients[0] & patients[1] | patients[0] & patients[2] | patients[1] & patients[2]
    assert [c.name for c in sections["training"]] == sorted(
        (c.name for c in sections["training"]), key=lambda n: [int(part) for part in n[4:].split("_")]
    )


def test_stated_sections_are_kept_unless_a_split_is_given() -> None:
    stated = [(f"x{i}", f"x{i}", "training" if i < 2 else "test") for i in range(10)]
    kept = data_of(*stated)
    assert [len(sections_of(kept)[s]) for s in SECTIONS] == [2, 0, 8]
    assert "own sections are kept (training, test)" in kept.notes[0]
    assert [len(sections_of(data_of(*stated), "0.7,0.1,0.2")[s]) for s in SECTIONS] == [7, 1, 2]
    for cases in ([(n, p, "training") for n, p, _ in stated], [*stated, ("y", "y", None)][1:]):
        assert [len(sections_of(data_of(*cases))[s]) for s in SECTIONS] == [7, 1, 2]


def test_cases_of_one_name_are_left_out_where_they_meet() -> None:
    cases = [("a", "training/a", "training"), ("b", "b", "training"), ("a", "test/a", "test"), ("c", "c", "test")]
    kept = data_of(*cases)
    assert [[c.name for c in sections_of(kept)[s]] for s in SECTIONS] == [["a", "b"], [], ["a", "c"]]
    assert kept.problems == []
    anew = data_of(*cases)
    assert sorted(c.name for part in sections_of(anew, "0.5,0,0.5").values() for c in part) == ["b", "c"]
    assert anew.problems == [("a", "a.png and a.png would give results of one name: rename them.")]


def test_cases_without_label_have_a_section_of_their_own() -> None:
    data = data_of(*((f"x{i}", f"x{i}", None) for i in range(3)))
    data.cases.append(LayoutCase("y", "y", (Path("y.png"),), None))
    sections = sections_of(data)
    assert [c.name for c in sections["unlabelled"]] == ["y"]
    assert [len(sections[s]) for s in SECTIONS] == [1, 1, 1]
