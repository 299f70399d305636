# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0


"""Where the time of a four-contrast MR study goes, from DICOM files to DICOM files, through the brain bundle.

    PYTHONPATH=tests python benchmarks/dicom_study.py --out <folder>

Makes a phantom study of the size of a BraTS case (four series of 155 slices of 240 x 240 pixels), then does what the
command ``dicom`` does and prints a Markdown table of the parts: reading and geometry, segmentation, making and writing
the objects. The share of all but the segmentation is in the last line.
"""

from __future__ import annotations

import os
import platform
import shutil
import time
from pathlib import Path
from typing import Any

import fire
import numpy as np
from apps.dicom import objects

from medsegdiff_monai.apps.dicom import (
    DicomSegmenter,
    Privacy,
    VolumeInput,
    find_dicom_cases,
    make_objects,
    prepare_folder,
    read_headers,
    write_case,
)
from medsegdiff_monai.data.phantoms import make_phantom

BUNDLE = Path(__file__).resolve().parents[1] / "bundle" / "brats_mri_medsegdiff"


class Clock:
    """Seconds of each part, in order."""

    def __init__(self) -> None:
        self.parts: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, part: str) -> None:
        """End a part."""
        now = time.perf_counter()
        self.parts[part], self._last = now - self._last, now


def dicom_study(
    out: str, shape: tuple[int, ...] = (240, 240, 155), bundle: str = str(BUNDLE), **overrides: Any
) -> None:
    """Measure one study.

    Args:
        out: folder of the study and of the results.
        shape: columns, rows and slices.
        bundle: folder of the brain bundle.
        overrides: settings of the bundle, such as ``num_ensemble``.
    """
    folder = Path(out)
    shutil.rmtree(folder / "study", ignore_errors=True)
    image, _ = make_phantom("brain", np.random.default_rng(0), shape)
    objects.brain_study(folder / "study", image, np.eye(4))
    segmenter = DicomSegmenter(bundle, **overrides)
    results = prepare_folder(folder / "results", overwrite=True)
    clock = Clock()
    privacy = Privacy()
    instances, _ = read_headers([folder / "study"], privacy)
    ((case,), _) = find_dicom_cases(instances, segmenter.codes, privacy)
    clock.lap("reading headers")
    source = segmenter.read(case)
    assert isinstance(source, VolumeInput)
    clock.lap("reading pixels, geometry")
    found = segmenter.segmenter.segment(source.image, members=True)
    clock.lap("segmentation")
    made = make_objects(source, [found], segmenter.codes, segmenter.equipment)
    clock.lap("making the objects")
    write_case(results, 1, made)
    clock.lap("writing the objects")
    whole = sum(clock.parts.values())
    print(
        f"{' x '.join(map(str, shape))}, {os.cpu_count()} cores, {platform.machine()}, {segmenter.segmenter.settings}\n"
    )
    print("| part | seconds | share |\n|---|---|---|")
    for part, seconds in clock.parts.items():
        print(f"| {part} | {seconds:.1f} | {100 * seconds / whole:.1f} % |")
    print(f"| all but the segmentation | {whole - clock.parts['segmentation']:.1f} | ", end="")
    print(f"{100 * (1 - clock.parts['segmentation'] / whole):.1f} % |")


if __name__ == "__main__":
    fire.Fire(dicom_study)
