# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from peer_harness.report import duration, scaling_table, table, write_report
from peer_harness.rows import Row, row_of, table_rows
from peer_harness.scaling import SWEEPS, growth_exponent, sweep_rows
from PIL import Image


def result(seconds: float = 2.0, gflop: float = 100.0, **changes: Any) -> dict[str, Any]:
    return {
        "evaluations": 20,
        "measured_evaluations": 20,
        "windows": 1,
        "complete": True,
        "parameters_m": 1.906,
        "seconds": seconds,
        "seconds_min": 0.9 * seconds,
        "seconds_max": 1.5 * seconds,
        "seconds_of_run": seconds,
        "gflop": gflop,
        "gflop_per_second": 120.0,
        "ceilings": [190.0, 200.0, 230.0],
        "of_ceiling": 0.6,
        "outside": 0.025,
        "dtype": "float32",
        "memory_gb": 1.25,
        "memory_before_gb": 0.5,
        **changes,
    }


def record(key: str, answer: dict[str, Any], **changes: Any) -> dict[str, Any]:
    row = Row(key, key.upper(), "some", "2d", (256, 256), threads=2)
    return {"row": {**asdict(row), **changes}, "result": answer}


def cells(text: str, title: str) -> list[str]:
    """The cells of a table's row."""
    line = next(line for line in text.splitlines() if line.startswith(f"| {title} |"))
    return [cell.strip() for cell in line.strip("|").split("|")][1:]


def test_table_from_made_up_numbers() -> None:
    slow = result(20000.0, 500000.0, evaluations=5000, measured_evaluations=4, complete=False)
    unseen = result(4.0, outside=None, dtype="bfloat16", of_ceiling=0.3, ceilings=[400.0])
    text = table([record("default", result()), record("slow", slow), record("unseen", unseen)])
    assert cells(text, "DEFAULT") == [
        *("20", "1.91", "2 (1.8 to 3)", "1", "100", "120", "60 %", "2.5 %", "1.25 (0.50)"),
    ]
    assert cells(text, "SLOW")[:5] == [
        "5,000, calculated from 4",
        "1.91",
        "20,000 = 5.6 h (18,000 to 30,000)",
        "10,000",
        "500,000",
    ]
    assert cells(text, "UNSEEN")[6:8] == ["30 %", ""]


def test_failed_row_keeps_its_reason_and_the_others_their_numbers() -> None:
    reason = "med-seg-diff-pytorch cannot be imported, there is no beartype | einops"
    text = table([record("peer", {"failed": reason}), record("default", result())])
    assert cells(text, "PEER")[0] == "failed: med-seg-diff-pytorch cannot be imported, there is no beartype / einops"
    assert len(cells(text, "PEER")) == len(cells(text, "DEFAULT")) == 9
    assert cells(text, "DEFAULT")[3] == "1"
    assert cells(table([record("default", {"failed": "so"}), record("other", result())]), "OTHER")[3] == ""


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.01234, "0.0123"), (999.4, "999"), (2000.4, "2,000"), (7200, "7,200 = 2.0 h")]
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize("exponent", [-1.0, 0.0, 1.0, 1.7, 2.0])
def test_exponent_of_a_power_law(exponent: float) -> None:
    x = np.array([64, 128, 192, 512]) ** 2
    assert growth_exponent(list(x), list(3.5 * x**exponent)) == pytest.approx(exponent, abs=1e-9)
    scattered = 3.5 * x**exponent * np.array([1.02, 0.98, 0.98, 1.02])
    assert growth_exponent(list(x), list(scattered)) == pytest.approx(exponent, abs=0.02)


def test_exponent_of_one_point_is_none() -> None:
    assert math.isnan(growth_exponent([4.0, 4.0], [1.0, 2.0]))


def swept(title: str, sweep: str, power: float, positions: list[float]) -> list[dict[str, Any]]:
    answers = [result(0.1 * p**power, 3.0 * p, windows=p) for p in positions]
    return [record("k", a, title=title, sweep=sweep, position=p) for a, p in zip(answers, positions, strict=True)]


