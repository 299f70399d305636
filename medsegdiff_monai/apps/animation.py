# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from pathlib import Path

import numpy as np
from tqdm import tqdm

from medsegdiff_monai.apps.bundle import Bundle
from medsegdiff_monai.data import IMAGE_SUFFIXES
from medsegdiff_monai.data.layouts.brats import contrast_files
from medsegdiff_monai.transforms import ShownImage, in_dims
from medsegdiff_monai.utils import InputError, locked_folder
from medsegdiff_monai.visualize import ANIMATION_SUFFIXES, PicturedCase, save_animation

__all__ = ["make_animation"]


def make_animation(
    bundle: str,
    image: str,
    out: str,
    member: int = 0,
    steps: int | None = None,
    overlay: str | None = None,
    device: str | None = None,
) -> Path:
    """Draw a bundle's estimate of the mask of one member at each step of its sampler, as the command does."""
    target = Path(out)
    if target.suffix.lower() not in ANIMATION_SUFFIXES:
        raise InputError(f"The animation must be a file {' or '.join(ANIMATION_SUFFIXES)}, got {out}.")
    files = _files_of_case(Path(image))
    opened = Bundle(bundle, [overlay] if overlay else [], device=device, num_inference_steps=steps)
    loaded = opened.load(files if len(files) > 1 else files[0])
    batch = opened.prepare(loaded)
    inferer = opened.inferer
    with locked_folder(target.parent), tqdm(total=2, desc="Animating", unit="step") as bar:
        bar.set_postfix_str("sampling")
        with opened.precision():
            estimates = inferer.trajectory(batch["image"].to(opened.device), opened.network, member).float().cpu()
        steps_on_grid = [opened.finish(batch, estimate)["probability"] for estimate in estimates.unbind(1)]
        bar.update()
        bar.set_postfix_str("drawing")
        count = len(inferer.timesteps)
        levels = [(1.0 - float(inferer.scheduler.alphas_cumprod[t])) ** 0.5 for t in inferer.timesteps]
        captions = [
            f"step {k} of {count}: t = {t}, noise {level:.2f}"
            for k, (t, level) in enumerate(zip(inferer.timesteps, levels), start=1)
        ]
        shown = ShownImage(in_dims(loaded, steps_on_grid[-1].dim() - 1), opened.contrasts or None, "FLAIR")
        labelled = {name: channel for channel, (name, values) in enumerate(opened.regions.items()) if values}
        probabilities = np.stack([shown.turned(step)[list(labelled.values())] for step in steps_on_grid])
        case = PicturedCase(
            name=str(loaded.meta["case"]),
            image=shown.array,
            regions=list(labelled),
            masks=probabilities[-1] >= 0.5,
            probability=probabilities[-1],
            contrast=shown.contrast,
            spacing=shown.spacing,
            frame=shown.frame,
        )
        save_animation(target, case, probabilities, captions)
        bar.update()
    return target


def _files_of_case(path: Path) -> list[str]:
    if path.is_file():
        return contrast_files(str(path)) or [str(path)]
    if not path.is_dir():
        raise InputError(f"There is no image {path}: give a file or the folder of one case.")
    images = sorted(str(p) for p in path.iterdir() if p.is_file() and p.name.lower().endswith(IMAGE_SUFFIXES))
    contrasts = {tuple(files) for image in images if (files := contrast_files(image)) is not None}
    if len(contrasts) == 1:
        return list(contrasts.pop())
    if len(images) != 1:
        raise InputError(
            f"The folder {path} holds {len(images)} images ({', '.join(IMAGE_SUFFIXES)}), not those of one BraTS case: "
            "give the file of one."
        )
    return images
