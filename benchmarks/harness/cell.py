# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0


"""One cell of the accuracy benchmark: a training for a given time and its tests, from a bundle's own configuration."""

from __future__ import annotations

import json
import platform
import resource
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from monai.bundle import ConfigParser
from monai.utils import set_determinism

from medsegdiff_monai.data import load_cases
from medsegdiff_monai.metrics import Reliability, ReliabilityBins
from medsegdiff_monai.utils import replace_atomically

from .cost import TimedInferer, network_size
from .grid import DATASETS, Cell, Dataset, read_configs, without_files
from .kept import write_json

__all__ = ["run_cell"]

_BINS = 20


def _parser(cell: Cell, dataset: Dataset, files: list[str], settings: dict[str, Any]) -> ConfigParser:
    own = {**cell.settings(), "device": torch.device(cell.device), "seed": cell.seed}
    return read_configs(dataset, *files, **{**own, **settings})


def _training_parser(cell: Cell, folder: Path, data: Path) -> ConfigParser:
    """The bundle's training, for a time in place of a number of epochs, that does not choose a model by validation.

    The rate has fallen to zero when the time is over, and the smallest data set has 4 validation cases, whose Dice is
    too noisy a judge between models: what counts is the averaged weights at the end.
    """
    dataset = DATASETS[cell.dataset]
    parser = _parser(
        cell,
        dataset,
        ["train.json"],
        {
            "ckpt_dir": str(folder),
            "output_dir": str(folder / "board"),
            "dataset_dir": str(data / dataset.folder),
            "resume": (folder / "last.pt").is_file(),
            "max_epochs": 10**6,
            "val_interval": 10**6,
            "train#dataset#data": dataset.training(data, cell.seed),
            "budget": {
                "_target_": "harness.budget.TimeBudget",
                "seconds": cell.seconds,
                "device": "@device",
                "evaluator": "@validate#evaluator",
            },
            "lr_scheduler": {
                "_target_": "harness.budget.BudgetCosineSchedule",
                "optimizer": "@optimizer",
                "budget": "@budget",
            },
            "last_model#objects#budget": "@budget",
        },
    )
    attach = {"_target_": "medsegdiff_monai.handlers.Attach", "handler": "@budget"}
    handlers = parser["train#handlers"]
    parser["train#handlers"] = [*handlers[:-1], attach, handlers[-1]]
    parser["validate#handlers"] = [h for h in parser["validate#handlers"] if h.get("handler") != "@best_model"]
    saved = parser["last_model#objects"]
    parser["last_model#objects"] = {name: content for name, content in saved.items() if name != "best"}
    return parser


def _train(cell: Cell, folder: Path, data: Path) -> dict[str, Any]:
    set_determinism(cell.seed)
    parser = _training_parser(cell, folder, data)
    trainer = parser.get_parsed_content("train#trainer")
    for section in ("train", "validate"):
        parser.get_parsed_content(f"{section}#dataset").report()
    trainer.run()
    weights = parser.get_parsed_content("averaged_network").state_dict()
    replace_atomically(folder / "model.pt", lambda path: torch.save(weights, path))
    budget = parser.get_parsed_content("budget")
    seconds, iterations, _ = budget.curve[-1]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
    if cell.device != "cpu":
        peak = torch.cuda.max_memory_allocated() / 1024**3
    return {
        "seconds": seconds,
        "iterations": iterations,
        "images_per_second": iterations * parser["batch_size"] / seconds,
        "peak_memory_gb": peak,
        "curve": budget.curve,
    }


def _size(cell: Cell) -> dict[str, float]:
    dataset = DATASETS[cell.dataset]
    parser = _parser(cell, dataset, ["inference.json"], {})
    return network_size(parser, _context_channels(cell), cell.size or dataset.size)


def _context_channels(cell: Cell) -> int:
    return int(read_configs(DATASETS[cell.dataset], "train.json")["denoiser"]["context_channels"])


