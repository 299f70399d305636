# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
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
from medsegdiff_monai.utils import InputError, printable, return_freed_memory, world_size

__all__ = ["DiffusionSegmentationEvaluator", "MemberMeasurements"]

logger = logging.getLogger(__name__)

_LARGEST_GROUP = 2**22  # elements of the maps that are measured at a time: more save no time and cost memory


@dataclass
class MemberMeasurements:
    """What a transform has made of each member of a case.

    Attributes:
        items: one for each member, in order.
    """

    items: list[Any] = field(default_factory=list)


class DiffusionSegmentationEvaluator(SupervisedEvaluator):
    """MONAI's ``SupervisedEvaluator`` that keeps, beside the fused probability, how uncertain it is.

    Its inferer is a :class:`DiffusionSegmentationInferer`. Postprocessing finds the fused probability under ``pred``
    and the uncertainty under ``uncertainty``, both of shape ``(C, *spatial)`` for a case. With ``amp=True`` the network
    runs under autocast on whatever device it is on (MONAI's evaluator knows CUDA only).

    With ``on_failure``, a case that fails, in reading, prediction, inversion, saving or anything else of the
    postprocessing, is left out of metrics and tables, and the run goes on with the others.

    Args:
        details: whether postprocessing also finds the maps ``deviation``, ``mutual_information`` and
            ``expected_entropy`` (the first two not with a single member), see :class:`SegmentationPrediction`, and
            ``scores``, a :class:`CaseScores`.
        member_postprocessing: transform of a case ``{"image", "members"}``, which the members of each case go through
            as they are drawn, ``members`` being some of one batch, of shape ``(n, C, *spatial)``. The list that it
            leaves under ``measured``, an item for each of them, goes on under ``member_measurements``, a
            :class:`MemberMeasurements`.
        keep_members: whether postprocessing also finds the ``members``, of shape ``(N, C, *spatial)``.
        on_failure: called with the name of a case that fails and the exception, such as
            :meth:`~medsegdiff_monai.data.ScreenedDataset.leave_out`; None lets the exception end the run.
        args: those of ``SupervisedEvaluator``.
        kwargs: those of ``SupervisedEvaluator``.

    Raises:
        InputError: in a run in which no case could be processed.
    """

    def __init__(
        self,
        *args: Any,
        details: bool = False,
        member_postprocessing: Callable[[dict[str, Any]], dict[str, Any]] | None = None,
        keep_members: bool = False,
        on_failure: Callable[[str, Exception], None] | None = None,
        **kwargs: Any,
    ) -> None:
        self._by_case: list[dict[str, Any]] = []
        self._done = 0
        super().__init__(*args, **kwargs)
        self.details = details
        self.member_postprocessing = member_postprocessing
        self.keep_members = keep_members
        self.on_failure = on_failure
        self.add_event_handler(Events.STARTED, self._start)

    def _register_decollate(self) -> None:
        """Give each case what belongs to it, behind MONAI's own step, which takes apart nothing but tensors."""
        super()._register_decollate()
        self.add_event_handler(IterationEvents.MODEL_COMPLETED, self._give_to_cases)

    def _give_to_cases(self, engine: Any) -> None:
        for case, found in zip(engine.state.output, self._by_case, strict=True):
            case.update(found)

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
        engine.state.output = {Keys.IMAGE: inputs, Keys.LABEL: targets}
        measured = self.member_postprocessing is not None
        self._by_case = [{"member_measurements": MemberMeasurements()} if measured else {} for _ in inputs]
        measure = partial(self._measure, inputs) if measured else None
        autocast = torch.autocast(inputs.device.type, enabled=engine.amp, **engine.amp_kwargs)
        with engine.mode(engine.network), autocast:
            prediction = engine.inferer.predict(inputs, engine.network, self.keep_members, measure)
        engine.state.output[Keys.PRED] = prediction.probability
        engine.state.output["uncertainty"] = prediction.uncertainty
        if self.details:
            maps = {name: getattr(prediction, name) for name in ("deviation", "mutual_information", "expected_entropy")}
            engine.state.output |= {name: m for name, m in maps.items() if m is not None}
            for b, found in enumerate(self._by_case):
                found["scores"] = prediction.scores.of_case(b)
        if self.keep_members:
            engine.state.output["members"] = convert_to_dst_type(prediction.members, inputs)[0]

    def _measure(self, inputs: torch.Tensor, members: torch.Tensor) -> None:
        """Let members ``(B, n, C, *spatial)`` go through their postprocessing, a few at a time where they are large."""
        postprocessing: Any = self.member_postprocessing
        count = max(1, _LARGEST_GROUP // _elements(inputs, members))
        for some in members.split(count, dim=1):
            batch = {Keys.IMAGE: inputs, "members": convert_to_dst_type(some, inputs, dtype=some.dtype)[0]}
            for case, found in zip(decollate_batch(batch), self._by_case, strict=True):
                found["member_measurements"].items.extend(postprocessing(case)["measured"])
            if count == 1:
                return_freed_memory()

    def _fail(self, images: Sequence[Any], error: Exception) -> None:
        for image in images:
            self._report(name_in_metadata(image.meta), error)

    def _report(self, case: str, error: Exception) -> None:
        if self.on_failure is None:
            raise error
        logger.debug("Case %s", printable(case), exc_info=error)
        self.on_failure(case, error)


def _elements(inputs: Any, members: torch.Tensor) -> int:
    """Number of elements of a member on the grid of the image's file, which may be far larger than the network's."""
    operations = getattr(inputs, "applied_operations", None) or [[]]
    sizes = [operation["orig_size"] for operation in operations[0] if "orig_size" in operation]
    return max(math.prod(int(s) for s in size) for size in [*sizes, members.shape[3:]]) * members.shape[2]
