# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0


from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.bundle import ConfigParser
from monai.data import MetaTensor, decollate_batch, list_data_collate
from torch import nn

from medsegdiff_monai.apps.bundle_config import without_writers
from medsegdiff_monai.handlers.checkpoint import load_weights
from medsegdiff_monai.transforms import NestRegionsd
from medsegdiff_monai.transforms.inverted import on_image_grid
from medsegdiff_monai.utils import InputError, checked_device, find_input_error

__all__ = ["BundleSegmenter", "SegmentationResult"]

_LOADER = "medsegdiff_monai.transforms.LoadCased"


@dataclass(frozen=True)
class SegmentationResult:
    """What a bundle says about an image, on that image's own grid.

    Attributes:
        label_map: label values of shape ``(*spatial)``, uint8, the same as ``monai.bundle run`` writes.
        probability: of each region, of shape ``(regions, *spatial)`` in [0, 1].
        uncertainty: entropy in bits of each region, of shape ``(regions, *spatial)`` in [0, 1].
        members: probability of each region in each member of the ensemble, of shape ``(members, regions, *spatial)``,
            nested as the fused one is; None where they were not asked for.
    """

    label_map: np.ndarray
    probability: np.ndarray
    uncertainty: np.ndarray
    members: np.ndarray | None


class BundleSegmenter:
    """A bundle's own inference on images in memory: its preprocessing, network, inferer and postprocessing.

    The configuration is the bundle's ``configs/inference.json``; only the transforms that read and write files are
    taken out of it, so that no pixel of a patient is put on a disk and the mask is that of ``monai.bundle run``.

    Args:
        bundle: folder of the bundle.
        num_inference_steps: number of network evaluations of each member; None for the bundle's.
        num_ensemble: number of members; None for the bundle's.
        device: such as ``"cpu"`` or ``"cuda:0"``; None for the bundle's.
        overrides: other entries of the configuration, with ``#`` in place of levels.

    Attributes:
        regions: label values of each region, in the order of the network's channels.
        contrasts: names of the contrasts that the network takes, in order; empty for pictures.
        checkpoint: file of the weights.
        settings: what besides the weights and the image makes the answer: steps, members, seed and kind of device.

    Raises:
        InputError: when there is no such bundle, its weights do not fit, or a setting is out of range.
    """

    def __init__(
        self,
        bundle: str | os.PathLike[str],
        num_inference_steps: int | None = None,
        num_ensemble: int | None = None,
        device: str | None = None,
        **overrides: Any,
    ) -> None:
        self.bundle = Path(bundle)
        settings = {"num_inference_steps": num_inference_steps, "num_ensemble": num_ensemble}
        given = {k: v for k, v in {**settings, **overrides}.items() if v is not None}
        parser = self._parser(given, device)
        try:
            self._build(parser)
        except Exception as e:
            if (cause := find_input_error(e)) is not None:
                raise cause from e
            raise

    def _parser(self, overrides: Mapping[str, Any], device: str | None) -> ConfigParser:
        path = self.bundle / "configs" / "inference.json"
        if not path.is_file():
            raise InputError(f"There is no bundle in {self.bundle}: give --bundle the folder that holds configs/.")
        parser = ConfigParser()
        parser.read_config(str(path))
        # The label values are the bundle's own: a datalist that lies in its data folder is not about these images.
        parser.update({"bundle_root": str(self.bundle), "regions#dataset_dir": None, **overrides})
        if device is not None:
            parser["device"] = checked_device(device)
        before, after = (parser.get(f"{part}#transforms") or [] for part in ("preprocessing", "postprocessing"))
        loaded = [t for t in before if t.get("_target_") != _LOADER]
        if len(loaded) != len(before) - 1:
            raise InputError(f"The bundle {self.bundle} has no single LoadCased in its preprocessing: give another.")
        parser.update({"preprocessing#transforms": loaded, "postprocessing#transforms": without_writers(after)})
        return parser

    def _build(self, parser: ConfigParser) -> None:
        self.contrasts: tuple[str, ...] = tuple(parser.get("contrasts") or ())
        self.regions: dict[str, list[int]] = dict(parser.get_parsed_content("regions"))
        self.device: torch.device = torch.device(parser.get_parsed_content("device"))
        self._amp = bool(parser.get_parsed_content("amp"))
        self._preprocessing = parser.get_parsed_content("preprocessing")
        self._postprocessing = parser.get_parsed_content("postprocessing")
        self._inferer = parser.get_parsed_content("inferer")
        asked = [parser.get_parsed_content(key) for key in ("num_inference_steps", "num_ensemble", "seed")]
        self.settings = f"{asked[0]} steps, {asked[1]} members, seed {asked[2]}, {self.device.type}"
        network = parser.get_parsed_content("network_def")
        self.checkpoint = Path(parser.get_parsed_content("checkpoint"))
        load_weights(network, self.checkpoint)
        self._network: nn.Module = parser.get_parsed_content("network").eval()

    def segment(self, image: MetaTensor, members: bool = False) -> SegmentationResult:
        """Segment one image.

        Args:
            image: of shape ``(C, *spatial)``, as the bundle's loader would give it: axes as in NIfTI files, with the
                affine (RAS, mm), for volumes, and ``(columns, rows)`` for pictures.
            members: whether the members are wanted as well.

        Raises:
            InputError: when the image is constant, has NaN, or the wrong number of channels.
        """
        prepared = self._preprocessed(image)
        batch = list_data_collate([prepared])
        inputs = batch["image"].to(self.device)
        with torch.no_grad(), self._autocast():
            prediction = self._inferer.predict(inputs, self._network)
        output: dict[str, Any] = {**batch, "pred": prediction.probability, "uncertainty": prediction.uncertainty}
        item = self._postprocessing(decollate_batch(output)[0])
        uncertainty = on_image_grid(item, "uncertainty", self._preprocessing)
        return SegmentationResult(
            label_map=_array(item["segmentation"])[0].astype(np.uint8),
            probability=_array(item["probability"]).astype(np.float32),
            uncertainty=_array(uncertainty).astype(np.float32).clip(0.0, 1.0),
            members=self._members(prediction.members, batch, inputs) if members else None,
        )

    def _preprocessed(self, image: MetaTensor) -> Any:
        try:
            return self._preprocessing({"image": image.clone()})
        except Exception as e:
            if (cause := find_input_error(e)) is not None:
                raise cause from e
            raise

    def _autocast(self) -> AbstractContextManager[Any]:
        return torch.autocast(self.device.type, enabled=self._amp)

    def _members(self, members: torch.Tensor, batch: Mapping[str, Any], inputs: Any) -> np.ndarray:
        """Probabilities on the image's grid ``(N, regions, *spatial)`` from members ``(1, N, regions, *spatial)``."""
        flat = MetaTensor(members.flatten(1, 2).float(), meta=inputs.meta)
        inverted = on_image_grid(decollate_batch({**batch, "members": flat})[0], "members", self._preprocessing)
        nest = NestRegionsd("member", self.regions)
        each = torch.from_numpy(_array(inverted)).unflatten(0, (members.shape[1], members.shape[2]))
        return np.stack([nest({"member": member})["member"].numpy().clip(0.0, 1.0) for member in each])


def _array(tensor: Any) -> np.ndarray:
    return tensor.detach().cpu().as_tensor().numpy()
