# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0


from __future__ import annotations

import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from harness import grid
from harness.grid import Cell
from harness.kept import all_cells, busy, cell_of, check_kept, fingerprint, take_lock
from harness.methods import METHODS

from medsegdiff_monai.utils import InputError

CELL = Cell("ultrasound_ddti", "medsegdiff", 0, 60.0, size=(32, 32))
BUNDLE_CONFIGS = "bundle/thyroid_ultrasound_medsegdiff/configs"
REFUSED = "medsegdiff/seed_0/cell.json was run with other settings, configurations or data: give another --out."


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for name in ("ultrasound_ddti", "ultrasound_busi", "fundus_palm", "fundus_idrid"):
        (tmp_path / "data" / name).mkdir(parents=True)
        (tmp_path / "data" / name / "datalist.json").write_text('{"test": []}')
    return tmp_path / "data"


def folder_of(cell: Cell, out: Path) -> Path:
    return out / "cells" / cell.name


def test_cell_survives_json() -> None:
    for cell in (CELL, replace(CELL, size=None, section="validation")):
        assert cell_of(json.loads(json.dumps(asdict(cell)))) == cell


def test_cell_leaves_its_settings_and_fingerprint(data: Path, tmp_path: Path) -> None:
    check_kept([CELL], tmp_path, data)
    content = json.loads((folder_of(CELL, tmp_path) / "cell.json").read_text())
    assert len(content.pop("fingerprint")) == 64
    assert cell_of(content) == CELL
    assert all_cells(tmp_path) == [CELL]
    (folder_of(CELL, tmp_path) / "result.json").touch()
    check_kept([CELL], tmp_path, data)  # nothing has changed


def test_fingerprint_follows_configurations_and_data(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = fingerprint(CELL, data)
    assert fingerprint(CELL, data) == first
    seen = {first, fingerprint(replace(CELL, method="basic_unet"), data)}
    (data / "ultrasound_ddti" / "datalist.json").write_text('{"test": ["a.png"]}')
    seen.add(fingerprint(CELL, data))
    bundle = tmp_path / BUNDLE_CONFIGS
    bundle.mkdir(parents=True)
    own = grid.BUNDLES / "thyroid_ultrasound_medsegdiff" / "configs"
    for name in ("train.json", "inference.json", "evaluate.json", "metadata.json"):
        (bundle / name).write_text((own / name).read_text())
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(grid, "BUNDLES", tmp_path / "bundle")
        assert fingerprint(CELL, data) in seen  # the place of the bundle does not matter
        for name in ("train.json", "inference.json", "evaluate.json"):
            content = json.loads((bundle / name).read_text())
            (bundle / name).write_text(json.dumps({**content, "datalist": f"that of {name}"}))
            seen.add(fingerprint(CELL, data))
    monkeypatch.setitem(METHODS, "medsegdiff", replace(METHODS["medsegdiff"], tested=((1, 1),)))
    seen.add(fingerprint(CELL, data))
    assert len(seen) == 7


def test_fingerprint_of_a_plain_network_does_not_follow_the_bundles_own(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cells = [replace(CELL, method=method) for method in ("medsegdiff", "basic_unet")]
    before = [fingerprint(c, data) for c in cells]
    shutil.copytree(grid.BUNDLES / "thyroid_ultrasound_medsegdiff" / "configs", tmp_path / BUNDLE_CONFIGS)
    for name in ("train.json", "inference.json"):
        file = tmp_path / BUNDLE_CONFIGS / name
        content = json.loads(file.read_text())
        content["denoiser"]["num_res_blocks"] = [2, 2, 2, 2]
        file.write_text(json.dumps(content))
    monkeypatch.setattr(grid, "BUNDLES", tmp_path / "bundle")
    assert [fingerprint(c, data) == b for c, b in zip(cells, before)] == [False, True]


def test_fingerprint_follows_the_other_data_that_are_tested_on(data: Path) -> None:
    cells = [Cell("fundus_palm", "basic_unet", 0, 1.0, section=section) for section in ("test", "validation")]
    before = [fingerprint(c, data) for c in cells]
    (data / "fundus_idrid" / "datalist.json").write_text('{"test": ["a.png"]}')
    after = [fingerprint(c, data) for c in cells]
    assert [a == b for a, b in zip(before, after)] == [False, True]


@pytest.mark.parametrize(
    ("files", "refused"),
    [
        (["result.json"], True),
        (["training.json", "failed.txt"], True),
        (["last.pt"], True),
        (["failed.txt", "last.pt"], False),  # it begins anew
        ([], False),
    ],
    ids=["finished", "trained", "begun", "failed", "not begun"],
)
def test_what_is_kept_is_not_mixed_with_other_data(data: Path, tmp_path: Path, files: list[str], refused: bool) -> None:
    check_kept([CELL], tmp_path, data)
    for name in files:
        (folder_of(CELL, tmp_path) / name).touch()
    path = folder_of(CELL, tmp_path) / "cell.json"
    before = path.read_text()
    (data / "ultrasound_ddti" / "datalist.json").write_text('{"test": ["a.png"]}')
    if refused:
        with pytest.raises(InputError, match=REFUSED):
            check_kept([CELL], tmp_path, data)
    else:
        check_kept([CELL], tmp_path, data)
    assert (path.read_text() == before) == refused


def test_other_settings_are_refused_and_nothing_is_written(data: Path, tmp_path: Path) -> None:
    check_kept([CELL], tmp_path, data)
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    added = replace(CELL, method="basic_unet")
    with pytest.raises(InputError, match=REFUSED):
        check_kept([replace(added, seconds=90.0), replace(CELL, seconds=90.0)], tmp_path, data)
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before
    check_kept([added, CELL], tmp_path, data)  # with the right settings it can still be added


def test_cells_of_two_sections_are_not_mixed(data: Path, tmp_path: Path) -> None:
    check_kept([CELL], tmp_path, data)
    with pytest.raises(InputError, match=r"were tested on the section 'test': give another --out."):
        check_kept([replace(CELL, seed=1, section="validation")], tmp_path, data)
    assert all_cells(tmp_path) == [CELL]


def test_all_cells_are_those_of_every_call_in_the_order_of_the_tables(data: Path, tmp_path: Path) -> None:
    cells = [Cell(d, m, s, 1.0) for d in ("ultrasound_ddti", "ultrasound_busi") for m in METHODS for s in (2, 10)]
    for part in (cells[1::2], cells[::2]):
        check_kept(part[::-1], tmp_path, data)
    assert all_cells(tmp_path) == cells


def test_cells_of_another_version_are_refused(data: Path, tmp_path: Path) -> None:
    check_kept([CELL], tmp_path, data)
    path = folder_of(CELL, tmp_path) / "cell.json"
    path.write_text(path.read_text().replace('"medsegdiff"', '"forgotten"'))
    with pytest.raises(InputError, match=r"of a data set or method that there is no more: give another --out."):
        all_cells(tmp_path)


def test_lock_is_held_until_it_is_closed(tmp_path: Path) -> None:
    assert busy(tmp_path) is None
    lock = take_lock(tmp_path)
    assert lock is not None
    assert take_lock(tmp_path) is None
    assert busy(tmp_path) == f"{tmp_path} is being run by another process: wait for it or end it."
    lock.close()
    assert busy(tmp_path) is None
