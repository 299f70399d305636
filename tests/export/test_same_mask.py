# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0


"""The exported file gives the mask that ``monai.bundle run`` writes, with which others are compared elsewhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.bundle import run
from PIL import Image

from medsegdiff_monai.apps.bundle import Bundle
from medsegdiff_monai.apps.export import OnnxNetwork, export_bundle
from medsegdiff_monai.data.phantoms import make_phantom
from medsegdiff_monai.inferers import member_noise

pytestmark = pytest.mark.slow


def write_case(folder: Path, kind: str, size: tuple[int, ...]) -> Path:
    """A phantom in a file, larger than the input of a picture's network."""
    folder.mkdir()
    image, _ = make_phantom(kind, np.random.default_rng(4), size)
    if kind == "brain":
        nib.save(nib.Nifti1Image(np.ascontiguousarray(image, dtype=np.float32), np.eye(4)), folder / "a.nii.gz")
    else:
        Image.fromarray(image).save(folder / "a.png")
    name = "a.nii.gz" if kind == "brain" else "a.png"
    (folder / "datalist.json").write_text(json.dumps({"test": [{"image": name}]}), encoding="utf-8")
    return folder / name


def label_map(exported: Any, image: Path, bundle: Path, settings: dict[str, int], roi: list[int] | None) -> np.ndarray:
    """The bundle's own preprocessing and postprocessing around a file: what a host that only has the file would do."""
    opened = Bundle(bundle, device="cpu", **settings)
    batch = opened.prepare(opened.load(str(image)))
    inputs: Any = batch["image"]
    spatial = inputs.shape[2:]
    size = list(spatial) if roi is None else roi
    padding = [p for s, t in zip(reversed(spatial), reversed(size)) for p in (0, t - s)]
    padded = (
        torch.nn.functional.pad(inputs.as_tensor(), padding, mode="replicate") if any(padding) else inputs.as_tensor()
    )
    shape = [int(opened.get("denoiser#out_channels")), *size]
    noise = member_noise(opened.get("seed"), range(opened.get("num_ensemble")), shape, 0)[None]
    with torch.no_grad():
        probability = exported(padded, noise)[(..., *(slice(0, s) for s in spatial))]
    return opened.finish(batch, probability)["segmentation"][0].numpy()


@pytest.mark.parametrize(
    ("name", "kind", "size", "suffix"),
    [
        ("thyroid_ultrasound_medsegdiff", "ultrasound", (150, 120), ".ts"),
        ("thyroid_ultrasound_medsegdiff", "ultrasound", (150, 120), ".onnx"),
        ("brats_mri_medsegdiff", "brain", (90, 80, 72), ".ts"),
    ],
)
def test_mask_is_that_of_the_bundle(
    thyroid_bundle: Path, tmp_path: Path, name: str, kind: str, size: tuple[int, ...], suffix: str
) -> None:
    bundle = thyroid_bundle.parent / name
    image = write_case(tmp_path / "data", kind, size)
    places = {"dataset_dir": tmp_path / "data", "output_dir": tmp_path / "out", "bundle_root": bundle}
    settings = {"num_inference_steps": 2, "num_ensemble": 2}
    paths = {key: str(path) for key, path in places.items()}
    run(config_file=str(bundle / "configs" / "inference.json"), **paths, **settings)
    written = next((tmp_path / "out").glob("a_seg.*"))
    expected = np.asarray(nib.load(written).dataobj) if kind == "brain" else np.asarray(Image.open(written)).T
    assert len(np.unique(expected)) > 1

    path = export_bundle(str(bundle), str(tmp_path / f"model{suffix}"), steps=2, members=2)
    exported = OnnxNetwork(path) if suffix == ".onnx" else torch.jit.load(str(path))
    actual = label_map(exported, image, bundle, settings, [96, 96, 96] if kind == "brain" else None)
    # Probabilities agree to 1e-4; a pixel that has a half to that precision may fall on either side.
    assert actual.shape == expected.shape
    assert (actual != expected).sum() <= 1e-5 * expected.size
