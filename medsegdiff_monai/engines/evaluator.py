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

from typing import Any

import torch
from monai.engines import SupervisedEvaluator
from monai.engines.utils import IterationEvents
from monai.utils.enums import CommonKeys as Keys

__all__ = ["DiffusionSegmentationEvaluator"]


class DiffusionSegmentationEvaluator(SupervisedEvaluator):
    """MONAI's ``SupervisedEvaluator`` that keeps, beside the fused probability, how uncertain it is.

    Its inferer is a :class:`DiffusionSegmentationInferer`. Postprocessing finds the fused probability under ``pred``
    and the uncertainty under ``uncertainty``, both of shape ``(C, *spatial)`` for a case. With ``amp=True`` the network
    runs under autocast on whatever device it is on (MONAI's evaluator knows CUDA only).

    See ``SupervisedEvaluator`` for the arguments.
    """

    def _iteration(self, engine: SupervisedEvaluator, batchdata: dict[str, torch.Tensor]) -> dict[str, Any]:
        """Segment one batch; see ``SupervisedEvaluator``."""
        batch = engine.prepare_batch(batchdata, engine.state.device, engine.non_blocking, **engine.to_kwargs)
        inputs, targets = batch[:2]
        engine.state.output = {Keys.IMAGE: inputs, Keys.LABEL: targets}
        autocast = torch.autocast(inputs.device.type, enabled=engine.amp, **engine.amp_kwargs)
        with engine.mode(engine.network), autocast:
            inferer: Any = engine.inferer
            prediction = inferer.predict(inputs, engine.network)
        engine.state.output[Keys.PRED] = prediction.probability
        engine.state.output["uncertainty"] = prediction.uncertainty
        engine.fire_event(IterationEvents.FORWARD_COMPLETED)
        engine.fire_event(IterationEvents.MODEL_COMPLETED)
        return engine.state.output
