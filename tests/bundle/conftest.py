# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.bundle import ConfigParser

from medsegdiff_monai.data.phantoms import write_phantoms

NARROW = [8, 16, 16, 16]

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
            # Pictures are larger than the small networks take them: results have to come back to the pictures' size.
            write_phantoms(made[kind], kind, 8, 3, 3, 32 if kind == "brain" else 40, seed=5)
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
def untrained_of(
    parse: Callable[..., ConfigParser], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[Path], Path]:
    """A file of random weights that fit a bundle's small setting."""

    def get(bundle: Path) -> Path:
        torch.manual_seed(0)
        network = parse(bundle, "inference.json", **SMALL[bundle.name]).get_parsed_content("network_def")
        path = tmp_path_factory.mktemp("untrained") / "model.pt"
        torch.save(network.state_dict(), path)
        return path

    return get


@pytest.fixture(scope="session")
def bundle_command() -> Callable[..., list[str]]:
    """A call of ``monai.bundle run`` as the READMEs show it; ``processes`` starts it by torchrun."""

    def build(bundle: Path, configs: list[str], processes: int = 0, small: bool = True, **overrides: Any) -> list[str]:
        launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"] if processes else []
        settings = {"bundle_root": bundle, **(SMALL[bundle.name] if small else {}), **overrides}
        arguments = [text for key, value in settings.items() for text in (f"--{key}", str(value))]
        files = [str(bundle / "configs" / c) for c in configs]
        return [sys.executable, *launcher, "-m", "monai.bundle", "run", "--config_file", str(files), *arguments]

    return build


@pytest.fixture(scope="session")
def run_bundle(bundle_command: Callable[..., list[str]]) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run that call, with the small setting unless ``small`` is False."""

    def run(*arguments: Any, **settings: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            bundle_command(*arguments, **settings),
            capture_output=True,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            check=False,
        )

    return run