def _test_parser(cell: Cell, data: Path, tested: str, settings: dict[str, Any]) -> ConfigParser:
    """The bundle's evaluation of one data set: of the cell's section, or of all cases where another one is tested."""
    dataset = DATASETS[cell.dataset]
    sections = [cell.section] if tested == dataset.folder else ["training", "validation", "test"]
    cases = [case for section in sections for case in load_cases(str(data / tested), section)]
    own = {"dataset_dir": str(data / tested), "dataset#data": cases, **settings}
    return _parser(cell, dataset, ["inference.json", "evaluate.json"], own)


def _screen(cell: Cell, data: Path) -> None:
    """Read all cases of all tests once, so that a damaged one is found before any training."""
    for tested in cell.tested_sets:
        _test_parser(cell, data, tested, {"dataset#cache_rate": 0.0}).get_parsed_content("dataset").report()


def _test(cell: Cell, folder: Path, data: Path, tested: str, steps: int, members: int) -> dict[str, Any]:
    """The bundle's evaluation of one data set, without the files, with the calibration of its probabilities."""
    output = folder / "tests" / f"{tested}_{steps}x{members}"
    parser = _test_parser(
        cell,
        data,
        tested,
        {
            "output_dir": str(output),
            "checkpoint": str(folder / "model.pt"),
            "temperature": 1.0,  # the bundle's own belongs to its weights
            "num_inference_steps": steps,
            "num_ensemble": members,
            "member_batch_size": members,
        },
    )
    regions = parser.get_parsed_content("regions")
    labelled = [i for i, values in enumerate(regions.values()) if values]
    reliability = Reliability(_BINS)

    def count(item: dict[str, Any]) -> dict[str, Any]:
        reliability.update(item["probability"][labelled], item["label"][labelled])
        return item

    parser["postprocessing#transforms"] = [*without_files(parser), count]
    evaluator = parser.get_parsed_content("evaluator")
    evaluator.inferer = timed = TimedInferer(evaluator.inferer, torch.device(cell.device))
    evaluator.run()
    parser.get_parsed_content("dataset").report()
    table = pd.read_csv(output / "metrics.csv", dtype={"case": str})
    return {
        "data": tested,
        "steps": steps,
        "members": members,
        "evaluations": steps * members,
        "seconds_per_case": timed.seconds / len(table),
        "cases": table.to_dict(orient="list"),
        "calibration": _sums(reliability.bins()),
    }


def _sums(bins: ReliabilityBins) -> dict[str, list[float]]:
    """Number of voxels of each bin, sum of their probabilities and number of positives, which several runs can add."""
    means = {"confidence": bins.confidence, "positive": bins.frequency}
    sums = {name: [n * (mean or 0.0) for n, mean in zip(bins.count, values)] for name, values in means.items()}
    return {"count": bins.count, **sums}


def run_cell(cell: Cell, folder: Path, data: Path) -> None:
    """Train and test one cell and leave ``result.json`` in its folder.

    An interrupted training goes on; one that has ended, which ``training.json`` says, is not repeated.

    Args:
        cell: the cell.
        folder: its folder.
        data: folder of the data sets.
    """
    torch.set_num_threads(cell.threads)
    folder.mkdir(parents=True, exist_ok=True)
    ended = folder / "training.json"
    if not ended.is_file():
        _screen(cell, data)
        write_json(ended, _train(cell, folder, data))
    own, *others = cell.tested_sets
    tests = [_test(cell, folder, data, own, *setting) for setting in cell.tests]
    tests += [_test(cell, folder, data, other, *cell.tests[0]) for other in others]
    write_json(
        folder / "result.json",
        {
            "machine": f"{platform.machine()}, torch {torch.__version__}",
            "version": version("medsegdiff-monai"),
            "size": _size(cell),
            "training": json.loads(ended.read_text(encoding="utf-8")),
            "tests": tests,
        },
    )
    (folder / "last.pt").unlink(missing_ok=True)
