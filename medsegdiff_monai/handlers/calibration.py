# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from ignite.engine import Engine, Events
from monai.config import PathLike
from monai.engines import Evaluator

from medsegdiff_monai.handlers.tables import save_csv
from medsegdiff_monai.metrics import Reliability
from medsegdiff_monai.utils import check_writable, is_main_process, shared_mean, typed_text, world_size
from medsegdiff_monai.visualize import save_reliability_diagram

__all__ = ["CalibrationReport"]

logger = logging.getLogger(__name__)


class CalibrationReport:
    """Write the calibration of an evaluation's probabilities: ``calibration.csv`` and ``reliability.png``.

    The table has the expected (``ece``) and adaptive (``ace``) calibration error, the Brier score (``brier``) and the
    negative log-likelihood in nats (``nll``) over all voxels of all cases, for each region that the data label and for
    all of them together (``pooled``), and the number of cases; see :class:`~medsegdiff_monai.metrics.Reliability`. Of
    several processes, the main one writes what all have counted.

    Postprocessing has to leave each case's ``probability`` and ``label``, both of shape ``(C, *spatial)``. Cases
    without a label do not count; where there are no others, nothing is written.

    Args:
        output_dir: folder of the two files.
        regions: label values of each region by name, in the order of the channels. A region without any is one that
            the data do not label: it is left out.

    Raises:
        InputError: when the folder cannot be written to.
    """

    def __init__(self, output_dir: PathLike, regions: Mapping[str, Sequence[int]]) -> None:
        self.output_dir = Path(typed_text(output_dir, "output_dir"))
        if is_main_process():
            check_writable(self.output_dir)
        self.channels = {name: c for c, (name, values) in enumerate(regions.items()) if values}

    def attach(self, engine: Engine) -> None:
        """Attach to an evaluator."""
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._collect)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._write)

    def _start(self, engine: Engine) -> None:
        self.cases = 0
        self.reliability = {name: Reliability() for name in self.channels}

    def _collect(self, engine: Engine) -> None:
        output: Any = engine.state.output
        labelled = [item for item in output if item.get("label") is not None]
        self.cases += len(labelled)
        for item in labelled:
            for name, c in self.channels.items():
                self.reliability[name].update(item["probability"][c], item["label"][c])

    def _write(self, engine: Evaluator) -> None:
        device = torch.device(engine.state.device)
        cases = round(float(shared_mean(torch.tensor(float(self.cases), device=device))) * world_size())
        if cases == 0:
            return
        pooled = Reliability()
        for reliability in self.reliability.values():
            reliability.gather(device)
            pooled.add(reliability)
        if not is_main_process():
            return
        series = {**self.reliability, "pooled": pooled}
        table = pd.DataFrame([{"region": name, **r.errors(), "cases": cases} for name, r in series.items()])
        save_csv(self.output_dir / "calibration.csv", table)
        shown = self.reliability if len(self.reliability) > 1 else {"pooled": pooled}
        title = f"How often probabilities came true ({cases} cases)"
        bins = {name: r.bins() for name, r in shown.items()}
        save_reliability_diagram(self.output_dir / "reliability.png", bins, title)
        logger.info("Calibration over %d cases:\n%s", cases, table.to_string(index=False, float_format="%.4f"))
