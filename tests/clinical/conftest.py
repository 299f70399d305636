# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("highdicom", reason="needs medsegdiff_monai[dicom]")

import torch
from apps.dicom import objects
from monai.bundle import ConfigParser
from support.orthanc import PASSWORD, USER, Orthanc

from medsegdiff_monai.apps.dicom import DicomSegmenter
from medsegdiff_monai.apps.dicomweb import Credentials, Limits, Pacs, StudyOptions
from medsegdiff_monai.apps.dicomweb.command import segment_studies
from medsegdiff_monai.data.phantoms import make_phantom

REPOSITORY = Path(__file__).resolve().parents[2]
SMALL: dict[str, dict[str, Any]] = {
    "thyroid_ultrasound_medsegdiff": {"image_size": [32, 32]},
    "brats_mri_medsegdiff": {"patch_size": [32] * 3, "spacing": [8.0] * 3, "denoiser#spatial_size": [32] * 3},
}
QUICK = {"num_inference_steps": 1, "num_ensemble": 2}


@pytest.fixture(scope="session", autouse=True)
def _no_proxy_of_the_environment() -> Iterator[None]:
    """Loopback is reached directly, also by processes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NO_PROXY", "127.0.0.1,localhost")
        patch.setenv("no_proxy", "127.0.0.1,localhost")
        yield


@pytest.fixture(scope="session")
def orthanc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    """A PACS for all tests that leave it running; its log is shown where one of them fails."""
    server = Orthanc(tmp_path_factory.mktemp("orthanc"))
    yield server
    server.stop()


@pytest.fixture(autouse=True)
def _log_of_the_pacs(request: pytest.FixtureRequest) -> Iterator[None]:
    """The end of the log of a test's PACS, which pytest shows where the test fails."""
    yield
    server = request.node.funcargs.get("orthanc")
    if server is not None:
        print(f"The log of Orthanc ends:\n{server.tail(20)}")


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folder of the temporary files of the code under test, also of its processes."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.setenv("TMPDIR", str(folder))
    return folder


def _shrunk(bundle: Path, copy: Path) -> Path:
    """A copy of a bundle for small images, with seeded random weights."""
    (copy / "models").mkdir(parents=True)
    shutil.copytree(bundle / "configs", copy / "configs")
    parser = ConfigParser()
    parser.read_config(str(bundle / "configs" / "inference.json"))
    for key, value in {**SMALL[bundle.name], **QUICK}.items():
        parser.set(value, key)
    ConfigParser.export_config_file(parser.config, str(copy / "configs" / "inference.json"), indent=4)
    torch.manual_seed(7)
    network: Any = parser.get_parsed_content("network_def")
    torch.save(network.state_dict(), copy / "models" / "model.pt")
    return copy


@pytest.fixture(scope="session")
def small_bundle(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A bundle by name, made small in its own configurations (one step, two members), with seeded random weights."""
    made: dict[str, Path] = {}

    def get(name: str) -> Path:
        if name not in made:
            made[name] = _shrunk(REPOSITORY / "bundle" / name, tmp_path_factory.mktemp("small") / name)
        return made[name]

    return get


@pytest.fixture(scope="session")
def segmenter_of(small_bundle: Callable[[str], Path]) -> Callable[[str], DicomSegmenter]:
    """A small bundle by name, ready to segment."""
    made: dict[str, DicomSegmenter] = {}

    def get(name: str) -> DicomSegmenter:
        if name not in made:
            made[name] = DicomSegmenter(small_bundle(name), device="cpu")
        return made[name]

    return get


@dataclass
class Outcome:
    """What a run said and how many studies failed."""

    failed: int
    said: str = field(default="")


@pytest.fixture
def run() -> Callable[..., Outcome]:
    """The command without its process: segment studies of a PACS."""

    def segment(
        url: str, segmenter: DicomSegmenter, *studies: str, password: str = PASSWORD, **options: Any
    ) -> Outcome:
        lines: list[str] = []
        pacs = Pacs(url, Credentials(USER, password), Limits(timeout=options.pop("timeout", 300.0)))
        failed, *_ = segment_studies(pacs, segmenter, studies, StudyOptions(report=lines.append, **options))
        return Outcome(failed, "\n".join(lines))

    return segment


@pytest.fixture(scope="session")
def put_ultrasound() -> Callable[[Orthanc, Path], str]:
    """Stores a new study with one ultrasound image, written into a folder, and gives its UID."""
    image = make_phantom("ultrasound", np.random.default_rng(4), (72, 90))[0]

    def put(server: Orthanc, folder: Path) -> str:
        study = objects.new_study()
        objects.picture(folder / "a.dcm", image, study)
        server.put(folder)
        return str(study["StudyInstanceUID"])

    return put


@pytest.fixture
def new_study(orthanc: Orthanc, put_ultrasound: Callable[[Orthanc, Path], str], tmp_path: Path) -> str:
    """A study with one ultrasound image, in the PACS; its UID."""
    return put_ultrasound(orthanc, tmp_path / "thyroid")


@pytest.fixture(scope="session")
def real_series() -> Path:
    """Folder of a real MR series; tests that need it are skipped where it is absent."""
    folder = Path(os.environ.get("MEDSEGDIFF_DATA", REPOSITORY.parent / "shared" / "data")) / "dicom_brain_t1"
    if not (folder / "series").is_dir():
        pytest.skip(f"no real DICOM in {folder}: set MEDSEGDIFF_DATA to the folder that holds dicom_brain_t1")
    return folder / "series"
