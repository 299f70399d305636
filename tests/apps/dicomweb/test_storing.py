# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Callable

import pytest
from pydicom.dataset import Dataset

from medsegdiff_monai.apps.dicomweb import PacsError, pacs, store_objects


class FakePacs:
    """A PACS that keeps what it is told to keep.

    Args:
        keeps: how many of the objects it stores.
        says: what a request to store ends with; None for success.
        deletes: whether it can delete.
        silent: whether it answers nothing after that.
        late: number of looks after which what it stored is listed.
    """

    def __init__(
        self, keeps: int, says: str | None = None, deletes: bool = False, silent: bool = False, late: int = 0
    ) -> None:
        self.objects = {"old"}
        self.hidden: set[str] = set()
        self.keeps, self.says, self.deletes, self.silent, self.late = keeps, says, deletes, silent, late

    def store(self, study: str, objects: dict[str, Dataset]) -> None:
        self.hidden = set(list(objects)[: self.keeps])
        if self.says is not None:
            raise PacsError(self.says, gone=self.silent)

    def instances_of(self, study: str) -> set[str]:
        if self.silent:
            raise PacsError("The connection failed again.", gone=True)
        self.late -= 1
        if self.late < 0:
            self.objects |= self.hidden
            self.hidden = set()
        return set(self.objects)

    def delete(self, study: str, series: str, instance: str) -> None:
        if not self.deletes:
            raise PacsError("No DELETE (405).")
        assert instance != "old"
        self.objects.discard(instance)


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pacs.time, "sleep", lambda _: None)


@pytest.fixture
def three() -> dict[str, Dataset]:
    """Objects of a case."""
    made: dict[str, Dataset] = {}
    for uid in ("1.1", "1.2", "1.3"):
        ds = Dataset()
        ds.SeriesInstanceUID, ds.SOPInstanceUID = "1", uid
        made[uid] = ds
    return made


def store(pacs: FakePacs, objects: dict[str, Dataset]) -> str:
    """The sentence that storing ends with; empty where all went well."""
    try:
        store_objects(pacs, "1.2", objects)
    except PacsError as e:
        return str(e)
    return ""


@pytest.mark.parametrize("late", [0, 3])
@pytest.mark.parametrize("says", [None, "The connection failed."])
def test_all_that_is_listed_is_stored_whatever_the_answer_was(
    three: dict[str, Dataset], says: str | None, late: int
) -> None:
    pacs = FakePacs(3, says, late=late)
    assert store(pacs, three) == ""
    assert pacs.objects == {"old", *three}


@pytest.mark.parametrize("keeps", [0, 1, 2])
@pytest.mark.parametrize(
    ("says", "begins"), [(None, "The PACS says that it stored the results, but"), ("Refused (409).", "Refused (409).")]
)
def test_a_part_is_deleted_where_that_can_be(
    three: dict[str, Dataset], keeps: int, says: str | None, begins: str
) -> None:
    pacs = FakePacs(keeps, says, deletes=True)
    said = store(pacs, three)
    assert said.startswith(begins)
    assert said.endswith("Nothing of the results is stored.")
    assert pacs.objects == {"old"}


def test_a_part_that_cannot_be_deleted_is_named(three: dict[str, Dataset]) -> None:
    pacs = FakePacs(2, "Refused (400).")
    assert "2 of 3 objects are stored, which the PACS does not delete: run the command again" in store(pacs, three)


def test_a_pacs_that_is_gone_leaves_it_open_what_is_stored(three: dict[str, Dataset]) -> None:
    with pytest.raises(PacsError, match=r"^The connection failed\. What of the results it has stored is not") as e:
        store_objects(FakePacs(2, "The connection failed.", silent=True), "1.2", three)
    assert e.value.gone


def test_a_pacs_that_goes_while_it_deletes(three: dict[str, Dataset]) -> None:
    pacs = FakePacs(2, "Refused (400).", deletes=True)
    delete: Callable[..., None] = pacs.delete

    def last(*arguments: str) -> None:
        delete(*arguments)
        pacs.silent = True

    pacs.delete = last  # type: ignore[method-assign]
    assert "is not known: run the command again, it completes them" in store(pacs, three)
