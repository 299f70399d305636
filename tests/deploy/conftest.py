# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0


from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from support.label_studies import BRATS, FUNDUS, THYROID, make_small

from medsegdiff_monai.data.phantoms import make_phantom

# MONAI Deploy has an environment of its own (make deploy-env); what needs it is not collected elsewhere.
collect_ignore_glob = [] if importlib.util.find_spec("holoscan") else ["test_*.py"]

APPLICATION = Path(__file__).resolve().parents[2] / "examples" / "deploy"
if not collect_ignore_glob:
    sys.path.insert(0, str(APPLICATION))  # as Python does for the application itself


@pytest.fixture(scope="session")
def small_bundle(thyroid_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A bundle by name, made small in its own configurations, with seeded random weights."""
    made: dict[str, Path] = {}

    def get(name: str) -> Path:
        if name not in made:
            made[name] = tmp_path_factory.mktemp("small") / name
            make_small(thyroid_bundle.parent / name, made[name])
            shutil.copy(thyroid_bundle.parent / name / "configs" / "dicom.json", made[name] / "configs")
        return made[name]

    return get


@pytest.fixture(scope="session")
def study(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A folder with a study for a bundle, none of whose images is square or of the size that the bundle works in."""
    from apps.dicom import objects

    made: dict[str, Path] = {}

    def draw(name: str) -> Path:
        folder = tmp_path_factory.mktemp("study")
        common = objects.new_study()
        if name == BRATS:
            objects.brain_study(folder, make_phantom("brain", np.random.default_rng(3), (32, 28, 24))[0])
        elif name == FUNDUS:
            eye = make_phantom("fundus", np.random.default_rng(5), (80, 96))[0]
            objects.picture(folder / "eye.dcm", eye, common, objects.FUNDUS_8BIT, "RGB")
        else:
            frames = [make_phantom("ultrasound", np.random.default_rng(i), (72, 90))[0] for i in (4, 6)]
            objects.picture(folder / "loop.dcm", np.stack(frames), common, objects.ULTRASOUND_MULTIFRAME)
            objects.picture(folder / "still.dcm", frames[1], common)
        return folder

    def get(name: str) -> Path:
        if name not in made:
            made[name] = draw(name)
        return made[name]

    return get


@pytest.fixture(scope="session", params=[THYROID, FUNDUS, BRATS], ids=lambda name: name.split("_")[0])
def name(request: pytest.FixtureRequest) -> str:
    """Name of each bundle."""
    return str(request.param)


@pytest.fixture(scope="session")
def run_application() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run the application as a process, by its file or, without arguments, by its folder as a package does."""

    def run(*arguments: object, **environment: object) -> subprocess.CompletedProcess[str]:
        program = APPLICATION / "app.py" if arguments else APPLICATION
        line = [sys.executable, str(program), *map(str, arguments)]
        variables = {**os.environ, "OMP_NUM_THREADS": "1", **{key: str(value) for key, value in environment.items()}}
        return subprocess.run(line, capture_output=True, text=True, check=False, env=variables)

    return run
