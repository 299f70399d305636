# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

"""Each bundle in MONAI Label's own ``monaibundle`` app: from an image to a label and on to weights trained with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser
from PIL import Image
from support.label_server import LabelServer
from support.label_studies import BRATS, FUNDUS, SMALL, THYROID

from medsegdiff_monai.handlers import load_weights

CLASSES = {
    THYROID: {"nodule": 1},
    FUNDUS: {"disc rim": 1, "cup": 2},
    BRATS: {"necrotic core": 1, "oedema": 2, "enhancing tumour": 3},
}


@dataclass
class Annotation:
    """A server with a bundle, its images and their labels."""

    name: str
    app: Path
    server: LabelServer
    studies: Path
    labels: Path
    cases: dict[str, Any]

    @property
    def weights(self) -> Path:
        return self.app / "model" / self.name / "models" / "model.pt"

    @property
    def suffix(self) -> str:
        return ".nii.gz" if self.name == BRATS else ".png"


@pytest.fixture(scope="module", params=[THYROID, FUNDUS, BRATS], ids=lambda name: name.split("_")[0])
def annotation(request: Any, stock_app: Any, draw_studies: Any, start_server: Any) -> Annotation:
    name = request.param
    app = stock_app(name)
    studies, labels, cases = draw_studies(name)
    server = start_server(app, studies, models=name, zoo_source="local", sam2="false")
    return Annotation(name, app, server, studies, labels, cases)


def read(path: Path) -> np.ndarray:
    """A label in its file's own axes."""
    return np.asarray(nib.load(path).dataobj) if path.name.endswith(".nii.gz") else np.asarray(Image.open(path))


def test_info_names_the_classes_and_the_options(annotation: Annotation) -> None:
    info = annotation.server.request("GET", "/info/").json()
    model = info["models"][annotation.name]
    assert model["labels"] == CLASSES[annotation.name]
    assert model["dimension"] == (3 if annotation.name == BRATS else 2)
    assert model["config"]["num_inference_steps"] == SMALL[annotation.name]["num_inference_steps"]
    assert model["config"]["num_ensemble"] == SMALL[annotation.name]["num_ensemble"]
    assert model["config"]["model_filename"] == ["model.pt"]
    assert annotation.name in info["trainers"]
    assert info["datastore"]["total"] == 4


def test_infer_gives_the_mask_of_the_bundle_on_the_grid_of_the_image(
    annotation: Annotation, bundle_masks: Callable[..., Path], tmp_path: Path
) -> None:
    reference = bundle_masks(annotation.name, annotation.cases)
    for case, image in annotation.cases.items():
        label = annotation.server.infer(annotation.name, case, tmp_path / f"{case}{annotation.suffix}")
        expected = read(reference / f"{case}_seg{annotation.suffix}")
        if annotation.name == BRATS:
            expected = np.where(expected == 4, 3, expected)
            first = nib.load(image[0] if isinstance(image, list) else image)
            np.testing.assert_allclose(nib.load(label).affine, first.affine, atol=1e-4)
        assert len(np.unique(expected)) > 1
        assert read(label).dtype == np.uint8
        np.testing.assert_array_equal(read(label), expected)


def test_steps_and_members_of_a_request_are_used(
    annotation: Annotation, bundle_masks: Callable[..., Path], tmp_path: Path
) -> None:
    case = next(iter(annotation.cases))
    options = {"num_inference_steps": 2, "num_ensemble": 3}
    reference = bundle_masks(annotation.name, {case: annotation.cases[case]}, **options)
    expected = read(reference / f"{case}_seg{annotation.suffix}")
    expected = np.where(expected == 4, 3, expected)
    label = read(annotation.server.infer(annotation.name, case, tmp_path / f"a{annotation.suffix}", **options))
    usual = read(annotation.server.infer(annotation.name, case, tmp_path / f"b{annotation.suffix}"))
    np.testing.assert_array_equal(label, expected)
    assert (label != usual).any()


def test_labels_are_stored_and_labelled_images_no_longer_offered(annotation: Annotation) -> None:
    server = annotation.server
    offered = []
    for _ in annotation.cases:
        case = server.next_image("first")["id"]
        offered.append(case)
        server.save_label(case, annotation.labels / f"{case}{annotation.suffix}")
        stored = annotation.studies / "labels" / "final" / f"{case}{annotation.suffix}"
        np.testing.assert_array_equal(read(stored), read(annotation.labels / f"{case}{annotation.suffix}"))
    assert sorted(offered) == sorted(annotation.cases)
    assert server.next_image("first") == {}


def test_training_goes_on_from_the_weights_and_serves_the_new_ones(annotation: Annotation, tmp_path: Path) -> None:
    server, case = annotation.server, next(iter(annotation.cases))
    before = torch.load(annotation.weights, weights_only=True)
    mask = read(server.infer(annotation.name, case, tmp_path / f"a{annotation.suffix}"))
    for image in annotation.cases:
        server.save_label(image, annotation.labels / f"{image}{annotation.suffix}")
    frozen = SMALL[annotation.name].get("learning_rate") == 0.0
    server.run_task("train", annotation.name, max_epochs=2 if frozen else 20, val_split=0.25, device="cpu")
    after = torch.load(annotation.weights, weights_only=True)
    assert after.keys() == before.keys()
    change = max(float((after[k].float() - v.float()).abs().max()) for k, v in before.items())
    again = read(server.infer(annotation.name, case, tmp_path / f"b{annotation.suffix}"))
    if frozen:
        # The weights that were there: a network that had begun anew would end as another one.
        assert change < 1e-6
        np.testing.assert_array_equal(again, mask)
    else:
        assert change > 1e-4
        assert (again != mask).any()
    assert [path.name for path in annotation.weights.parent.glob("*.pt")] == ["model.pt"]


def test_trained_weights_fit_the_unchanged_bundle(annotation: Annotation, small_bundle: Callable[[str], Path]) -> None:
    parser = ConfigParser()
    parser.read_config(str(small_bundle(annotation.name) / "configs" / "inference.json"))
    load_weights(parser.get_parsed_content("network_def"), annotation.weights)
