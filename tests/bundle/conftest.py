# Copyright (c) MedSegDiff-MONAI contributors
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#     http://www.apache.org/licenses/LICENSE-2.0
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from monai.bundle import ConfigParser

from medsegdiff_monai.data.phantoms import write_phantoms

NARROW = [8, 8, 16, 16, 16]

# What makes each bundle small enough to train in seconds, with the phantoms that stand for its images.
SMALL: dict[str, dict[str, Any]] = {
    "thyroid_ultrasound_medsegdiff": {"image_size": [32, 32], "denoiser#channels": NARROW},
    "fundus_optic_medsegdiff": {"image_size": [32, 32], "denoiser#channels": NARROW},
    "brats_mri_medsegdiff": {
        "patch_size": [32, 32, 32],
        "spacing": [6.0, 6.0, 6.0],  # the phantoms' own, nearly: nothing is made larger
        "denoiser#channels": NARROW,
        "denoiser#spatial_size": [32, 32, 32],
    },
}
KINDS = {
    "thyroid_ultrasound_medsegdiff": "ultrasound",
    "fundus_optic_medsegdiff": "fundus",
    "brats_mri_medsegdiff": "brain",
}


@pytest.fixture(params=list(SMALL), ids=lambda name: name.split("_")[0])
def bundle(request: pytest.FixtureRequest, thyroid_bundle: Path) -> Path:
    """Folder of each of the three bundles."""
    return thyroid_bundle.parent / request.param


@pytest.fixture(scope="session")
def phantoms_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], Path]:
    """Folder of a few phantoms for a bundle: 8 to train on, 3 to validate, 3 to test."""
    made: dict[str, Path] = {}

    def get(bundle: Path) -> Path:
        kind = KINDS[bundle.name]
        if kind not in made:
            made[kind] = tmp_path_factory.mktemp(kind)
            write_phantoms(made[kind], kind, 8, 3, 3, 32, seed=5)
        return made[kind]

    return get


@pytest.fixture(scope="session")
def small_of() -> Callable[[Path], dict[str, Any]]:
    """The overrides that make a bundle small."""
    return lambda bundle: SMALL[bundle.name]


@pytest.fixture(scope="session")
def parse() -> Callable[..., ConfigParser]:
    """A bundle's configurations, read and overridden, on the CPU."""

    def get(bundle: Path, *configs: str, **overrides: Any) -> ConfigParser:
        parser = ConfigParser()
        parser.read_config([str(bundle / "configs" / c) for c in configs])
        parser.update({"bundle_root": str(bundle), "device": "$torch.device('cpu')", **overrides})
        parser["imports"] = ["$import torch"]
        return parser

    return get


@pytest.fixture(scope="session")
def run_bundle() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run ``monai.bundle run`` as the READMEs show it, with the small setting; ``processes`` starts it by torchrun."""

    def run(bundle: Path, configs: list[str], processes: int = 0, **overrides: Any) -> subprocess.CompletedProcess[str]:
        launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"] if processes else []
        settings = {"bundle_root": bundle, **SMALL[bundle.name], **overrides}
        arguments = [text for key, value in settings.items() for text in (f"--{key}", str(value))]
        files = [str(bundle / "configs" / c) for c in configs]
        return subprocess.run(
            [sys.executable, *launcher, "-m", "monai.bundle", "run", "--config_file", str(files), *arguments],
            capture_output=True,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            check=False,
        )

    return run
