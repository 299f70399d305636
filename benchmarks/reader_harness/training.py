# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

"""Training of the thyroid bundle for a given time, from its own configuration, and its sampler afterwards."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from ignite.engine import Engine, Events
from monai.bundle import ConfigWorkflow

from medsegdiff_monai.apps.bundle import Bundle
from medsegdiff_monai.inferers import SegmentationPrediction
from medsegdiff_monai.utils import InputError

__all__ = ["BUNDLE", "TrainedBundle", "train"]

BUNDLE = Path(__file__).resolve().parents[2] / "bundle" / "thyroid_ultrasound_medsegdiff"
VALIDATIONS = 10
PILOT_EPOCHS = 2


def files(*names: str) -> list[str]:
    """Configuration files of the bundle."""
    return [str(BUNDLE / "configs" / f"{name}.json") for name in names]


class ProcessorTime:
    """Seconds of processor time that an engine takes for each pass over its data, by the last one."""

    def __init__(self, engine: Engine) -> None:
        self.begun = self.seconds = 0.0
        engine.add_event_handler(Events.EPOCH_STARTED, self._begin)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._end)

    def _begin(self) -> None:
        self.begun = time.process_time()

    def _end(self) -> None:
        self.seconds = time.process_time() - self.begun


def run(overlays: list[str], folder: Path, epochs: int, val_interval: int, **overrides: Any) -> tuple[float, float]:
    """Train; gives the processor time of the last epoch, with a validation, and of the last validation, in seconds."""
    workflow = ConfigWorkflow(
        files("train", *overlays),
        workflow_type="train",
        logging_file=False,
        bundle_root=str(BUNDLE),
        ckpt_dir=str(folder),
        output_dir=str(folder / "log"),
        max_epochs=epochs,
        val_interval=val_interval,
        **overrides,
    )
    workflow.initialize()
    engines = [workflow.parser.get_parsed_content(name) for name in ("train#trainer", "validate#evaluator")]
    clocks = [ProcessorTime(engine) for engine in engines]
    workflow.run()
    return clocks[0].seconds, clocks[1].seconds


def train(overlays: list[str], folder: Path, minutes: float, **overrides: Any) -> int:
    """Train the bundle for about the given time, of which a few epochs tell what it is enough for.

    Args:
        overlays: names of the overlays on ``train.json``.
        folder: folder of the weights.
        minutes: processor time of the training, with its validations.
        overrides: further keys of the configuration.

    Returns:
        Number of epochs.

    Raises:
        InputError: when the time is not enough for an epoch.
    """
    both, validation = run(overlays, folder / "pilot", PILOT_EPOCHS, PILOT_EPOCHS, **overrides)
    epoch = both - validation
    epochs = int((60.0 * minutes - VALIDATIONS * validation) / epoch)
    if epochs < 1:
        raise InputError(f"{minutes} minutes are not enough for an epoch of {epoch:.0f} s: give more.")
    run(overlays, folder, epochs, max(1, epochs // VALIDATIONS), **overrides)
    return epochs


class TrainedBundle:
    """A trained bundle that segments.

    Args:
        overlays: names of the overlays on ``inference.json`` and its overlays for readers.
        folder: folder of the weights.
        overrides: further keys of the configuration.
    """

    def __init__(self, overlays: list[str], folder: Path, **overrides: Any) -> None:
        names = [f"{overlay}.json" for overlay in ("readers", "readers_evaluate", *overlays)]
        self.bundle = Bundle(BUNDLE, names, checkpoint=folder / "model.pt", device="cpu", **overrides)
        self.dataset: Any = self.bundle.get("dataset")

    def predict(self, case: int) -> SegmentationPrediction:
        """Segment a case of the section, from noise of its own."""
        self.bundle.inferer.seed = case
        return self.bundle.inferer.predict(self.dataset[case]["image"][None], self.bundle.network)
