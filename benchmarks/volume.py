# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

"""Time and peak memory of one whole four-contrast volume through the brain bundle, from files to files.

    python benchmarks/volume.py --out /tmp/volume

Makes a phantom of the size of a BraTS case (240 x 240 x 155 voxels of 1 mm, four files), runs the bundle's inference on
it as a user would, in a process of its own, and prints a Markdown row: seconds by the clock, CPU seconds, peak resident
memory of the process. Phantoms fill the whole field of view, so no window is spared; a real skull-stripped head fills
less.
"""

from __future__ import annotations

import json
import os
import platform
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import fire
import nibabel as nib
import numpy as np

from medsegdiff_monai.data.phantoms import make_phantom

BUNDLE = Path(__file__).resolve().parents[1] / "bundle" / "brats_mri_medsegdiff"
CONTRASTS = ("flair", "t1", "t1ce", "t2")


def write_case(folder: Path, shape: tuple[int, ...]) -> None:
    """A phantom in four files with 1 mm voxels, and the datalist that lists it."""
    folder.mkdir(parents=True, exist_ok=True)
    image, _ = make_phantom("brain", np.random.default_rng(0), shape)
    names = [f"case_{contrast}.nii.gz" for contrast in CONTRASTS]
    for i, name in enumerate(names):
        nib.save(nib.Nifti1Image(np.ascontiguousarray(image[..., i]), np.eye(4)), folder / name)
    (folder / "datalist.json").write_text(json.dumps({"test": [{"image": names, "case": "case"}]}), encoding="utf-8")


def volume(out: str, shape: tuple[int, ...] = (240, 240, 155), bundle: str = str(BUNDLE), **overrides: Any) -> None:
    """Measure one volume.

    Args:
        out: folder of the phantom and of the results.
        shape: voxels along each axis.
        bundle: folder of the brain bundle.
        overrides: settings of the bundle, such as ``num_ensemble``.
    """
    folder = Path(out)
    write_case(folder / "data", shape)
    settings = {"bundle_root": bundle, "dataset_dir": folder / "data", "output_dir": folder / "results", **overrides}
    arguments = [text for key, value in settings.items() for text in (f"--{key}", str(value))]
    config = str(Path(bundle) / "configs" / "inference.json")
    start = time.perf_counter()
    subprocess.run([sys.executable, "-m", "monai.bundle", "run", "--config_file", config, *arguments], check=True)
    seconds = time.perf_counter() - start
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    print("| voxels | settings | seconds | CPU seconds | peak memory (GB) |\n|---|---|---|---|---|")
    shown = ", ".join(f"{k} {v}" for k, v in overrides.items()) or "default"
    memory = used.ru_maxrss * 1024 / 1e9
    cpu = used.ru_utime + used.ru_stime
    print(f"| {' x '.join(map(str, shape))} | {shown} | {seconds:.0f} | {cpu:.0f} | {memory:.1f} |")
    print(
        f"{os.cpu_count()} cores, {platform.machine()}, OMP_NUM_THREADS={os.environ.get('OMP_NUM_THREADS', 'not set')}"
    )


if __name__ == "__main__":
    fire.Fire(volume)
