# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from monailabel.interfaces.datastore import Datastore
from monailabel.interfaces.tasks.scoring import ScoringMethod

from medsegdiff_monai.apps.label.tasks import DisagreementTask
from medsegdiff_monai.utils import InputError, printable, reason_of

__all__ = ["DisagreementScoring"]

logger = logging.getLogger(__name__)


class DisagreementScoring(ScoringMethod):
    """Write into the data store, for each image without a label, how much the members disagree about it.

    An image is scored again when the weights or the settings are others than those of its score. An image that cannot
    be segmented costs one line in the log and has no score; the others go on.

    Args:
        task: what samples the members.
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
        basis = self._basis(options)
        scored, skipped = 0, 0
        failed: dict[str, str] = {}
        for image in datastore.get_unlabeled_images():
            if datastore.get_image_info(image).get(self.key_basis) == basis:
                skipped += 1
                continue
            try:
                score = self._score(datastore.get_image_uri(image), request)
            except (RuntimeError, ValueError, OSError) as e:
                failed[image] = reason_of(e)
                logger.warning("No score for %s: %s", printable(image), failed[image])
                continue
            datastore.refresh()  # a label that was saved meanwhile, by the server, must not be written over
            datastore.update_image_info(image, {self.key: score, self.key_basis: basis})
            scored += 1
        summary = {"scored": scored, "skipped": skipped, "failed": failed}
        logger.info("%s: %s", self.key, summary)
        return summary

    def _basis(self, options: dict[str, Any]) -> dict[str, Any]:
        modified = Path(self.task.get_path()).stat().st_mtime_ns
        return {"weights": modified, **{k: options[k] for k in ("num_inference_steps", "num_ensemble")}}

    def _score(self, image: str, request: dict[str, Any]) -> float:
        _, data = self.task({**request, "image": image})
        return float(data["disagreement"])
