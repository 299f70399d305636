# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0


from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from harness.cell import run_cell
from harness.cost import TimedInferer, network_size
from harness.grid import Cell
from harness.methods import METHODS
from harness.report import write_report
from monai.bundle import ConfigParser
from monai.utils import set_determinism

from medsegdiff_monai.data.phantoms import write_phantoms


@pytest.fixture(autouse=True)
def _two_updates_and_two_tests(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A clock that moves by a second at each look, and few evaluations."""
    clock = itertools.count()
    monkeypatch.setattr("harness.budget.seconds_now", lambda device: float(next(clock)))
    ours = replace(METHODS["medsegdiff"], tested=((2, 2), (1, 1)), tested_3d=((2, 2), (1, 1)))
    monkeypatch.setitem(METHODS, "medsegdiff", ours)
    yield
    set_determinism(None)


def write_volumes(root: Path) -> None:
    """Four cases with three contrasts in one 4D file, the second of which shows the lesion."""
    rng = np.random.default_rng(0)
    sections: dict[str, list[dict[str, str]]] = {"training": [], "validation": [], "test": []}
    for name, section in zip("abcd", ("training", "training", "validation", "test")):
        image = rng.uniform(50, 100, (36, 40, 18, 3)).astype(np.float32)
        label = np.zeros((36, 40, 18), np.uint8)
        label[10:20, 12:24, 5:12] = 1
        image[..., 1] += 100 * label
        for folder, array in (("images", image), ("labels", label)):
            (root / folder).mkdir(parents=True, exist_ok=True)
            nib.save(nib.Nifti1Image(array, np.eye(4)), root / folder / f"{name}.nii.gz")
        sections[section].append({"image": f"images/{name}.nii.gz", "label": f"labels/{name}.nii.gz"})
    (root / "datalist.json").write_text(json.dumps(sections))


def run(cell: Cell, root: Path) -> dict:
    """The result of a cell."""
    run_cell(cell, root / "out" / "cells" / cell.name, root)
    return json.loads((root / "out" / "cells" / cell.name / "result.json").read_text())


def test_cell_of_volumes_from_files_to_report(tmp_path: Path) -> None:
    write_volumes(tmp_path / "brain_lgg")
    cell = Cell("brain_lgg", "medsegdiff", 0, 2.0, size=(32, 32, 16))
    result = run(cell, tmp_path)
    assert result["training"]["iterations"] == 2
    assert [(t["data"], t["steps"], t["members"]) for t in result["tests"]] == [
        ("brain_lgg", 2, 2),
        ("brain_lgg", 1, 1),
    ]
    for test in result["tests"]:
        assert test["cases"]["case"] == ["d"]
        assert 0 <= test["cases"]["dice"][0] <= 1
        assert sum(test["calibration"]["count"]) == 36 * 40 * 18  # at the volume's own size
        assert sum(test["calibration"]["positive"]) == 10 * 12 * 7
        assert test["seconds_per_case"] > 0
    text = write_report([cell], tmp_path / "out", "a machine").read_text(encoding="utf-8")
    assert "| medsegdiff | 2 x 2 |" in text


def test_cell_of_eyes_counts_the_labelled_region_and_tests_on_other_data(tmp_path: Path) -> None:
    counts = {"fundus_palm": (8, 1, 2), "fundus_idrid": (1, 2, 1)}
    for seed, (name, (training, validation, test)) in enumerate(counts.items()):
        write_phantoms(tmp_path / name, "fundus", training, validation, test, 48, seed=seed)
    result = run(Cell("fundus_palm", "medsegdiff", 0, 2.0, size=(32, 32)), tmp_path)
    seen = [(t["data"], t["steps"], t["members"], len(t["cases"]["case"])) for t in result["tests"]]
    assert seen == [("fundus_palm", 2, 2, 2), ("fundus_palm", 1, 1, 2), ("fundus_idrid", 2, 2, 4)]
    for test, cases in zip(result["tests"], (2, 2, 4)):
        assert sum(test["calibration"]["count"]) == cases * 48 * 48  # of the disc alone: the cup has no labels here
        assert not np.isnan(np.array(test["cases"].get("dice", test["cases"].get("dice_disc")), dtype=float)).any()


class Convolutions(torch.nn.Module):
    """A denoiser of one convolution of the image and one of the mask."""

    divisor, in_channels = 1, 2

    def __init__(self) -> None:
        super().__init__()
        self.once, self.each = torch.nn.Conv2d(3, 5, 1, bias=False), torch.nn.Conv2d(7, 2, 3, padding=1, bias=False)

    def encode_image(self, image: torch.Tensor) -> list[torch.Tensor]:
        return [self.once(image)]

    def denoise(self, x: torch.Tensor, timesteps: torch.Tensor, features: list[torch.Tensor]) -> torch.Tensor:
        return self.each(torch.cat([x, features[0]], 1))


def test_size_of_a_network_by_hand() -> None:
    parser = ConfigParser({"device": torch.device("cpu"), "denoiser": Convolutions()})
    size = network_size(parser, 3, (8, 16))
    assert size["parameters_m"] == pytest.approx((3 * 5 + 7 * 2 * 9) / 1e6)
    assert size["gflop_once"] == pytest.approx(2 * 8 * 16 * 3 * 5 / 1e9)
    assert size["gflop_each"] == pytest.approx(2 * 8 * 16 * 7 * 2 * 9 / 1e9)


def test_time_of_an_answer_is_that_of_the_prediction_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("harness.cost.seconds_now", lambda device: now[0])

    class Inferer:
        def predict(self, inputs: torch.Tensor, network: object) -> tuple:
            now[0] += 3.0
            return inputs, network

    timed = TimedInferer(Inferer(), torch.device("cpu"))
    image, network = torch.zeros(1), object()
    for _ in range(2):
        now[0] += 50.0  # reading, for one
        assert timed.predict(image, network) == (image, network)
    assert timed.seconds == 6.0
