# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import importlib.util
import json
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import monai.bundle
import pytest
from support.label_studies import FUNDUS, THYROID, draw_pictures, draw_volumes, make_small

from medsegdiff_monai.apps.label import prepare_app

# MONAI Label has an environment of its own (make label-env); what needs it is not collected elsewhere.
collect_ignore_glob = (
    [] if importlib.util.find_spec("monailabel") else ["test_server_*.py", "test_scoring.py", "test_datastore.py"]
)


@pytest.fixture(scope="session")
def small_bundle(thyroid_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A bundle by name, made small in its own configurations, with seeded random weights."""
    made: dict[str, Path] = {}

    def get(name: str) -> Path:
        if name not in made:
            made[name] = tmp_path_factory.mktemp("small") / name
            make_small(thyroid_bundle.parent / name, made[name])
        return made[name]

    return get


@pytest.fixture(scope="session")
def draw_studies(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Path, Path, dict[str, Any]]]:
    """Images for a bundle: the folder of the studies, that of their labels in MONAI Label's numbers, and the cases."""

    def draw(name: str) -> tuple[Path, Path, dict[str, Any]]:
        folder = tmp_path_factory.mktemp("images")
        studies, labels = folder / "studies", folder / "truth"
        studies.mkdir()
        labels.mkdir()
        kind = {THYROID: "ultrasound", FUNDUS: "fundus"}.get(name)
        cases = draw_pictures(kind, studies, labels) if kind else draw_volumes(studies, labels)
        return studies, labels, cases

    return draw


@pytest.fixture(scope="session")
def bundle_masks(small_bundle: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Folder of the masks that ``monai.bundle run`` of the unchanged bundle makes of cases."""

    def run(name: str, cases: dict[str, Any], **overrides: Any) -> Path:
        bundle, folder = small_bundle(name), tmp_path_factory.mktemp("reference")
        listed = [{"image": image, "case": case} for case, image in cases.items()]
        (folder / "datalist.json").write_text(json.dumps({"test": listed}))
        settings = {"bundle_root": bundle, "dataset_dir": folder, "output_dir": folder / "out"}
        paths = {key: str(path) for key, path in settings.items()}
        monai.bundle.run(config_file=str(bundle / "configs" / "inference.json"), **paths, **overrides)
        return folder / "out"

    return run


@pytest.fixture(scope="module")
def start_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Any]]:
    """Start MONAI Label's server with an app and studies; it ends with the module's tests."""
    from support.label_server import LabelServer

    running: list[LabelServer] = []

    def start(app: Path, studies: Path | str, **conf: str) -> LabelServer:
        running.append(LabelServer(app, studies, conf, tmp_path_factory.mktemp("server") / "server.log"))
        running[-1].wait_until_ready()
        return running[-1]

    yield start
    for server in running:
        server.stop()


@pytest.fixture(scope="module")
def stock_app(small_bundle: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """MONAI Label's own app ``monaibundle``, as it is installed, with a bundle in it."""

    def get(name: str) -> Path:
        app = tmp_path_factory.mktemp("stock") / "monaibundle"
        shutil.copytree(Path(sys.prefix) / "monailabel" / "sample-apps" / "monaibundle", app)
        return prepare_app(app, [small_bundle(name)])

    return get