def test_growth_of_each_method() -> None:
    records = swept("ours", "image_size", 1.0, [4096, 65536]) + swept("theirs", "image_size", 1.5, [4096, 65536])
    text = scaling_table([*records, record("k", {"failed": "no"}, title="none", sweep="image_size")])
    ours, theirs = (
        cells(text.replace("pixels of the image | ", ""), "ours"),
        cells(text.replace("pixels of the image | ", ""), "theirs"),
    )
    assert ours[:2] == ["4,096, 65,536", "410, 6,554 = 1.8 h"]
    assert (ours[2:], theirs[2:]) == (["1.00", "1.00"], ["1.50", "1.00"])
    assert "none" not in text


def test_growth_with_the_volume_is_against_the_windows_that_were_run() -> None:
    records = swept("ours", "windows", 1.0, [8, 1, 4])
    for r in records:
        r["row"]["position"] = 0
    assert cells(scaling_table(records).replace("windows of the volume | ", ""), "ours")[0] == "1, 8"


def test_files_of_the_report(tmp_path: Path) -> None:
    records = [record("default", result()), record("peer", {"failed": "not installed"})]
    records += swept("ours", "members", 0.9, [1, 5])
    records.append(record("k", {"failed": "no time"}, title="ours", sweep="members"))
    text = write_report(tmp_path, "a machine", records)
    assert (tmp_path / "peers.md").read_text() == text
    assert text.startswith(
        "a machine\n\nMatrix products, median and range: 200 (190 to 230) GFLOP/s of float32, 2 threads.\n\n"
    )
    assert "## One fused mask, 256 x 256" in text
    assert "- ours, members, size 256 x 256: no time" in text
    kept = json.loads((tmp_path / "peers.json").read_text())
    assert (kept["machine"], len(kept["records"])) == ("a machine", 5)
    assert row_of(kept["records"][0]["row"]) == row_of(records[0]["row"])
    csv = pd.read_csv(tmp_path / "peers.csv")
    assert csv["seconds"].notna().tolist() == [True, False, True, True, False]
    assert csv["failed"].tolist()[1] == "not installed"
    with Image.open(tmp_path / "scaling.png") as image:
        assert np.asarray(image.convert("L")).std() > 0


def test_report_of_rows_that_all_failed(tmp_path: Path) -> None:
    text = write_report(tmp_path, "a machine", [record("peer", {"failed": "not installed"})])
    assert text.startswith("a machine\n\n## One fused mask")


def test_no_plot_where_nothing_was_swept(tmp_path: Path) -> None:
    text = write_report(tmp_path, "a machine", [record("default", result())])
    assert "## Growth" not in text
    assert not (tmp_path / "scaling.png").exists()


@pytest.mark.parametrize("quick", [False, True])
@pytest.mark.parametrize("name", list(SWEEPS))
def test_rows_of_a_sweep(name: str, quick: bool) -> None:
    rows = sweep_rows(name, 4, quick)
    values = SWEEPS[name].quick if quick else SWEEPS[name].values
    if name == "threads":
        values = tuple(v for v in values if v <= 4)
    assert len(rows) == len(values) * (5 if name == "image_size" else 1)
    assert all(r.sweep == name and json.loads(json.dumps(asdict(r))) for r in rows)
    if name in ("members", "steps"):
        key = {"members": "num_ensemble", "steps": "num_inference_steps"}[name]
        assert [r.settings["config"] for r in rows] == [{key: v} for v in values]
        assert {r.size for r in rows} == {(64, 64) if quick else (256, 256)}
    if name == "threads":
        assert [r.threads for r in rows] == [r.position for r in rows]


def test_usual_rows_are_those_of_the_issue() -> None:
    two, three = table_rows("2d"), table_rows("3d", window=32)
    assert {r.size for r in two} == {(256, 256)}
    assert {r.size for r in three} == {(128, 128, 64)}
    wanted = {"medsegdiff", "med_seg_diff_pytorch", "diffusion_model_unet", "basic_unet"}
    assert wanted <= {r.method for r in two} & {r.method for r in three}
    assert [r.settings.get("window") for r in three if r.method == "medsegdiff"] == [32] * 4
