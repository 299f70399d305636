# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

import logging
from collections.abc import Callable, Sequence
from typing import Any

import torch
from ignite.engine import Events
from monai.data import decollate_batch
from monai.engines import SupervisedEvaluator
from monai.engines.utils import IterationEvents, engine_apply_transform
from monai.utils import convert_to_dst_type
from monai.utils.enums import CommonKeys as Keys

from medsegdiff_monai.data.cases import name_in_metadata
from medsegdiff_monai.data.loaders import FAILURES
from medsegdiff_monai.utils import InputError, is_on, printable, world_size

__all__ = ["DiffusionSegmentationEvaluator"]

logger = logging.getLogger(__name__)


class DiffusionSegmentationEvaluator(SupervisedEvaluator):
    """MONAI's ``SupervisedEvaluator`` that hands on the members of the ensemble beside the fused probability.

    Its inferer is a :class:`DiffusionSegmentationInferer`. Postprocessing finds the fused probability of a case under
    ``pred``, of shape ``(C, *spatial)``, and the members, one behind the other, under ``members``, of shape
    ``(N * C, *spatial)``. With ``amp=True`` the network runs under autocast on whatever device it is on (MONAI's
    evaluator knows CUDA only).

    With ``on_failure``, a case that fails, in reading, prediction, inversion, saving or anything else of the
    postprocessing, is left out of metrics and tables, and the run goes on with the others.

    Args:
        on_failure: called with the name of a case that fails and the exception, such as
            :meth:`~medsegdiff_monai.data.ScreenedDataset.leave_out`; None lets the exception end the run.
        args: those of ``SupervisedEvaluator``.
        kwargs: those of ``SupervisedEvaluator``.

    Raises:
        InputError: when ``amp`` is a word, and in a run in which no case could be processed.
    """

    def __init__(self, *args: Any, on_failure: Callable[[str, Exception], None] | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.amp = is_on(self.amp, "amp")
        self.on_failure = on_failure
        self._done = 0
        self.add_event_handler(Events.STARTED, self._start)

    def _register_postprocessing(self, posttrans: Callable) -> None:
        """Let each case go through the postprocessing by itself."""

        def postprocess(engine: Any) -> None:
            inputs, outputs = engine.state.batch, engine.state.output
            engine.state.batch, engine.state.output = [], []
            for batch, output in zip(inputs, outputs, strict=True):
                try:
                    done = engine_apply_transform(batch, output, posttrans)
                except Exception as e:  # whatever fails in one case
                    self._fail([output[Keys.IMAGE]], e)
                else:
                    engine.state.batch.append(done[0])
                    engine.state.output.append(done[1])

        self.add_event_handler(IterationEvents.MODEL_COMPLETED, postprocess)

    def _start(self, engine: Any) -> None:
        self._done = 0

    def _iteration(self, engine: Any, batchdata: dict[str, Any]) -> Any:
        """Segment one batch; see ``SupervisedEvaluator``."""
        for failure in batchdata.pop(FAILURES, ()):
            self._report(failure.case, failure.error)
        engine.state.output = []
        if batchdata:
            images = decollate_batch(batchdata[Keys.IMAGE])
            try:
                self._predict(engine, batchdata)
            except Exception as e:  # whatever the network, the inferer or the device raise
                engine.state.output = []
                self._fail(images, e)
            else:
                engine.fire_event(IterationEvents.FORWARD_COMPLETED)
                engine.fire_event(IterationEvents.MODEL_COMPLETED)
        self._done += len(engine.state.output)
        if self._done == 0 and engine.state.iteration == engine.state.epoch_length and world_size() == 1:
            raise InputError("None of the cases could be processed: see the lines above for the reason of each.")
        return engine.state.output

    def _predict(self, engine: Any, batchdata: dict[str, torch.Tensor]) -> None:
        batch = engine.prepare_batch(batchdata, engine.state.device, engine.non_blocking, **engine.to_kwargs)
        inputs, targets = batch[:2]
        autocast = torch.autocast(inputs.device.type, enabled=engine.amp, **engine.amp_kwargs)
        with engine.mode(engine.network), autocast:
            prediction = engine.inferer.predict(inputs, engine.network)
        members = convert_to_dst_type(prediction.members.flatten(1, 2), inputs)[0]
        pred = prediction.probability
        engine.state.output = {Keys.IMAGE: inputs, Keys.LABEL: targets, Keys.PRED: pred, "members": members}

    def _fail(self, images: Sequence[Any], error: Exception) -> None:
        for image in images:
            self._report(name_in_metadata(image.meta), error)

    def _report(self, case: str, error: Exception) -> None:
        if self.on_failure is None:
            raise error
        logger.debug("Case %s", printable(case), exc_info=error)
        self.on_failure(case, error)
