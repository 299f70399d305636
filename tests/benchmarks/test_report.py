# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from harness.grid import Cell
from harness.methods import METHODS
from harness.plots import colours
from harness.report import load_results, write_report
from PIL import Image

CASES = [f"case_{i}" for i in range(6)]
OFFSETS = [-0.025, -0.015, -0.005, 0.005, 0.015, 0.025]
BEHIND = [0.01, 0.04, 0.02, 0.06, 0.03, 0.05]  # of the U-Net, case by case: all distinct, 0.035 in the mean
COUNTS = {"count": [0.0] * 20, "confidence": [0.0] * 20, "positive": [0.0] * 20}


def scored(dice: list[float], data: str = "ultrasound_ddti", steps: int = 1, members: int = 1, **more: Any) -> dict:
    cases = {"case": CASES[: len(dice)], "dice": dice}
    cases |= {name: [value] * len(dice) for name, value in {"iou": 0.8, "hd95": 3.0, "nsd": 0.9}.items()}
    calibration = {**COUNTS, "count": [8.0] + [0.0] * 18 + [2.0], "confidence": [0.4] + [0.0] * 18 + [1.9]}
    calibration["positive"] = [1.0] + [0.0] * 18 + [1.0]
    about = {"data": data, "steps": steps, "members": members, "evaluations": steps * members, "seconds_per_case": 0.5}
    return {**about, "cases": cases, "calibration": calibration, **more}


def result(tests: list[dict], curve: list[list[float]], iterations: int = 15, peak: float = 1.0) -> dict[str, Any]:
    training = {"seconds": curve[-1][0], "iterations": iterations, "images_per_second": 4.0, "peak_memory_gb": peak}
    training["curve"] = curve
    size = {"parameters_m": 1.5, "gflop_once": 0.5, "gflop_each": 0.25}
    return {"machine": "some", "size": size, "training": training, "tests": tests}


def curve(times: list[float], values: list[float]) -> list[list[float]]:
    return [[t, float(i), v] for i, (t, v) in enumerate(zip(times, values))]


def leave(root: Path, cell: Cell, name: str, content: str) -> None:
    folder = root / "cells" / cell.name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(content)


def rows(text: str, heading: str) -> list[dict[str, str]]:
    """The table under a heading that starts so."""
    section = next(part for part in text.split("## ") if part.startswith(heading))
    lines = [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("| ")]
    lines = [[cell.strip() for cell in line] for line in lines]
    return [dict(zip(lines[0], line + [""] * (len(lines[0]) - len(line)))) for line in lines[1:]]


GRID = [Cell("ultrasound_ddti", m, s, 120.0) for s in (0, 1) for m in ("medsegdiff", "basic_unet", "dynunet")]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str, list[Any]]]:
    """The folder of a report, its text and its figures: two methods with two seeds, one failed, one not yet run."""
    root = tmp_path_factory.mktemp("report")
    ours = [[0.90 + o for o in OFFSETS], [0.94 + o for o in OFFSETS]]
    unet = [[v - d for v, d in zip(ours[0], BEHIND)], [v - d - 0.02 for v, d in zip(ours[1], BEHIND)]]
    times = [[8.0, 16.0, 24.0], [12.0, 24.0, 36.0]]
    unet_values = [[0.2, 0.5, 0.7], [0.2, 0.7, 0.9]]
    for seed in (0, 1):
        cells = {c.method: c for c in GRID if c.seed == seed}
        tests = [scored(ours[seed], steps=4, members=5, seconds_per_case=0.25 + seed), scored(ours[seed])]
        content = result(tests, curve(times[seed], [0.4, 0.7, 0.9]), 15 + 10 * seed, 1.0 + seed)
        leave(root, cells["medsegdiff"], "result.json", json.dumps(content))
        leave(root, cells["medsegdiff"], "failed.txt", "an earlier failure\n")
        content = result([scored(unet[seed])], curve([10.0, 20.0, 30.0], unet_values[seed]))
        leave(root, cells["basic_unet"], "result.json", json.dumps(content))
    leave(root, cells["dynunet"], "failed.txt", "killed by SIGKILL (out of memory?)\n")
    figures: list[Any] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("harness.plots.plt.close", figures.append)
        path = write_report(GRID, root, "a machine")
    yield root, path.read_text(encoding="utf-8"), figures
    for figure in figures:
        mpl.pyplot.close(figure)


