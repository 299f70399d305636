# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import monailabel
from monailabel.interfaces.app import MONAILabelApp
from monailabel.interfaces.datastore import Datastore
from monailabel.interfaces.tasks.infer_v2 import InferTask
from monailabel.interfaces.tasks.scoring import ScoringMethod
from monailabel.interfaces.tasks.strategy import Strategy
from monailabel.interfaces.tasks.train import TrainTask
from monailabel.tasks.activelearning.epistemic import Epistemic
from monailabel.tasks.activelearning.first import First
from monailabel.tasks.activelearning.random import Random

from medsegdiff_monai.apps.label.tasks import DisagreementScoring, DisagreementTask, SegmentationTask, TrainingTask
from medsegdiff_monai.utils import InputError

__all__ = ["MedSegDiffLabelApp"]


class MedSegDiffLabelApp(MONAILabelApp):
    """MONAI Label with the bundles of this project, which offers the image that the members disagree about most.

    For each bundle there is a model and a trainer of its name, a scoring method ``<name>_disagreement`` and a strategy
    ``<name>_most_uncertain``. The strategy leaves out images with a final label, and offers an image again only after
    the others, so that several annotators get different ones.

    Args:
        app_dir: folder of the app, with the bundles in ``model``.
        studies: folder of the images, or address of a PACS's DICOMweb service, whose pictures they are; see
            :class:`~medsegdiff_monai.apps.label.datastore.PacsDatastore`.
        conf: settings; ``models`` names the bundles to serve, separated by commas, by default all, and
            ``study_filter`` holds a JSON object of what the studies of a PACS must be.

    Raises:
        InputError: when there is no such bundle, or the PACS cannot be the data store of it.
    """

    def __init__(self, app_dir: str, studies: str, conf: dict[str, str]) -> None:
        self.bundles = _bundles(Path(app_dir) / "model", conf.get("models"))
        super().__init__(
            app_dir=app_dir,
            studies=studies,
            conf=conf,
            name=f"MedSegDiff - MONAI Label ({monailabel.__version__})",
            description="Segmentation by diffusion; the most uncertain image is offered first",
            version=monailabel.__version__,
        )

    def init_remote_datastore(self) -> Datastore:
        """The pictures of a PACS."""
        if len(self.bundles) != 1:
            raise InputError(f"A PACS is served to one bundle: name it with --conf models ({', '.join(self.bundles)}).")
        from medsegdiff_monai.apps.label.datastore import open_pacs

        (bundle,) = self.bundles.values()
        return open_pacs(self.studies, bundle, Path(self.app_dir) / "pacs", self.conf.get("study_filter", "{}"))

    def init_infers(self) -> dict[str, InferTask]:
        """The models."""
        return {name: SegmentationTask(path, self.conf) for name, path in self.bundles.items()}

    def init_trainers(self) -> dict[str, TrainTask]:
        """The trainers."""
        return {name: TrainingTask(path, self.conf) for name, path in self.bundles.items()}

    def init_scoring_methods(self) -> dict[str, ScoringMethod]:
        """The scoring methods."""
        methods = [DisagreementScoring(DisagreementTask(path, self.conf), name) for name, path in self.bundles.items()]
        return {method.key: method for method in methods}

    def init_strategies(self) -> dict[str, Strategy]:
        """The strategies, the most uncertain image first."""
        strategies: dict[str, Strategy] = {
            f"{name}_most_uncertain": Epistemic(key=f"{name}_disagreement", desc="The most uncertain image first")
            for name in self.bundles
        }
        return {**strategies, "first": First(), "random": Random()}

    def next_sample(self, request: dict[str, Any]) -> dict[str, Any]:
        """The image that a strategy offers next; see ``MONAILabelApp``."""
        store = self.datastore()
        store.refresh()  # scores come from another process, whose changes the watching of files may miss
        if hasattr(store, "fetch_new"):  # that of a PACS
            store.fetch_new()
        return super().next_sample(request)


def _bundles(models: Path, names: str | None) -> dict[str, str]:
    present = sorted(p.parents[1].name for p in models.glob("*/configs/inference.json"))
    asked = [name.strip() for name in names.split(",")] if names else present
    missing = [name for name in asked if name not in present]
    if missing or not asked:
        wrong, others = ", ".join(missing) or "at all", ", ".join(present) or "none"
        raise InputError(f"There is no bundle {wrong} in {models} (there are: {others}): prepare the app with it.")
    return {name: os.path.join(models, name) for name in asked}
