# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0


"""What the uncertainty of one set of weights is worth: its calibration, and whether it ranks cases by their errors."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from monai.bundle import ConfigParser
from monai.utils import set_determinism

from medsegdiff_monai.data import load_cases
from medsegdiff_monai.inferers import EnsembleScores
from medsegdiff_monai.metrics import Reliability

from .grid import DATASETS, Cell, read_configs, without_files
from .methods import METHODS

__all__ = ["ROWS", "SCORES", "Row", "score_row"]

# Scores by which cases are ranked: each is the surer the larger it is.
SCORES = {"predicted_dice": "predicted Dice", "pairwise_dice": "Dice between members", "certainty": "certainty at edge"}
HELD_OUT = ("validation", "test")


@dataclasses.dataclass(frozen=True)
class Row:
    """A row of the tables.

    Attributes:
        key: short name.
        title: what the tables and plots call it.
        method: name of the method in ``methods.py``.
        committed: whether its weights are the bundle's own, and not those of a training of the benchmark.
        settings: further settings of the bundle's inference.
        passes: number of members on images and on volumes, where it is not the method's own.
    """

    key: str
    title: str
    method: str
    committed: bool = False
    settings: dict[str, Any] = dataclasses.field(default_factory=dict)
    passes: tuple[int, int] | None = None


_AS_TRAINED = {"temperature": 1.0}
ROWS = (
    Row("bundle", "the bundle as it is", "medsegdiff", committed=True),
    Row("bundle_untempered", "the bundle without its temperature", "medsegdiff", committed=True, settings=_AS_TRAINED),
    Row("medsegdiff", "MedSegDiff", "medsegdiff", settings=_AS_TRAINED),
    Row("basic_unet", "BasicUNet, its probability", "basic_unet", settings=_AS_TRAINED),
    Row("mc_dropout_unet", "BasicUNet, Monte-Carlo dropout", "mc_dropout_unet", settings=_AS_TRAINED, passes=(20, 5)),
)


def _parser(row: Row, cell: Cell, weights: Path, data: Path, output: Path) -> ConfigParser:
    """The bundle's evaluation of all held-out cases, with the scores of each and without the files."""
    dataset = DATASETS[cell.dataset]
    cases = [case for section in HELD_OUT for case in load_cases(str(data / dataset.folder), section)]
    settings = {
        **(dataset.settings if row.committed else cell.settings()),
        "device": torch.device("cpu"),
        "dataset_dir": str(data / dataset.folder),
        "dataset#data": cases,
        "output_dir": str(output),
        **row.settings,
    }
    parser = read_configs(dataset, "inference.json", "evaluate.json", **settings)
    if not row.committed:
        steps, members = METHODS[row.method].tests(len(dataset.size))[0]
        members = members if row.passes is None else row.passes[len(dataset.size) - 2]
        parser.update({"checkpoint": str(weights), "num_inference_steps": steps, "num_ensemble": members})
    parser["postprocessing#transforms"] = without_files(parser)
    parser["ensemble#scores"] = True
    return parser


def _score(scores: EnsembleScores, channels: list[int]) -> dict[str, float]:
    """The scores of a case, mean over its labelled regions; NaN where there is none."""
    predicted, pairs = scores.predicted_dice[0], scores.pairwise_dice
    found = {"predicted_dice": predicted, "certainty": 1.0 - scores.boundary_entropy[0]}
    found["pairwise_dice"] = torch.full_like(predicted, float("nan")) if pairs is None else pairs[0]
    return {name: float(values[channels].mean()) for name, values in found.items()}


def score_row(row: Row, cell: Cell, weights: Path, data: Path, output: Path) -> dict[str, Any]:
    """Evaluate one set of weights on all cases that it was not trained on.

    Args:
        row: the row.
        cell: the training of its weights, or of a row that has the same data set.
        weights: its weights, where they are not the bundle's own.
        data: folder of the data sets.
        output: folder of the evaluation's own table.

    Returns:
        ``cases`` by column, and ``calibration`` on the test cases alone: its ``errors`` and its ``bins``.
    """
    set_determinism(cell.seed)
    dataset = DATASETS[cell.dataset]
    parser = _parser(row, cell, weights, data, output)
    regions = parser.get_parsed_content("regions")
    labelled = [i for i, values in enumerate(regions.values()) if values]
    sections = [s for s in HELD_OUT for _ in load_cases(str(data / dataset.folder), s)]
    reliability = Reliability()
    found: list[dict[str, float]] = []

    def keep(item: dict[str, Any]) -> dict[str, Any]:
        if sections[len(found)] == "test":
            reliability.update(item["probability"][labelled], item["label"][labelled])
        found.append(_score(item["scores"], labelled))
        return item

    parser["postprocessing#transforms"] = [*parser["postprocessing#transforms"], keep]
    parser.get_parsed_content("evaluator").run()
    parser.get_parsed_content("dataset").report()
    table = pd.read_csv(output / "metrics.csv", dtype={"case": str})
    dice = table[[c for c in table.columns if c == "dice" or c.startswith("dice_")]].mean(axis=1)
    cases = pd.DataFrame({"case": table["case"], "section": sections, "dice": dice, **pd.DataFrame(found)})
    errors = reliability.errors()
    return {
        "row": row.key,
        "dataset": cell.dataset,
        "members": parser["num_ensemble"],
        "temperature": parser["temperature"],
        "cases": cases.to_dict(orient="list"),
        "calibration": {"errors": errors, "bins": dataclasses.asdict(reliability.bins())},
    }
