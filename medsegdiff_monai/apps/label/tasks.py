# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from typing import Any

import torch
from monailabel.tasks.infer.bundle import BundleInferTask
from monailabel.tasks.train.bundle import BundleTrainTask

from medsegdiff_monai.apps.label.disagreement import member_disagreement

__all__ = ["DisagreementTask", "SegmentationTask", "TrainingTask"]


class SegmentationTask(BundleInferTask):
    """MONAI Label's task of a bundle, which refuses weights that do not fit; by default it would skip them silently.

    Args:
        path: folder of the bundle.
        conf: settings of the app.
        kwargs: see ``BundleInferTask``.
    """

    def __init__(self, path: str, conf: dict[str, str], **kwargs: Any) -> None:
        super().__init__(path, conf, load_strict=True, **kwargs)


class DisagreementTask(SegmentationTask):
    """Sample the members of an image and tell how much they disagree, under ``disagreement``; no label is written.

    Args:
        path: folder of the bundle.
        conf: settings of the app.
    """

    def __init__(self, path: str, conf: dict[str, str]) -> None:
        super().__init__(path, conf, skip_writer=True)

    def run_inferer(self, data: dict[str, Any], convert_to_batch: bool = True, device: str = "cuda") -> dict[str, Any]:
        """See ``BasicInferTask``."""
        network = self._get_network(device, data)
        image = data[self.input_key][None].to(torch.device(device))
        members = self.inferer(data).sample(image, network)
        return {**data, "disagreement": member_disagreement(members[0])}

    def post_transforms(self, data: Any = None) -> list[Any]:
        """None: there is no label."""
        return []


class TrainingTask(BundleTrainTask):
    """MONAI Label's training of a bundle, which starts from the weights that are asked for, all of them or none.

    Args:
        path: folder of the bundle.
        conf: settings of the app.
    """

    def _load_checkpoint(self, model_pytorch: str, pretrained: bool, train_handlers: list[Any]) -> None:
        self.start_from = model_pytorch if pretrained else "$None"  # monai.bundle ignores an override by None itself

    def _update_overrides(self, overrides: dict[str, Any]) -> dict[str, Any]:
        overrides["finetune_from"] = self.start_from
        return overrides
