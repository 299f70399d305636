# Copyright (c) MedSegDiff-MONAI contributors
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#     http://www.apache.org/licenses/LICENSE-2.0
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from monai.data import decollate_batch
from monai.engines import SupervisedEvaluator
from monai.engines.utils import IterationEvents
from monai.utils import convert_to_dst_type
from monai.utils.enums import CommonKeys as Keys

__all__ = ["DiffusionSegmentationEvaluator", "MemberMeasurements"]


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

    Args:
        details: whether postprocessing also finds the maps ``deviation``, ``disagreement`` and ``blur`` (the first two
            not with a single member), see :class:`SegmentationPrediction`, and ``scores``, a :class:`CaseScores`.
        member_postprocessing: transform of a case ``{"image", "members"}``, which the members of each case go through
            as they are drawn, ``members`` being those of one batch, of shape ``(n, C, *spatial)``. The list that it
            leaves under ``measured``, an item for each of them, goes on under ``member_measurements``, a
            :class:`MemberMeasurements`.
        keep_members: whether postprocessing also finds the ``members``, of shape ``(N, C, *spatial)``.
        args: those of ``SupervisedEvaluator``.
        kwargs: those of ``SupervisedEvaluator``.
    """

    def __init__(
        self,
        *args: Any,
        details: bool = False,
        member_postprocessing: Callable[[dict[str, Any]], dict[str, Any]] | None = None,
        keep_members: bool = False,
        **kwargs: Any,
    ) -> None:
        self._by_case: list[dict[str, Any]] = []
        super().__init__(*args, **kwargs)
        self.details = details
        self.member_postprocessing = member_postprocessing
        self.keep_members = keep_members

    def _register_decollate(self) -> None:
        """Give each case what belongs to it, behind MONAI's own step, which takes apart nothing but tensors."""
        super()._register_decollate()
        self.add_event_handler(IterationEvents.MODEL_COMPLETED, self._give_to_cases)

    def _give_to_cases(self, engine: Any) -> None:
        for case, found in zip(engine.state.output, self._by_case, strict=True):
            case.update(found)

    def _iteration(self, engine: Any, batchdata: dict[str, torch.Tensor]) -> dict[str, Any]:
        """Segment one batch; see ``SupervisedEvaluator``."""
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
            maps = {name: getattr(prediction, name) for name in ("deviation", "disagreement", "blur")}
            engine.state.output |= {name: m for name, m in maps.items() if m is not None}
            for b, found in enumerate(self._by_case):
                found["scores"] = prediction.scores.of_case(b)
        if self.keep_members:
            engine.state.output["members"] = convert_to_dst_type(prediction.members, inputs)[0]
        engine.fire_event(IterationEvents.FORWARD_COMPLETED)
        engine.fire_event(IterationEvents.MODEL_COMPLETED)
        return engine.state.output

    def _measure(self, inputs: torch.Tensor, members: torch.Tensor) -> None:
        """Let members ``(B, n, C, *spatial)`` go through their postprocessing."""
        postprocessing: Any = self.member_postprocessing
        batch = {Keys.IMAGE: inputs, "members": convert_to_dst_type(members, inputs, dtype=members.dtype)[0]}
        for case, found in zip(decollate_batch(batch), self._by_case, strict=True):
            found["member_measurements"].items.extend(postprocessing(case)["measured"])
