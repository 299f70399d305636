# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from PIL import Image
from support.bundle_run import bundle_run

from medsegdiff_monai.apps.bundle import Bundle, read_config
from medsegdiff_monai.data.phantoms import make_phantom
from medsegdiff_monai.utils import InputError

SETTINGS = {"num_inference_steps": 1, "num_ensemble": 2}
THYROID, FUNDUS = "thyroid_ultrasound_medsegdiff", "fundus_optic_medsegdiff"


@pytest.fixture(scope="module")
def ultrasound_image() -> np.ndarray:
    """An ultrasound phantom ``(rows, columns)`` that is not square."""
    return make_phantom("ultrasound", np.random.default_rng(4), (72, 90))[0]


@pytest.fixture(scope="module")
def thyroid(thyroid_bundle: Path) -> Bundle:
    return Bundle(thyroid_bundle, device="cpu", **SETTINGS)


@pytest.fixture
def copy(thyroid_bundle: Path, tmp_path: Path) -> Path:
    """The thyroid bundle without its weights."""
    shutil.copytree(thyroid_bundle / "configs", tmp_path / "bundle" / "configs")
    return tmp_path / "bundle"


def picture_tensor(array: np.ndarray) -> MetaTensor:
    channels = array[None] if array.ndim == 2 else np.moveaxis(array, -1, 0)
    return MetaTensor(torch.as_tensor(np.ascontiguousarray(channels.swapaxes(1, 2)), dtype=torch.float32))


@pytest.mark.parametrize("name", [THYROID, FUNDUS])
def test_pictures_get_the_mask_that_monai_bundle_writes(
    thyroid_bundle: Path, name: str, ultrasound_image: np.ndarray, tmp_path: Path
) -> None:
    bundle = thyroid_bundle.parent / name
    image = ultrasound_image if name == THYROID else make_phantom("fundus", np.random.default_rng(1), (80, 96))[0]
    (tmp_path / "data").mkdir()
    Image.fromarray(image).save(tmp_path / "data" / "a.png")
    bundle_run(bundle, tmp_path / "data", tmp_path / "out", **SETTINGS)
    result = Bundle(bundle, **SETTINGS).segment(picture_tensor(image))
    written = np.asarray(Image.open(tmp_path / "out" / "a_seg.png"))
    np.testing.assert_array_equal(result.label_map.T, written)
    assert 0 < np.count_nonzero(written) < written.size
    region = "" if name == THYROID else "_disc"
    probability = np.asarray(Image.open(tmp_path / "out" / f"a_probability{region}.png")) / 65535.0
    np.testing.assert_allclose(result.probability[0].T, probability, atol=1e-5)
    uncertainty = np.asarray(Image.open(tmp_path / "out" / f"a_uncertainty{region}.png")) / 65535.0
    np.testing.assert_allclose(result.uncertainty[0].T, uncertainty, atol=1e-5)


def test_an_image_in_a_file_is_that_in_memory(thyroid: Bundle, ultrasound_image: np.ndarray, tmp_path: Path) -> None:
    Image.fromarray(ultrasound_image).save(tmp_path / "a.png")
    loaded = thyroid.load(str(tmp_path / "a.png"))
    assert loaded.shape == (1, *ultrasound_image.T.shape)
    assert torch.equal(loaded.as_tensor(), picture_tensor(ultrasound_image).as_tensor())


def test_members_lie_on_the_grid_and_their_mean_is_near_the_probability(
    thyroid: Bundle, ultrasound_image: np.ndarray
) -> None:
    result = thyroid.segment(picture_tensor(ultrasound_image), members=True)
    assert result.members is not None
    assert result.members.shape == (2, 1, *ultrasound_image.T.shape)
    np.testing.assert_allclose(result.members.mean(axis=0), result.probability, atol=1e-5)
    assert np.ptp(result.members, axis=0).max() > 0


def test_a_datalist_in_the_bundle_does_not_change_the_labels(thyroid_bundle: Path, copy: Path) -> None:
    """The regions of other data have nothing to say about a patient's images."""
    (copy / "data").mkdir()
    stated = {"regions": {"nodule": [7]}, "test": ["a.png"]}
    (copy / "data" / "datalist.json").write_text(json.dumps(stated), encoding="utf-8")
    regions = Bundle(copy, device="cpu").regions
    assert regions == Bundle(thyroid_bundle, device="cpu").regions != {"nodule": [7]}
    assert Bundle(copy, device="cpu", dataset_dir=str(copy / "data")).regions == {"nodule": [7]}


