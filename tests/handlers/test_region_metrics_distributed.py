# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

"""The module is also the program of the processes that its test starts."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from monai.data import DataLoader, Dataset, DistributedSampler, MetaTensor
from monai.engines import SupervisedEvaluator
from torch import nn

from medsegdiff_monai.handlers import EnsembleTable, MeasurementsTable, MetricsTable, RegionMetricHandler
from medsegdiff_monai.inferers import EnsembleScores
from medsegdiff_monai.measurements import Measurement
from medsegdiff_monai.metrics import CupToDiscRatio, RegionDice

REGIONS = {"disc": [1, 2], "cup": [2]}


def cases() -> list[dict[str, torch.Tensor]]:
    """Three random cases, of which two processes get two and one."""
    generator = torch.Generator().manual_seed(4)
    drawn = [(torch.rand(2, 2, 8, 8, generator=generator) < 0.4).float() for _ in range(3)]
    return [
        {"image": MetaTensor(pred, meta={"filename_or_obj": f"case {i}.png"}), "label": label}
        for i, (pred, label) in enumerate(drawn)
    ]


def described(case: dict[str, Any]) -> dict[str, Any]:
    """A case with scores and measurements, which follow from its prediction."""
    share = case["pred"].as_tensor().flatten(1).mean(1)[None]
    rates = torch.stack([share, share], dim=1)
    scores = EnsembleScores(share, share, share, rates, rates)
    return {**case, "scores": scores, "measurements": [Measurement("disc", "area", "mm2", 10 * float(share[0, 0]))]}


def evaluate(folder: Path) -> dict[str, float]:
    """Score the cases, those of this process where there are several, as a network that answers with the image."""
    dataset = Dataset(cases())
    sampler = DistributedSampler(dataset, even_divisible=False, shuffle=False) if dist.is_initialized() else None
    evaluator = SupervisedEvaluator(
        device=torch.device("cpu"),
        val_data_loader=DataLoader(dataset, batch_size=1, sampler=sampler),
        network=nn.Identity(),
        key_val_metric={"dice": RegionMetricHandler(RegionDice(), REGIONS)},
        additional_metrics={"cdr": RegionMetricHandler(CupToDiscRatio(), REGIONS)},
        postprocessing=described,
        val_handlers=[MetricsTable(folder), EnsembleTable(folder, REGIONS), MeasurementsTable(folder)],
    )
    evaluator.run()
    return evaluator.state.metrics


def test_two_processes_make_the_table_of_one(tmp_path: Path) -> None:
    expected = evaluate(tmp_path / "alone")
    command = [sys.executable, __file__, str(tmp_path)]
    processes = [subprocess.Popen([*command, str(rank)], stderr=subprocess.PIPE, text=True) for rank in range(2)]
    for process in processes:
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
    for rank in range(2):
        metrics = json.loads((tmp_path / f"{rank}.json").read_text())
        assert {k: round(v, 6) for k, v in metrics.items()} == {k: round(v, 6) for k, v in expected.items()}
    for file, rows in (("metrics.csv", 3), ("uncertainty.csv", 6), ("measurements.csv", 3)):
        alone, shared = ((tmp_path / name / file).read_text().splitlines() for name in ("alone", "rank 0"))
        assert len(alone) == 1 + rows
        assert (shared[0], sorted(shared[1:])) == (alone[0], sorted(alone[1:]))
    for file in ("uncertainty.json", "measurements.json"):
        one, other = (json.loads((tmp_path / name / file).read_text()) for name in ("alone", "rank 0"))
        assert sorted(one, key=str) == sorted(other, key=str)
    assert not (tmp_path / "rank 1").exists()


if __name__ == "__main__":
    root, own = Path(sys.argv[1]), int(sys.argv[2])
    dist.init_process_group("gloo", init_method=f"file://{root}/store", world_size=2, rank=own)
    outcome = evaluate(root / f"rank {own}")
    (root / f"{own}.json").write_text(json.dumps(outcome))
    dist.destroy_process_group()
