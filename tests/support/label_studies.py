# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

"""Small bundles and images for the tests of MONAI Label."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import nibabel as nib
import numpy as np
import torch
from monai.bundle import ConfigParser
from PIL import Image
from pydicom.dataset import Dataset

from medsegdiff_monai.data.phantoms import make_phantom

if TYPE_CHECKING:
    from support.orthanc import Orthanc

THYROID, FUNDUS, BRATS = "thyroid_ultrasound_medsegdiff", "fundus_optic_medsegdiff", "brats_mri_medsegdiff"
NARROW = [8, 16, 16, 16]
QUICK = {"num_inference_steps": 1, "num_ensemble": 2, "val_inference_steps": 1, "batch_size": 2}
# What makes each bundle small enough to run and train in seconds. Without a learning rate, training has to end with
# the weights that it began with.
SMALL: dict[str, dict[str, Any]] = {
    THYROID: {"image_size": [32, 32], "denoiser#channels": NARROW, "learning_rate": 0.003, **QUICK},
    FUNDUS: {"image_size": [32, 32], "denoiser#channels": NARROW, "learning_rate": 0.0, **QUICK},
    BRATS: {
        "patch_size": [32, 32, 32],
        "spacing": [8.0, 8.0, 8.0],
        "denoiser#channels": NARROW,
        "denoiser#spatial_size": [32, 32, 32],
        "learning_rate": 0.0,
        **QUICK,
    },
}
CONTRASTS = ("flair", "t1", "t1ce", "t2")
# Neither RAS nor isotropic: voxel axes run to the left, the back and up, of 7, 8 and 9 mm, with an origin.
AFFINE = np.array([[-7.0, 0, 0, 60.0], [0, -8.0, 0, 70.0], [0, 0, 9.0, -50.0], [0, 0, 0, 1.0]])


def make_small(bundle: Path, copy: Path) -> None:
    """Copy a bundle and make the copy small in its own configurations, with seeded random weights."""
    (copy / "models").mkdir(parents=True)
    (copy / "configs").mkdir()
    for config in ("metadata.json", "dicom.json"):
        (copy / "configs" / config).write_bytes((bundle / "configs" / config).read_bytes())
    for config in ("inference.json", "train.json"):
        parser = ConfigParser()
        parser.read_config(str(bundle / "configs" / config))
        for key, value in SMALL[bundle.name].items():
            if key.split("#")[0] in parser.config:
                parser.set(value, key)
        ConfigParser.export_config_file(parser.config, str(copy / "configs" / config), indent=4)
    parser.read_config(str(copy / "configs" / "inference.json"))
    torch.manual_seed(7)
    network: Any = parser.get_parsed_content("network_def")
    torch.save(network.state_dict(), copy / "models" / "model.pt")


def _save_volume(array: np.ndarray, path: Path) -> str:
    volume = nib.Nifti1Image(array, AFFINE)
    volume.header.set_xyzt_units("mm")
    nib.save(volume, path)
    return str(path)


def draw_pictures(kind: str, folder: Path, labels: Path) -> dict[str, Any]:
    """Four pictures, one of those of the fundus as JPEG, and their labels; the files of each case by its name."""
    cases: dict[str, Any] = {}
    for i in range(4):
        image, label = make_phantom(kind, np.random.default_rng([3, i]), (40, 52))
        suffix = ".jpg" if kind == "fundus" and i == 0 else ".png"
        Image.fromarray(image).save(folder / f"case{i}{suffix}")
        Image.fromarray(label).save(labels / f"case{i}.png")
        cases[f"case{i}"] = str(folder / f"case{i}{suffix}")
    return cases


def draw_volumes(folder: Path, labels: Path) -> dict[str, Any]:
    """Two cases in one 4D file each, and two in the folders and files of BraTS, linked into the studies by FLAIR."""
    cases: dict[str, Any] = {}
    for i in range(4):
        image, label = make_phantom("brain", np.random.default_rng([4, i]), (20, 18, 16))
        image, label = image[::-1, ::-1], label[::-1, ::-1]
        if i < 2:
            name = f"case{i}"
            cases[name] = _save_volume(np.ascontiguousarray(image), folder / f"{name}.nii.gz")
        else:
            case = folder.parent / "BraTS" / f"BraTS2021_0000{i}"
            case.mkdir(parents=True)
            files = [case / f"{case.name}_{contrast}.nii.gz" for contrast in CONTRASTS]
            name = f"{case.name}_flair"
            cases[name] = [_save_volume(np.ascontiguousarray(image[..., c]), f) for c, f in enumerate(files)]
            (folder / f"{name}.nii.gz").symlink_to(files[0])
        label = np.where(label == 4, 3, label).astype(np.uint8)
        _save_volume(np.ascontiguousarray(label), labels / f"{name}.nii.gz")
    return cases


def stored_objects(orthanc: Orthanc, modality: str) -> list[Dataset]:
    """All objects of a modality that a PACS has, whole."""
    studies = {item["0020000D"]["Value"][0] for item in orthanc.query("studies")}
    found = [orthanc.file(name) for study in studies for name in orthanc.objects(study).values()]
    return [ds for ds in found if ds.Modality == modality]
