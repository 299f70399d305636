# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

import logging
from pathlib import Path
from typing import Any

import monailabel
import torch
from monailabel.interfaces.app import MONAILabelApp
from monailabel.interfaces.datastore import Datastore
from monailabel.interfaces.tasks.infer_v2 import InferTask
from monailabel.interfaces.tasks.scoring import ScoringMethod
from monailabel.interfaces.tasks.strategy import Strategy
from monailabel.interfaces.tasks.train import TrainTask
from monailabel.tasks.activelearning.epistemic import Epistemic
from monailabel.tasks.activelearning.first import First
from monailabel.tasks.activelearning.random import Random
from monailabel.tasks.infer.bundle import BundleInferTask
from monailabel.tasks.train.bundle import BundleTrainTask

from medsegdiff_monai.inferers import EnsembleStatistics
from medsegdiff_monai.utils import InputError, printable, reason_of

__all__ = ["DisagreementScoring", "DisagreementTask", "MedSegDiffLabelApp"]

logger = logging.getLogger(__name__)


class SegmentationTask(BundleInferTask):
    """MONAI Label's task of a bundle, which refuses weights that do not fit; by default it would skip them silently."""

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
        network = self._get_network(device, data)
        image = data[self.input_key][None].to(torch.device(device))
        dice: Any = EnsembleStatistics(self.inferer(data).sample(image, network)).pairwise_dice()
        return {**data, "disagreement": 1.0 - float(dice.mean())}

    def post_transforms(self, data: Any = None) -> list[Any]:
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

    The image's information has the score as ``<model>_disagreement``, 0 for agreement, and what it was made with as
    ``<model>_disagreement_basis``.
    """

    def __init__(self, task: DisagreementTask, name: str) -> None:
        super().__init__(f"Disagreement of the members of {name} about each image without a label")
        self.task = task
        self.key = f"{name}_disagreement"
        self.key_basis = f"{name}_disagreement_basis"

    def __call__(self, request: dict[str, Any], datastore: Datastore) -> dict[str, Any]:
        """Score with the options of a request, such as ``num_ensemble`` and ``device``.

        Returns:
            How many images were ``scored`` and ``skipped``, and the reasons for those that ``failed``.
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


class MedSegDiffLabelApp(MONAILabelApp):
    """MONAI Label with the bundles of this project, which offers the image that the members disagree about most.

    For each bundle there is a model and a trainer of its name, a scoring method ``<name>_disagreement`` and a strategy
    ``<name>_most_uncertain``. The strategy leaves out images with a final label, and offers an image again only after
    the others, so that several annotators get different ones.

    Args:
        app_dir: folder of the app, with the bundles in ``model``.
        studies: folder of the images, or address of a PACS's DICOMweb service, whose pictures they are.
        conf: settings; ``models`` names the bundles to serve, separated by commas, by default all, and
            ``study_filter`` holds a JSON object of what the studies of a PACS must be.
    """

    def __init__(self, app_dir: str, studies: str, conf: dict[str, str]) -> None:
        models, names = Path(app_dir) / "model", conf.get("models")
        present = sorted(p.parents[1].name for p in models.glob("*/configs/inference.json"))
        asked = [name.strip() for name in names.split(",")] if names else present
        missing = [name for name in asked if name not in present]
        if missing or not asked:
            wrong, others = ", ".join(missing) or "at all", ", ".join(present) or "none"
            raise InputError(f"There is no bundle {wrong} in {models} (there are: {others}): prepare the app with it.")
        self.bundles = {name: str(models / name) for name in asked}
        super().__init__(
            app_dir=app_dir,
            studies=studies,
            conf=conf,
            name=f"MedSegDiff - MONAI Label ({monailabel.__version__})",
            description="Segmentation by diffusion; the most uncertain image is offered first",
            version=monailabel.__version__,
        )

    def init_remote_datastore(self) -> Datastore:
        if len(self.bundles) != 1:
            raise InputError(f"A PACS is served to one bundle: name it with --conf models ({', '.join(self.bundles)}).")
        from medsegdiff_monai.apps.label.datastore import open_pacs

        (bundle,) = self.bundles.values()
        return open_pacs(self.studies, bundle, Path(self.app_dir) / "pacs", self.conf.get("study_filter", "{}"))

    def init_infers(self) -> dict[str, InferTask]:
        return {name: SegmentationTask(path, self.conf) for name, path in self.bundles.items()}

    def init_trainers(self) -> dict[str, TrainTask]:
        return {name: TrainingTask(path, self.conf) for name, path in self.bundles.items()}

    def init_scoring_methods(self) -> dict[str, ScoringMethod]:
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
