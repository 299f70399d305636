# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch
from monailabel.interfaces.datastore import Datastore
from monailabel.interfaces.tasks.scoring import ScoringMethod
from monailabel.tasks.infer.bundle import BundleInferTask
from monailabel.tasks.train.bundle import BundleTrainTask

from medsegdiff_monai.inferers import EnsembleStatistics
from medsegdiff_monai.utils import InputError, printable, reason_of

__all__ = ["DisagreementScoring", "DisagreementTask", "SegmentationTask", "TrainingTask"]

logger = logging.getLogger(__name__)


class SegmentationTask(BundleInferTask):
    """MONAI Label's task of a bundle, which refuses weights that do not fit; by default it would skip them silently.

    See ``BundleInferTask`` for the arguments.
    """

    def __init__(self, path: str, conf: dict[str, str], **kwargs: Any) -> None:
        super().__init__(path, conf, load_strict=True, **kwargs)


class DisagreementTask(SegmentationTask):
    """Sample the members of an image and give their ``disagreement``; no label is written.

    It is 1 minus the Dice of two members, mean over all pairs and over the regions: 0 where all members are the same, 1
    where none overlaps another. Unlike a mean over pixels it does not depend on how large the object is in the image.
    """

    def __init__(self, path: str, conf: dict[str, str]) -> None:
        super().__init__(path, conf, skip_writer=True)

    def run_inferer(self, data: dict[str, Any], convert_to_batch: bool = True, device: str = "cuda") -> dict[str, Any]:
        """See ``BasicInferTask``."""
        network = self._get_network(device, data)
        image = data[self.input_key][None].to(torch.device(device))
        dice: Any = EnsembleStatistics(self.inferer(data).sample(image, network)).pairwise_dice()
        return {**data, "disagreement": 1.0 - float(dice.mean())}

    def post_transforms(self, data: Any = None) -> list[Any]:
        """None: there is no label."""
        return []


class TrainingTask(BundleTrainTask):
    """MONAI Label's training of a bundle, which starts from the weights that are asked for, all of them or none."""

    def _load_checkpoint(self, model_pytorch: str, pretrained: bool, train_handlers: list[Any]) -> None:
        self.start_from = model_pytorch if pretrained else "$None"  # monai.bundle ignores an override by None itself

    def _update_overrides(self, overrides: dict[str, Any]) -> dict[str, Any]:
        overrides["finetune_from"] = self.start_from
        return overrides


class DisagreementScoring(ScoringMethod):
    """Write the members' disagreement about each image without a label into the data store.

    An image is scored again when the weights or the settings are others than those of its score. An image that cannot
    be segmented costs one line in the log and has no score; the others go on.

    Args:
        task: samples the members.
        name: name of the model, with which the names of what is written begin.

    Attributes:
        key: name of the score in the image's information: 0 is agreement, 1 is the most uncertain.
        key_basis: name of what the score was made with.
    """

    def __init__(self, task: DisagreementTask, name: str) -> None:
        super().__init__(f"Disagreement of the members of {name} about each image without a label")
        self.task = task
        self.key = f"{name}_disagreement"
        self.key_basis = f"{name}_disagreement_basis"

    def __call__(self, request: dict[str, Any], datastore: Datastore) -> dict[str, Any]:
        """
        Args:
            request: options of the task, such as ``num_ensemble`` and ``device``.
            datastore: the data store.

        Returns:
            How many images were ``scored`` and ``skipped``, and the reasons for those that ``failed``.

        Raises:
            InputError: when fewer than two members are asked for.
        """
        options = {**self.task.config(), **{k: v for k, v in request.items() if k in self.task.config()}}
        if options["num_ensemble"] < 2:
            raise InputError(f"At least 2 members are needed for a score, got num_ensemble {options['num_ensemble']}.")
        modified = Path(self.task.get_path()).stat().st_mtime_ns
        basis = {"weights": modified, **{k: options[k] for k in ("num_inference_steps", "num_ensemble")}}
        scored, skipped = 0, 0
        failed: dict[str, str] = {}
        for image in datastore.get_unlabeled_images():
            if datastore.get_image_info(image).get(self.key_basis) == basis:
                skipped += 1
                continue
            try:
                _, data = self.task({**request, "image": datastore.get_image_uri(image)})
            except (RuntimeError, ValueError, OSError) as e:
                failed[image] = reason_of(e)
                logger.warning("No score for %s: %s", printable(image), failed[image])
                continue
            datastore.refresh()  # a label that was saved meanwhile, by the server, must not be written over
            datastore.update_image_info(image, {self.key: float(data["disagreement"]), self.key_basis: basis})
            scored += 1
        summary = {"scored": scored, "skipped": skipped, "failed": failed}
        logger.info("%s: %s", self.key, summary)
        return summary
