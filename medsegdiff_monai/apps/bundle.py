# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.bundle import ConfigParser
from monai.data import MetaTensor, decollate_batch, list_data_collate
from monai.utils import convert_to_dst_type
from torch import nn

from medsegdiff_monai.handlers.checkpoint import load_weights
from medsegdiff_monai.inferers import DiffusionSegmentationInferer
from medsegdiff_monai.transforms import NestRegionsd
from medsegdiff_monai.transforms.save import on_image_grid
from medsegdiff_monai.utils import InputError, checked_device, find_input_error

__all__ = ["Bundle", "SegmentationResult", "parsed", "read_config"]

_BASES = ("inference.json", "train.json")
_NO_OVERLAYS = r"(inference|train|metadata|dicom|(.+_)?calibration)\.json"
_MONAI_KEYS = ("imports", "initialize", "run", "finalize")


def read_config(folder: str | os.PathLike[str], names: Sequence[str], **settings: Any) -> ConfigParser:
    """Read a configuration of a bundle, with its metadata, or raise an ``InputError`` where an overlay does not fit.

    Args:
        folder: that of the bundle.
        names: files of its folder ``configs``: the configuration, then its overlays, each over those before it.
        settings: entries that take the place of the files', with ``#`` between levels; those that are None do not.
    """
    root = Path(str(folder))
    configs = root / "configs"
    if not ((configs / "inference.json").is_file() and (configs / "metadata.json").is_file()):
        raise InputError(f"There is no bundle in {root}: give the folder that holds configs/inference.json.")
    if not (configs / names[0]).is_file():
        raise InputError(f"The bundle {root} has no configs/{names[0]}: give a bundle that has one.")
    _check_overlays(configs, names[0], names[1:])
    parser = ConfigParser()
    try:
        parser.read_config([str(configs / name) for name in names])
    except (KeyError, ValueError) as e:  # a deeper key of an overlay
        raise InputError(f"{', '.join(names[1:])} does not fit {names[0]} of {root} ({e}): mend it.") from e
    parser.read_meta(str(configs / "metadata.json"))
    given = {"bundle_root": str(root), **settings}
    parser.update({key: value for key, value in given.items() if value is not None})
    return parser


def _check_overlays(configs: Path, base: str, overlays: Sequence[str]) -> None:
    """Refuse overlays that are missing, or set what the bundle's configurations neither have nor use."""
    keys = {name: set(_read_object(configs / name)) for name in _BASES if (configs / name).is_file()}
    present = keys.get(base, set()) | set(_MONAI_KEYS)
    own = sorted(path.name for path in configs.glob("*.json") if not re.fullmatch(_NO_OVERLAYS, path.name))
    for name in overlays:
        if name not in own:
            raise InputError(
                f"The bundle {configs.parent} has no configs/{name} to lay over another: give one of its overlays "
                f"({', '.join(own) or 'none'})."
            )
        overlay = _read_object(configs / name)
        used = {*keys["inference.json"], *keys.get("train.json", ()), *re.findall(r"@(\w+)", json.dumps(overlay))}
        for key in overlay:
            top, _, deeper = key.lstrip("+").partition("#")
            if top not in present and (deeper or top not in used):
                others = [other for other in keys if other != base] or ["another file"]
                raise InputError(
                    f"The overlay {configs / name} sets {key!r}, which {base} does not have: write one of its keys, or "
                    f"lay it over {' or '.join(others)}."
                )
        present |= {key for key in overlay if not re.search("[+#]", key)}


