# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from monai.bundle import ConfigParser
from PIL import Image
from support.label_studies import BRATS, FUNDUS, SMALL, THYROID

from medsegdiff_monai.apps.bundle import Bundle
from medsegdiff_monai.apps.label import prepare_app
from medsegdiff_monai.apps.label.__main__ import main
from medsegdiff_monai.apps.label.bundles import label_values
from medsegdiff_monai.data.phantoms import make_phantom
from medsegdiff_monai.handlers import load_weights
from medsegdiff_monai.utils import InputError


def test_classes_are_numbered_without_a_gap() -> None:
    regions, classes = label_values({"TC": [1, 4], "WT": [1, 2, 4], "ET": [4]})
    assert regions == {"TC": [1, 3], "WT": [1, 2, 3], "ET": [3]}
    assert classes == {"necrotic core": 1, "oedema": 2, "enhancing tumour": 3}
    assert label_values({"nodule": [1, 255]}) == ({"nodule": [1]}, {"nodule": 1})
    assert label_values({"disc": [1, 2], "cup": [2]})[1] == {"disc rim": 1, "cup": 2}


@pytest.mark.parametrize("name", list(SMALL))
def test_copies_have_the_options_and_weights_of_their_bundles(name: str, thyroid_bundle: Path, tmp_path: Path) -> None:
    bundle = thyroid_bundle.parent / name
    before = {path: path.stat().st_mtime_ns for path in bundle.rglob("*")}
    copy = prepare_app(tmp_path, [bundle]) / "model" / name
    assert {path: path.stat().st_mtime_ns for path in bundle.rglob("*")} == before
    parser = ConfigParser()
    parser.read_config(str(copy / "configs" / "inference.json"))
    original = json.loads((bundle / "configs" / "inference.json").read_text())
    options = {key: original[key] for key in ("num_inference_steps", "num_ensemble")}
    assert parser["displayable_configs"] == options
    parser["displayable_configs"] = {"num_inference_steps": 2, "num_ensemble": 7}
    inferer: Any = parser.get_parsed_content("inferer")
    assert (len(inferer.timesteps), inferer.num_ensemble) == (2, 7)
    load_weights(parser.get_parsed_content("network_def"), copy / "models" / "model.pt")


def test_a_copy_makes_the_label_map_pred_and_writes_nothing(thyroid_bundle: Path, tmp_path: Path) -> None:
    bundle = thyroid_bundle.parent / FUNDUS
    copy = prepare_app(tmp_path / "app", [bundle]) / "model" / FUNDUS
    before = sorted(copy.rglob("*"))
    image = make_phantom("fundus", np.random.default_rng(3), (60, 72))[0]
    Image.fromarray(image).save(tmp_path / "a.png")
    quick = {"num_inference_steps": 1, "num_ensemble": 2}
    opened = Bundle(copy, device="cpu", **quick)
    batch = opened.prepare(opened.load(str(tmp_path / "a.png")))
    case = opened.finish(batch, opened.inferer(batch["image"], opened.network))
    expected = Bundle(bundle, device="cpu", **quick).segment(opened.load(str(tmp_path / "a.png"))).label_map
    np.testing.assert_array_equal(case["pred"].numpy(), expected)
    assert expected.any()
    assert sorted(copy.rglob("*")) == before


def test_training_keeps_what_it_resumes_from_out_of_the_models(thyroid_bundle: Path, tmp_path: Path) -> None:
    bundles = [thyroid_bundle.parent / name for name in (THYROID, FUNDUS, BRATS)]
    app = prepare_app(tmp_path, bundles)
    for bundle in bundles:
        parser = ConfigParser()
        parser.read_config(str(app / "model" / bundle.name / "configs" / "train.json"))
        parser["bundle_root"] = "/copy"
        parser["train#trainer#max_epochs"] = 7
        assert parser.get_parsed_content("best_model#path") == "/copy/models/model.pt"
        assert parser.get_parsed_content("last_model#path") == "/copy/training/last.pt"
        assert parser.get_parsed_content("max_epochs") == 7
        assert parser.get_parsed_content("finetune_from") == "/copy/models/model.pt"


def test_an_app_that_is_there_keeps_its_main(thyroid_bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text("# an app of its own\n")
    prepare_app(tmp_path, [thyroid_bundle])
    assert (tmp_path / "main.py").read_text() == "# an app of its own\n"


def test_bad_input_is_refused_and_leaves_nothing(thyroid_bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No bundle is given"):
        prepare_app(tmp_path / "app", [])
    with pytest.raises(InputError, match="There is no bundle with weights"):
        prepare_app(tmp_path / "app", [tmp_path])
    app = prepare_app(tmp_path / "app", [thyroid_bundle])
    weights = app / "model" / THYROID / "models" / "model.pt"
    weights.write_bytes(b"trained on")
    with pytest.raises(InputError, match="may hold weights that were trained on"):
        prepare_app(app, [thyroid_bundle])
    assert weights.read_bytes() == b"trained on"
    assert [path.name for path in (app / "model").iterdir()] == [THYROID]


@pytest.mark.parametrize("folder", ["1e5", "a,b", "None"])
def test_folders_of_any_name_are_what_was_typed(
    folder: str, thyroid_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "2024").symlink_to(thyroid_bundle)
    monkeypatch.setattr(sys, "argv", ["medsegdiff_monai.apps.label", "prepare", folder, "2024"])
    main()
    assert [path.name for path in (tmp_path / folder / "model").iterdir()] == [THYROID]