def test_an_overlay_and_overrides_change_the_configuration(thyroid_bundle: Path) -> None:
    bundle = Bundle(thyroid_bundle.parent / FUNDUS, ["disc.json"], device="cpu", num_ensemble=3, seed=None)
    assert bundle.regions == {"disc": [1, 2, 255], "cup": []}
    assert bundle.settings == "4 steps, 3 members, seed 0, cpu"
    assert [file.name for file in bundle.files] == ["inference.json", "disc.json"]
    assert bundle.training()["region_values"] == {"disc": [1, 2, 255], "cup": []}


def test_a_constant_image_is_refused(thyroid: Bundle) -> None:
    with pytest.raises(InputError, match="constant"):
        thyroid.segment(picture_tensor(np.full((40, 50), 7, dtype=np.uint8)))


@pytest.mark.parametrize(
    ("settings", "fragment"),
    [
        ({"num_ensemble": 0}, "num_ensemble must be at least 1"),
        ({"num_inference_steps": 5000}, "num_inference_steps"),
        ({"device": "tea"}, "There is no device tea"),
        ({"checkpoint": "nowhere.pt"}, "nowhere.pt"),
    ],
)
def test_wrong_settings_are_refused_with_a_sentence(
    thyroid_bundle: Path, settings: dict[str, Any], fragment: str
) -> None:
    with pytest.raises(InputError, match=fragment):
        Bundle(thyroid_bundle, **{"device": "cpu", **settings}).build()


def test_a_missing_bundle_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="There is no bundle in"):
        Bundle(tmp_path)


@pytest.mark.parametrize("name", ["absent.json", "disc", "metadata.json", "train.json", "calibration.json"])
def test_what_is_no_overlay_is_refused_with_the_names_of_those_that_are(copy: Path, name: str) -> None:
    with pytest.raises(
        InputError, match=rf"no configs/{name} .*give one of its overlays \(.*paper\.json, .*small\.json"
    ):
        Bundle(copy, [name])


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('{"temprature": 1.0}', "sets 'temprature', which inference.json does not have: write one of its keys"),
        ('{"denoiser#channels": [8], "denoisr#channels": 2}', "sets 'denoisr#channels'"),
        ('{"best_model#better": 1}', "sets 'best_model#better', which inference.json does not have.*over train.json"),
        ('{"denoiser#channels#width#more": 2}', "own.json does not fit inference.json"),
        ('{"+handlers": {"more": 1}}', "own.json does not fit inference.json"),
        ("[1, 2]", "is no JSON object"),
        ("{temperature: 1}", "is no JSON object"),
    ],
)
def test_an_overlay_that_does_not_fit_is_one_sentence(copy: Path, text: str, sentence: str) -> None:
    (copy / "configs" / "own.json").write_text(text)
    with pytest.raises(InputError, match=sentence):
        Bundle(copy, ["own.json"])


def test_an_overlay_may_bring_keys_that_it_uses_itself(copy: Path) -> None:
    (copy / "configs" / "own.json").write_text('{"width": 8, "denoiser#channels": ["@width", 16, 16, 16]}')
    assert Bundle(copy, ["own.json"], device="cpu").get("denoiser#channels") == [8, 16, 16, 16]


@pytest.mark.parametrize("bundle", [THYROID, FUNDUS, "brats_mri_medsegdiff"])
def test_overlays_of_the_bundles_fit(thyroid_bundle: Path, bundle: str) -> None:
    configs = thyroid_bundle.parent / bundle / "configs"
    bases = ("inference", "train", "metadata", "dicom", "calibration", "lgg_calibration")
    overlays = [path.name for path in configs.glob("*.json") if path.stem not in bases]
    assert {"evaluate.json", "paper.json"} <= set(overlays)
    for overlay in overlays:
        base = "train.json" if overlay in ("readers_train.json", "multi_gpu_train.json") else "inference.json"
        read_config(configs.parent, [base, overlay])