def _read_object(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as e:
        raise InputError(f"{path} is no JSON object ({e}): mend it.") from e


def parsed(parser: ConfigParser, key: str) -> Any:
    """An entry of a configuration, made what it stands for; an ``InputError`` where a setting is out of range."""
    with _input_errors():
        return parser.get_parsed_content(key)


@contextmanager
def _input_errors() -> Iterator[None]:
    """Let an ``InputError`` out of what MONAI wraps it in."""
    try:
        yield
    except Exception as e:  # constructors and transforms raise whatever they raise
        cause = find_input_error(e)
        if cause is None or cause is e:
            raise
        raise InputError(str(cause)) from e


@dataclass(frozen=True)
class SegmentationResult:
    """A bundle's answer on an image, on that image's own grid.

    Attributes:
        label_map: label values of shape ``(*spatial)``, uint8, the same as ``monai.bundle run`` writes.
        probability: of each region, of shape ``(regions, *spatial)`` in [0, 1].
        uncertainty: entropy in bits of each region, of shape ``(regions, *spatial)`` in [0, 1].
        members: probabilities ``(members, regions, *spatial)``, nested as the fused one is; None if not asked for.
    """

    label_map: np.ndarray
    probability: np.ndarray
    uncertainty: np.ndarray
    members: np.ndarray | None


class Bundle:
    """An opened bundle: its configuration for inference, its network with its weights, and its inferer.

    No transform writes a file unless an ``output_dir`` is given, so no pixel of a patient is put on a disk. The label
    values are the bundle's own unless a ``dataset_dir`` is given: a datalist in its data folder is not about other
    images.

    Args:
        folder: folder of the bundle.
        overlays: further files of its folder ``configs``, such as ``disc.json``.
        checkpoint: file of the weights; None for the bundle's.
        device: such as ``"cpu"`` or ``"cuda:0"``; None for the bundle's.
        overrides: other entries of the configuration, with ``#`` between levels; those that are None do not count.

    Attributes:
        folder: folder of the bundle.
        files: files of the configuration, the overlays last.
        parser: the configuration, with its metadata.
        regions: label values of each region, in the order of the network's channels.
        contrasts: names of the contrasts that the network takes, in order; empty for pictures.
        device: device of the network.
        checkpoint: file of the weights.
        settings: what besides weights and image makes the answer: steps, members, seed and kind of device.

    Raises:
        InputError: when there is no such bundle, device or overlay, or a setting is out of range.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        overlays: Sequence[str] = (),
        checkpoint: str | os.PathLike[str] | None = None,
        device: str | None = None,
        **overrides: Any,
    ) -> None:
        self.folder = Path(str(folder))
        names = ["inference.json", *overlays]
        self.files = [self.folder / "configs" / name for name in names]
        overrides["checkpoint"] = None if checkpoint is None else str(checkpoint)
        overrides["device"] = None if device is None else checked_device(device)
        self._overlays, self._overrides = list(overlays), overrides
        self.parser = read_config(self.folder, names, **overrides)
        if overrides.get("dataset_dir") is None:
            self.parser["regions#dataset_dir"] = None
        if overrides.get("output_dir") is None:
            self.parser["output_dir"] = None
        self.contrasts: tuple[str, ...] = tuple(self.parser.get("contrasts") or ())
        self.regions: dict[str, list[int]] = dict(self.get("regions"))
        self.device = torch.device(self.get("device"))
        self.checkpoint = Path(self.get("checkpoint"))
        steps, members, seed = (self.get(key) for key in ("num_inference_steps", "num_ensemble", "seed"))
        self.settings = f"{steps} steps, {members} members, seed {seed}, {self.device.type}"

    def get(self, key: str) -> Any:
        """An entry of the configuration as :func:`parsed` gives it."""
        return parsed(self.parser, key)

    def training(self) -> ConfigParser:
        """The bundle's configuration for training, with the same overlays and overrides."""
        return read_config(self.folder, ["train.json", *self._overlays], **self._overrides)

    def build(self) -> Bundle:
        """Make all that segments, so that what is wrong with it is said before an image is read."""
        _ = self.preprocessing, self.postprocessing, self.inferer, self.network
        return self

    @property
    def preprocessing(self) -> Any:
        """From a case's files, or its image as a ``MetaTensor``, to the network's grid."""
        return self.get("preprocessing")

    @property
    def postprocessing(self) -> Any:
        """From a prediction to label map and probability on the image's grid."""
        return self.get("postprocessing")

    @property
    def inferer(self) -> DiffusionSegmentationInferer:
        """Sampler of the members."""
        return self.get("inferer")

    @cached_property
    def network(self) -> nn.Module:
        """The network on its device, with all weights of the checkpoint, which must be of its architecture."""
        network = self.get("network_def")
        load_weights(network, self.checkpoint)
        return network.to(self.device).eval()

    def load(self, files: str | Sequence[str]) -> Any:
        """The image of shape ``(C, *spatial)`` in a file, or in one file for each contrast."""
        with _input_errors():
            return self.get("load")({"image": files})["image"]

    def prepare(self, image: MetaTensor) -> dict[str, Any]:
        """A batch of one case on the network's grid, from an image as :meth:`segment` takes it."""
        with _input_errors():
            return list_data_collate([self.preprocessing({"image": image.clone()})])

    def precision(self) -> AbstractContextManager[Any]:
        """Autocast as the configuration asks for it."""
        return torch.autocast(self.device.type, enabled=bool(self.get("amp")))

    def finish(self, batch: Mapping[str, Any], probability: torch.Tensor, members: torch.Tensor | None = None) -> Any:
        """The case of :meth:`prepare`'s batch after the postprocessing.

        The probability is of shape ``(1, C, *spatial)``; members, ``(1, N, C, *spatial)``, are for their maps alone.
        """
        output = {**batch, "pred": _like(probability, batch["image"])}
        if members is not None:
            output["members"] = _like(members.flatten(1, 2), batch["image"])
        return self.postprocessing(decollate_batch(output)[0])

    def segment(self, image: MetaTensor, members: bool = False) -> SegmentationResult:
        """Segment one image.

        Args:
            image: of shape ``(C, *spatial)``, as the bundle's loader would give it: axes as in NIfTI files, with the
                affine (RAS, mm), for volumes, and ``(columns, rows)`` for pictures.
            members: whether the members are wanted as well.

        Raises:
            InputError: when the image is constant, has NaN, or the wrong number of channels.
        """
        batch = self.prepare(image)
        inputs = batch["image"].to(self.device)
        with torch.no_grad(), self.precision():
            prediction = self.inferer.predict(inputs, self.network)
        case = self.finish(batch, prediction.probability, prediction.members)
        uncertainty = on_image_grid(case, "uncertainty", self.preprocessing)
        return SegmentationResult(
            label_map=_array(case["segmentation"])[0].astype(np.uint8),
            probability=_array(case["probability"]).astype(np.float32),
            uncertainty=_array(uncertainty).astype(np.float32).clip(0.0, 1.0),
            members=self._members(prediction.members, batch) if members else None,
        )

    def _members(self, members: Any, batch: Mapping[str, Any]) -> np.ndarray:
        """Probabilities on the image's grid ``(N, regions, *spatial)`` from members ``(1, N, regions, *spatial)``."""
        flat = _like(members.flatten(1, 2).float(), batch["image"])
        inverted = on_image_grid(decollate_batch({**batch, "members": flat})[0], "members", self.preprocessing)
        nested = _array(NestRegionsd("members", self.regions)({"members": inverted})["members"]).clip(0.0, 1.0)
        return nested.reshape(*members.shape[1:3], *nested.shape[1:])


def _like(tensor: torch.Tensor, image: Any) -> Any:
    """A tensor with the metadata of a batch's image, on its own device."""
    return convert_to_dst_type(tensor, image, dtype=tensor.dtype, device=tensor.device)[0]


def _array(tensor: Any) -> np.ndarray:
    return tensor.detach().cpu().as_tensor().numpy()
