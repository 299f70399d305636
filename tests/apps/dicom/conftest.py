# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0


from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("highdicom", reason="needs medsegdiff_monai[dicom]")

from apps.dicom import objects

from medsegdiff_monai.apps.dicom import DicomSegmenter
from medsegdiff_monai.data.phantoms import make_phantom

BUNDLES = Path(__file__).resolve().parents[3] / "bundle"
SMALL: dict[str, dict[str, Any]] = {
    "thyroid_ultrasound_medsegdiff": {},
    "fundus_optic_medsegdiff": {},
    "brats_mri_medsegdiff": {"patch_size": [32, 32, 32], "spacing": [6.0, 6.0, 6.0]},
}


@pytest.fixture(scope="session")
def bundles() -> Path:
    """Folder of the bundles."""
    return BUNDLES


@pytest.fixture(scope="session")
def real_mr() -> Path:
    """Folder of the real MR objects; tests that need it are skipped where it is absent."""
    shared = BUNDLES.parents[1] / "shared" / "data"
    folder = Path(os.environ.get("MEDSEGDIFF_DATA", shared)) / "dicom_brain_t1"
    if not folder.is_dir():
        pytest.skip(f"no real DICOM in {folder}: set MEDSEGDIFF_DATA to the folder that holds dicom_brain_t1")
    return folder


@pytest.fixture(scope="session")
def segmenter_of() -> Callable[[str], DicomSegmenter]:
    """Each bundle with its own weights, with one step and two members."""
    made: dict[str, DicomSegmenter] = {}

    def get(name: str) -> DicomSegmenter:
        if name not in made:
            made[name] = DicomSegmenter(BUNDLES / name, 1, 2, "cpu", **SMALL[name])
        return made[name]

    return get


@pytest.fixture(scope="session")
def brain_image() -> np.ndarray:
    """A brain phantom ``(X, Y, Z, 4)`` of another size along each axis."""
    return make_phantom("brain", np.random.default_rng(3), (32, 28, 24))[0]


@pytest.fixture(scope="session")
def brain_folder(brain_image: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its four series on an oblique grid."""
    folder = tmp_path_factory.mktemp("brain")
    objects.brain_study(folder, brain_image)
    return folder


@pytest.fixture(scope="session")
def ultrasound_image() -> np.ndarray:
    """An ultrasound phantom ``(rows, columns)`` that is not square."""
    return make_phantom("ultrasound", np.random.default_rng(4), (72, 90))[0]


@pytest.fixture(scope="session")
def fundus_image() -> np.ndarray:
    """A fundus phantom ``(rows, columns, 3)`` that is not square."""
    return make_phantom("fundus", np.random.default_rng(1), (80, 96))[0]