def test_results_and_failures_are_told_apart(written: Any) -> None:
    results, failures = load_results(GRID, written[0])
    assert {(c.method, c.seed) for c in results} == {(m, s) for m in ("medsegdiff", "basic_unet") for s in (0, 1)}
    assert [(c.method, c.seed, r) for c, r in failures.items()] == [
        ("dynunet", 1, "killed by SIGKILL (out of memory?)")
    ]


def test_head_counts_the_cells_and_names_the_failed(written: Any) -> None:
    _, text, _ = written
    assert text.splitlines()[0] == (
        "a machine; 2.0 minutes of training a cell with 1 thread(s) on cpu, tested on the test images; "
        "4 of 6 cells finished, 1 failed."
    )
    assert [list(r.values()) for r in rows(text, "Failed")] == [
        ["ultrasound_ddti", "dynunet", "1", "killed by SIGKILL (out of memory?)"]
    ]
    assert "earlier failure" not in text


def test_overview_by_hand(written: Any) -> None:
    spread = {"medsegdiff": 4 / math.sqrt(2), "basic_unet": 2 / math.sqrt(2)}  # of two seeds 4 and 2 % apart
    ours = {
        "method": "medsegdiff",
        "evaluations": "20 or 12",
        "ultrasound_ddti": f"92.00 ± {spread['medsegdiff']:.2f} (2)",
    }
    unet = {"method": "basic_unet", "evaluations": "1", "ultrasound_ddti": f"87.50 ± {spread['basic_unet']:.2f} (2)"}
    assert rows(written[1], "Test Dice") == [{**ours, "mean": ""}, {**unet, "mean": ""}]


def test_details_by_hand(written: Any) -> None:
    table = rows(written[1], "ultrasound_ddti: mean over 6 test cases")
    assert [(r["method"], r["steps x members"]) for r in table] == [
        ("medsegdiff", "4 x 5"),
        ("medsegdiff", "1 x 1"),
        ("basic_unet", "1 x 1"),
    ]
    # The mean over the seeds is paired: all six differences have one sign, so p = 2 / 2^6; equal cases have p = 1.
    assert [r["p (Dice, paired with the default)"] for r in table] == ["", "1", "0.0312"]
    assert all(r["IoU %"] == "80.00 [80.00, 80.00]" for r in table)
    assert all(r["HD95"] == "3.00 [3.00, 3.00]" for r in table)
    assert all(r["NSD %"] == "90.00 [90.00, 90.00]" for r in table)
    unet = [0.91 + o - d for o, d in zip(OFFSETS, BEHIND)]
    for row, cases in ((table[0], [0.92 + o for o in OFFSETS]), (table[2], unet)):
        mean, low, high = (float(v.strip("[],")) / 100 for v in row["Dice %"].split())
        assert mean == pytest.approx(np.mean(cases), abs=6e-5)
        half = 1.96 * np.std(cases) / math.sqrt(len(cases))
        assert (mean - low, high - mean) == pytest.approx((half, half), rel=0.15)


def test_footnote_says_what_six_cases_can_show(written: Any) -> None:
    section = next(part for part in written[1].split("## ") if part.startswith("ultrasound_ddti: mean over"))
    assert section.strip().splitlines()[-1] == (
        "6 cases: the least p that Wilcoxon's signed-rank test can reach with 6 pairs is 0.0312. "
        "The p values are not corrected for the number of comparisons."
    )
    assert "At a tenth of the evaluations" not in written[1]  # there is nothing to compare with


