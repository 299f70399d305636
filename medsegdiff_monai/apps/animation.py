# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.bundle import ConfigParser
from monai.data import decollate_batch, list_data_collate
from monai.utils import convert_to_dst_type
from tqdm import tqdm

from medsegdiff_monai.apps.bundle_config import bundle_files, parsed, read_bundle, without_writers
from medsegdiff_monai.apps.label.load import contrast_files
from medsegdiff_monai.data import IMAGE_SUFFIXES, case_name
from medsegdiff_monai.handlers import load_weights
from medsegdiff_monai.inferers import DiffusionSegmentationInferer
from medsegdiff_monai.transforms import LoadCased, ShownImage, in_dims
from medsegdiff_monai.utils import InputError, checked_device, find_input_error, locked_folder
from medsegdiff_monai.visualize import ANIMATION_SUFFIXES, PicturedCase, save_animation

__all__ = ["make_animation"]

_SHOWN = "FLAIR"


def make_animation(
    bundle: str,
    image: str,
    out: str,
    member: int = 0,
    steps: int | None = None,
    overlay: str | None = None,
    device: str | None = None,
) -> Path:
    """Draw how a bundle's sampler comes to the mask of one member: what it estimates it to be at each step.

    Args:
        bundle: folder of the bundle.
        image: file of the image, any file of a BraTS case, or the folder of one case.
        out: animation to write: animated where it ends in ``.gif``, a strip of pictures where it ends in ``.png``.
        member: number of the member, from 0.
        steps: number of sampler steps; None for the bundle's.
        overlay: further file of the bundle's folder ``configs``, such as ``disc.json``.
        device: such as ``"cpu"`` or ``"cuda:0"``; None for the bundle's.

    Returns:
        The animation.

    Raises:
        InputError: when something is missing or does not fit.
    """
    target = Path(out)
    if target.suffix.lower() not in ANIMATION_SUFFIXES:
        raise InputError(f"The animation must be a file {' or '.join(ANIMATION_SUFFIXES)}, got {out}.")
    files = _files_of_case(Path(image))
    settings = {"num_inference_steps": steps, "device": None if device is None else checked_device(device)}
    parser = read_bundle(bundle, bundle_files(bundle, overlay), **settings)
    # The label values are the bundle's own: a datalist that lies in its data folder is not about this image.
    parser["regions#dataset_dir"] = None
    parser["postprocessing#transforms"] = without_writers(parser["postprocessing#transforms"])
    prepared = _prepared(parser, files)
    inferer: DiffusionSegmentationInferer = parsed(parser, "inferer")
    with locked_folder(target.parent), tqdm(total=2, desc="Animating", unit="step") as bar:
        bar.set_postfix_str("sampling")
        estimates = _estimates(parser, inferer, prepared, member)
        bar.update()
        bar.set_postfix_str("drawing")
        case, whole = _case(parser, files, estimates[-1])
        shown = np.stack([_labelled(parser, whole, estimate) for estimate in estimates])
        save_animation(target, case, shown, _captions(inferer))
        bar.update()
    return target


def _files_of_case(path: Path) -> list[Path]:
    """The files of the one case that a path stands for."""
    if path.is_file():
        return [Path(f) for f in contrast_files(str(path)) or [str(path)]]
    if not path.is_dir():
        raise InputError(f"There is no image {path}: give a file or the folder of one case.")
    images = sorted(p for p in path.iterdir() if p.is_file() and p.name.lower().endswith(IMAGE_SUFFIXES))
    contrasts = {tuple(files) for p in images if (files := contrast_files(str(p))) is not None}
    if len(contrasts) == 1:
        return [Path(f) for f in contrasts.pop()]
    if len(images) != 1:
        raise InputError(
            f"The folder {path} holds {len(images)} images ({', '.join(IMAGE_SUFFIXES)}), not those of one BraTS case: "
            "give the file of one."
        )
    return images


def _prepared(parser: ConfigParser, files: list[Path]) -> dict[str, Any]:
    """The case as a batch of one, as the bundle prepares it."""
    preprocessing = parsed(parser, "preprocessing")
    try:
        return list_data_collate([preprocessing({"image": _image(files)})])
    except RuntimeError as e:  # as MONAI wraps what a transform raises
        if (cause := find_input_error(e)) is not None:
            raise InputError(str(cause)) from e
        raise


def _image(files: list[Path]) -> list[str] | str:
    return str(files[0]) if len(files) == 1 else [str(file) for file in files]


def _estimates(
    parser: ConfigParser, inferer: DiffusionSegmentationInferer, batch: dict[str, Any], member: int
) -> list[torch.Tensor]:
    """Probability of each region at each step, ``(C, *spatial)``, on the grid of the image's file."""
    device = torch.device(parsed(parser, "device"))
    network = parsed(parser, "network_def")
    load_weights(network, parsed(parser, "checkpoint"))
    network = network.to(device).eval()
    inputs = batch["image"].to(device)
    with torch.autocast(device.type, enabled=bool(parsed(parser, "amp"))):
        steps = inferer.trajectory(inputs, network, member)
    postprocessing = parsed(parser, "postprocessing")
    return [_inverted(postprocessing, batch, steps[:, k]) for k in range(steps.shape[1])]


def _inverted(postprocessing: Any, batch: dict[str, Any], step: torch.Tensor) -> torch.Tensor:
    pred = convert_to_dst_type(step.cpu(), batch["image"], dtype=torch.float32)[0]
    return postprocessing(decollate_batch({**batch, "pred": pred})[0])["probability"]


def _case(parser: ConfigParser, files: list[Path], final: torch.Tensor) -> tuple[PicturedCase, ShownImage]:
    """What the animation shows: the image as its file has it, and the final masks."""
    image = in_dims(LoadCased("image")({"image": str(files[0])})["image"], final.dim() - 1)
    whole = ShownImage(image, parser.get("contrasts"), _SHOWN)
    probability = _labelled(parser, whole, final)
    return PicturedCase(
        name=case_name(_image(files)),
        image=whole.array,
        regions=[name for name, values in parsed(parser, "regions").items() if values],
        masks=probability >= 0.5,
        probability=probability,
        contrast=whole.contrast,
        spacing=whole.spacing,
        frame=whole.frame,
    ), whole


def _labelled(parser: ConfigParser, whole: ShownImage, probability: torch.Tensor) -> np.ndarray:
    """Those regions ``(R, *spatial)`` that the data set labels, as they are shown."""
    channels = [c for c, values in enumerate(parsed(parser, "regions").values()) if values]
    return whole.turned(probability)[channels]


def _captions(inferer: DiffusionSegmentationInferer) -> list[str]:
    """Number, timestep and noise level of each step; the level is ``sqrt(1 - abar_t)``, 1 for noise alone."""
    count = len(inferer.timesteps)
    levels = [(1.0 - float(inferer.scheduler.alphas_cumprod[t])) ** 0.5 for t in inferer.timesteps]
    return [
        f"step {k} of {count}: t = {t}, noise {level:.2f}"
        for k, (t, level) in enumerate(zip(inferer.timesteps, levels), start=1)
    ]
