# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine, Events
from monai.handlers import StatsHandler, TensorBoardStatsHandler
from monai.utils.enums import CommonKeys as Keys
from torch.utils.tensorboard import SummaryWriter

from medsegdiff_monai.inferers.ensemble import binary_entropy
from medsegdiff_monai.utils import default_device, is_main_process, shared_mean, typed_text
from medsegdiff_monai.visualize import PicturedCase, validation_picture

__all__ = ["TrainingLossBoard", "ValidationBoard"]

_SHOWN = (Keys.IMAGE, Keys.LABEL, Keys.PRED, "members", "probability")


class _Board:
    """Base of what writes into a folder of TensorBoard's."""

    def __init__(self, log_dir: str) -> None:
        self.log_dir = typed_text(log_dir, "output_dir")

    @cached_property
    def writer(self) -> SummaryWriter:
        """The open file: not before there is something to write, for the run may be refused."""
        return SummaryWriter(self.log_dir)


class TrainingLossBoard(_Board):
    """Training loss of each iteration as TensorBoard scalars: the mean over all processes, which one writes.

    Args:
        log_dir: folder of TensorBoard's files.
    """

    def attach(self, engine: Engine) -> None:
        """Attach to a MONAI trainer, in every process."""
        engine.add_event_handler(Events.ITERATION_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        """Write the loss of an iteration."""
        output: Any = engine.state.output
        loss = torch.tensor(float(output[0][Keys.LOSS]), dtype=torch.float64, device=default_device())
        mean = float(shared_mean(loss))
        if is_main_process():
            self.writer.add_scalar("train_loss", mean, engine.state.iteration)
            self.writer.flush()


class ValidationBoard(_Board):
    """The metrics of each validation in the log and as TensorBoard scalars, and a picture of its last case.

    It is the first case of the last batch, as :func:`~medsegdiff_monai.visualize.validation_picture` shows it. The
    uncertainty is the entropy of the probability, which is what postprocessing leaves under ``probability``, or else
    the masks; with a single member there is none.

    Args:
        log_dir: folder of TensorBoard's files.
        regions: the regions that the channels of masks stand for.
        frame: ``"RAS"`` for volumes whose axes run to the patient's right, front and head, else None.
    """

    def __init__(self, log_dir: str, regions: Mapping[str, Sequence[int]], frame: str | None = None) -> None:
        super().__init__(log_dir)
        self.regions = regions
        self.frame = frame

    def attach(self, engine: Engine) -> None:
        """Attach to a MONAI evaluator; of several processes one writes."""
        if is_main_process():
            _Stats(name="validation", iteration_log=False).attach(engine)
            engine.add_event_handler(Events.EPOCH_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        """Write the metrics of a validation, and the picture."""
        TensorBoardStatsHandler(self.writer, iteration_log=False).epoch_completed(engine)
        output: Any = engine.state.output
        picture = validation_picture(self._case(output[0], f"Epoch {engine.state.epoch}"))
        self.writer.add_image("validation", picture, engine.state.epoch, dataformats="HWC")
        self.writer.flush()

    def _case(self, item: Mapping[str, Any], name: str) -> PicturedCase:
        """The case as it came out of postprocessing."""
        present = [key for key in _SHOWN if item.get(key) is not None]
        arrays = {key: np.asarray(item[key].detach().float().cpu()) for key in present}
        image, reference, masks = (arrays[key] for key in (Keys.IMAGE, Keys.LABEL, Keys.PRED))
        channels = [c for c, values in enumerate(self.regions.values()) if values]
        # Members may be channels by now, and of several readers' masks the first one's are shown.
        members = arrays.get("members", masks).reshape(-1, *masks.shape)[:, channels]
        several = len(members) > 1
        probability = arrays.get("probability", masks)[channels]
        return PicturedCase(
            name=name,
            image=np.moveaxis(image, 0, -1) if len(image) == 3 and image.ndim == 3 else image[0],
            regions=[list(self.regions)[c] for c in channels],
            masks=masks[channels],
            probability=probability,
            uncertainty=binary_entropy(torch.from_numpy(probability)).numpy() if several else None,
            reference=reference[channels],
            members=members >= 0.5 if several else None,
            frame=self.frame,
        )


class _Stats(StatsHandler):
    """MONAI's, without the traceback that it logs of what ends a validation, also of Ctrl-C."""

    def exception_raised(self, _engine: Engine, e: Exception) -> None:
        """Let the error go on, which ignite has stopped."""
        raise e