def test_cost_by_hand(written: Any) -> None:
    ours, unet = rows(written[1], "Cost on ultrasound_ddti")
    ratio = "time to the U-Net's final Dice, of the U-Net's time"
    # Mean curves: the U-Net's ends with 80 % at 30 s; ours passes from 70 % at 20 s to 90 % at 30 s.
    assert (ours[ratio], unet[ratio]) == (f"{25 / 30:.2f}", "1.00")
    assert (ours["updates"], unet["updates"]) == ("20", "15")
    assert ours["peak memory of the process GB"] == "2.00"
    assert (ours["final validation Dice %"], unet["final validation Dice %"]) == ("90.00", "80.00")
    answer = "s a case (default answer, network at its input size)"
    assert (ours[answer], unet[answer]) == ("0.75", "0.50")
    assert (ours["M parameters"], ours["images/s in training"]) == ("1.50", "4.0")
    assert (ours["GFLOP once an image"], ours["GFLOP each evaluation"]) == ("0.50", "0.25")
    # 0.5 + 20 * 0.25 of ours, 0.5 + 0.25 of the U-Net.
    assert [r["GFLOP of the default answer"] for r in (ours, unet)] == ["5.50", "0.75"]


def test_table_of_cases_is_complete(written: Any) -> None:
    with (written[0] / "cases.csv").open() as file:
        table = list(csv.DictReader(file))
    keys = {(r["dataset"], r["tested"], r["method"], r["seed"], r["steps"], r["members"], r["case"]) for r in table}
    settings = [("medsegdiff", "4", "5"), ("medsegdiff", "1", "1"), ("basic_unet", "1", "1")]
    assert keys == {
        ("ultrasound_ddti", "ultrasound_ddti", method, seed, steps, members, case)
        for method, steps, members in settings
        for seed in "01"
        for case in CASES
    }
    assert len(table) == len(keys)
    seen = {(r["method"], r["seed"], r["case"]): r for r in table}
    last = seen["basic_unet", "1", "case_3"]
    assert float(last["dice"]) == pytest.approx(0.94 + 0.005 - 0.06 - 0.02)
    assert [float(last[k]) for k in ("iou", "hd95", "nsd")] == [0.8, 3.0, 0.9]


@pytest.mark.parametrize("name", ["training_time.png", "evaluations.png", "calibration.png"])
def test_plots_show_each_method_in_its_colour(written: Any, name: str) -> None:
    with Image.open(written[0] / name) as image:
        pixels = np.asarray(image.convert("RGB")).reshape(-1, 3)
    for method in ("medsegdiff", "basic_unet"):
        colour = np.round(255 * np.array(colours()[method][:3]))
        assert (np.abs(pixels - colour).max(1) <= 1).sum() > 20, method
    unseen = np.round(255 * np.array(colours()["segresnet"][:3]))
    assert not (np.abs(pixels - unseen).max(1) <= 1).any()


def test_legends_name_each_method_and_lie_within_the_plot(written: Any) -> None:
    for figure in written[2]:
        (legend,) = figure.legends
        assert [t.get_text() for t in legend.get_texts()] == ["medsegdiff", "basic_unet"]
        box, whole = legend.get_window_extent(), figure.bbox
        assert whole.x0 <= box.x0 < box.x1 <= whole.x1
        assert whole.y0 <= box.y0 < box.y1 <= whole.y1


def test_no_two_methods_share_a_colour() -> None:
    assert list(colours()) == list(METHODS)
    assert len(set(colours().values())) == len(METHODS)


def test_plots_hold_the_means_over_the_seeds(written: Any) -> None:
    over_time, evaluations, calibration = (f.axes[0] for f in written[2])
    lines = {line.get_label(): line.get_xydata().tolist() for line in over_time.lines}
    assert np.allclose(lines["medsegdiff"], [[10, 40], [20, 70], [30, 90]])
    assert np.allclose(lines["basic_unet"], [[10, 20], [20, 60], [30, 80]])
    lines = {line.get_label(): line.get_xydata().tolist() for line in evaluations.lines}
    assert np.allclose(lines["medsegdiff"], [[1, 92], [20, 92]])
    assert np.allclose(lines["basic_unet"], [[1, 87.5]])
    lines = {line.get_label(): line.get_xydata().tolist() for line in calibration.lines}
    assert np.allclose(lines["basic_unet"], [[0.4 / 8, 1 / 8], [1.9 / 2, 1 / 2]])
    # Of ten voxels, |0.4 - 1| + |1.9 - 1| away from what their probabilities say.
    assert {t.get_text() for t in calibration.texts} == {"medsegdiff: 15.00 %", "basic_unet: 15.00 %"}


