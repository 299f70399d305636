# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from medsegdiff_monai.handlers.case_tables import CaseTables, save_csv
from medsegdiff_monai.inferers import EnsembleScores

__all__ = ["EnsembleTable"]

logger = logging.getLogger(__name__)

_COLUMNS = ("boundary_entropy_bits", "pairwise_dice", "predicted_dice")


class EnsembleTable(CaseTables):
    """Write how sure the ensemble is of each case, from its ``scores``.

    ``uncertainty.csv`` has a row for each case and region: the mean entropy in bits at the boundary, the Dice between
    members and the Dice that the fused mask is expected to have, see
    :class:`~medsegdiff_monai.inferers.EnsembleScores`. ``uncertainty.json`` is a list of the same with the
    ``sensitivity`` and ``specificity`` of each member by STAPLE. With a single member all of it is unavailable, not
    zero: the fields are empty, null in JSON, and the log says so.

    Args:
        output_dir: folder of the two files.
        regions: label values of each region by name, in the order of the channels. A region without any is one that
            the data set does not label: it has no row.

    Raises:
        InputError: when the folder cannot be written to.
    """

    def __init__(self, output_dir: str | os.PathLike[str], regions: Mapping[str, Sequence[int]]) -> None:
        super().__init__(output_dir)
        self.labelled = {name: c for c, (name, values) in enumerate(regions.items()) if values}

    def found(self, item: dict[str, Any]) -> dict[str, Any]:
        """The scores of a case, region by region."""
        return {"scores": [{"region": name, **_of_channel(item["scores"], c)} for name, c in self.labelled.items()]}

    def write(self, cases: list[dict[str, Any]]) -> None:
        """Write the scores of all cases."""
        entries = [{"case": case["case"], **scores} for case in cases for scores in case["scores"]]
        table = pd.DataFrame(entries, columns=["case", "region", *_COLUMNS])
        save_csv(self.output_dir / "uncertainty.csv", table)
        self.save_json("uncertainty.json", entries)
        if entries and all(entry["pairwise_dice"] is None for entry in entries):
            logger.info("The uncertainty is unavailable with a single member: give num_ensemble at least 2.")


def _of_channel(scores: EnsembleScores, channel: int) -> dict[str, Any]:
    pairs, sensitivity, specificity = scores.pairwise_dice, scores.sensitivity, scores.specificity
    if pairs is None or sensitivity is None or specificity is None:
        return dict.fromkeys((*_COLUMNS, "sensitivity", "specificity"))
    numbers = (float(s[0, channel]) for s in (scores.boundary_entropy, pairs, scores.predicted_dice))
    rates = {"sensitivity": sensitivity[0, :, channel].tolist(), "specificity": specificity[0, :, channel].tolist()}
    return {**dict(zip(_COLUMNS, numbers, strict=True)), **rates}