def test_axis_of_the_training_time_shows_the_later_half_in_detail(
    written: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # From 15 s on there are 70 and 90 % of ours, 60 and 80 % of the U-Net; a tenth of their range is left on each side.
    assert written[2][0].axes[0].get_ylim() == pytest.approx((57, 93))
    figures: list[Any] = []
    monkeypatch.setattr("harness.plots.plt.close", figures.append)
    for method, last in {"medsegdiff": 0.9, "basic_unet": 0.85, "paper": 0.3}.items():
        content = result([scored([0.5])], curve([10.0, 20.0], [last - 0.01, last]))
        leave(tmp_path, Cell("ultrasound_ddti", method, 0, 1.0), "result.json", json.dumps(content))
    cells = [Cell("ultrasound_ddti", m, 0, 1.0) for m in ("medsegdiff", "basic_unet", "paper")]
    write_report(cells, tmp_path, "a machine")
    assert figures[0].axes[0].get_ylim() == pytest.approx((84 - 0.6, 90 + 0.6))  # the last method's 30 % fall out
    monkeypatch.undo()
    for figure in figures:
        mpl.pyplot.close(figure)


def test_several_regions_other_data_and_an_unmet_target(tmp_path: Path) -> None:
    grid = [Cell("fundus_palm", m, 0, 30.0) for m in ("medsegdiff", "segresnet", "basic_unet")]
    grid.append(Cell("ultrasound_busi", "segresnet", 0, 90.0))
    regions = {"case": ["a", "b"], "dice_disc": [0.9, 0.7], "dice_cup": [0.5, math.nan]}
    regions |= {f"{name}_{region}": [0.5, 0.6] for name in ("iou", "hd95", "nsd") for region in ("disc", "cup")}
    for cell, last in zip(grid, (0.8, 0.6, 0.7, 0.5)):
        steps, members = cell.tests[0]
        tests = [
            scored([], "fundus_palm", steps, members, cases=regions),
            scored([0.5], "fundus_idrid", steps, members),
        ]
        tests = tests if cell.dataset == "fundus_palm" else [scored([0.25, 0.75], "ultrasound_busi")]
        leave(tmp_path, cell, "result.json", json.dumps(result(tests, curve([10.0, 20.0], [0.1, last]))))
    text = write_report(grid, tmp_path, "a machine").read_text(encoding="utf-8")
    assert "0.5 and 1.5 minutes" in text.splitlines()[0]
    overview = rows(text, "Test Dice")
    assert list(overview[0])[2:] == ["fundus_palm", "fundus_palm → fundus_idrid", "ultrasound_busi", "mean"]
    assert [list(r.values())[2:] for r in overview] == [
        ["70.00", "50.00", "", ""],  # the mean over the regions of each case, 0.7 and 0.7
        ["70.00", "50.00", "", ""],
        ["70.00", "50.00", "50.00", ""],
    ]
    assert len(rows(text, "fundus_palm, tested on fundus_idrid: mean over 1 cases")) == 3
    ratio = "time to the U-Net's final Dice, of the U-Net's time"
    # 70 % after 20 s; from 10 % at 10 s to 80 % at 20 s, 70 % is reached after 10 + 10 * 6 / 7.
    cost = {r["method"]: r[ratio] for r in rows(text, "Cost on fundus_palm")}
    assert cost == {"medsegdiff": f"{(10 + 60 / 7) / 20:.2f}", "basic_unet": "1.00", "segresnet": "not reached"}
    assert [r[ratio] for r in rows(text, "Cost on ultrasound_busi")] == [""]


def small_report(root: Path, scores: dict[Cell, list[tuple[tuple[int, int], list[float]]]]) -> str:
    """The report of cells that were tested with some steps and members on their own data sets."""
    for cell, tests in scores.items():
        content = [scored(dice, cell.dataset, *setting) for setting, dice in tests]
        leave(root, cell, "result.json", json.dumps(result(content, curve([10.0], [0.5]))))
    return write_report(list(scores), root, "a machine").read_text(encoding="utf-8")


def test_mean_over_the_main_data_sets_where_a_method_has_all(tmp_path: Path) -> None:
    dice = {"ultrasound_ddti": 0.9, "ultrasound_busi": 0.7, "fundus_palm": 0.8, "brain_lgg": 0.5}
    scores = {Cell(d, "basic_unet", 0, 1.0): [((1, 1), [v, v])] for d, v in dice.items()}
    scores |= {Cell(d, "segresnet", 0, 1.0): [((1, 1), [0.5, 0.5])] for d in list(dice)[1:]}
    scores[Cell("ultrasound_ddti_25", "segresnet", 0, 1.0)] = [((1, 1), [0.5, 0.5])]
    means = {r["method"]: r["mean"] for r in rows(small_report(tmp_path, scores), "Test Dice")}
    assert means == {"basic_unet": f"{(90 + 70 + 80 + 50) / 4:.2f}", "segresnet": ""}


def test_mean_is_over_the_seeds_that_all_data_sets_have(tmp_path: Path) -> None:
    dice = {"ultrasound_ddti": [0.9, 0.8], "ultrasound_busi": [0.7, 0.8], "fundus_palm": [0.8, 0.9]}
    dice["brain_lgg"] = [0.4, 0.9, 0.1]  # the third seed has no counterpart elsewhere
    cells = [(Cell(d, "basic_unet", s, 1.0), v) for d, values in dice.items() for s, v in enumerate(values)]
    (row,) = rows(small_report(tmp_path, {c: [((1, 1), [v, v])] for c, v in cells}), "Test Dice")
    assert row["mean"] == f"77.50 ± {15 / math.sqrt(2):.2f} (2)"  # of 70 and 85
    assert row["brain_lgg"] == "46.67 ± 40.41 (3)"


def test_tenth_of_the_evaluations_by_hand(tmp_path: Path) -> None:
    ours = [((4, 5), [0.90, 0.92]), ((1, 1), [0.60, 0.62]), ((1, 5), [0.70, 0.72]), ((10, 5), [0.99, 0.99])]
    paper = [((50, 5), [0.80, 0.81]), ((10, 5), [0.1, 0.1])]
    methods = {"medsegdiff": ours, "paper": paper, "diffusion_unet": [((50, 1), [0.75, 0.70])]}
    methods |= {"concatenation": [((4, 5), [0.5, 0.7])], "basic_unet": [((1, 1), [0.5, 0.5])]}
    methods["recipe_without_recycling"] = [((4, 5), [0.5, 0.5])]
    text = small_report(tmp_path, {Cell("ultrasound_ddti", m, 0, 1.0): tests for m, tests in methods.items()})
    seen = [list(r.values())[1:7] for r in rows(text, "At a tenth")]
    assert seen == [
        ["concatenation", "4 x 5", "60.00", "1 x 1", "61.00", "1.00"],  # of 20 evaluations, 2 at most
        ["paper", "50 x 5", "80.50", "4 x 5", "91.00", "10.50"],  # of 250, 25
        ["diffusion_unet", "50 x 1", "72.50", "1 x 5", "71.00", "-1.50"],  # of 50, 5
    ]


def test_report_on_validation_images_says_so(tmp_path: Path) -> None:
    methods = {"medsegdiff": [((4, 5), [0.9]), ((1, 1), [0.8])], "concatenation": [((4, 5), [0.5])]}
    cells = {Cell("ultrasound_ddti", m, 0, 1.0, section="validation"): tests for m, tests in methods.items()}
    text = small_report(tmp_path, cells)
    assert "tested on the validation images;" in text.splitlines()[0]
    assert [line for line in text.splitlines() if line.startswith("##")] == [
        "## Validation Dice in %: mean ± standard deviation over (number of seeds)",
        "## At a tenth of the evaluations, on the validation images",
        "## ultrasound_ddti: mean over 1 validation cases [95 % interval]",
        "## Cost on ultrasound_ddti",
    ]


def test_report_of_nothing_but_failures(tmp_path: Path) -> None:
    leave(tmp_path, GRID[0], "failed.txt", "no data\n")
    text = write_report(GRID[:2], tmp_path, "a machine").read_text(encoding="utf-8")
    assert "0 of 2 cells finished, 1 failed" in text
    assert [r["reason"] for r in rows(text, "Failed")] == ["no data"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["accuracy.md", "cells"]
