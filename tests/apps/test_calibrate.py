# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser
from PIL import Image

from medsegdiff_monai.apps import calibrate
from medsegdiff_monai.apps.calibrate import CalibrationRecord, calibrate_bundle
from medsegdiff_monai.apps.commands import Commands
from medsegdiff_monai.data.phantoms import write_phantoms
from medsegdiff_monai.handlers import load_weights
from medsegdiff_monai.metrics import TemperatureFit, binary_log_loss
from medsegdiff_monai.networks.fusion import scale_temperature
from medsegdiff_monai.utils import InputError


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four validation cases, and sections of another kind: one of no labels, one that is damaged in part."""
    folder = tmp_path_factory.mktemp("calibration")
    write_phantoms(folder, num_training=1, num_validation=4, num_test=1, size=96, seed=3)
    datalist = json.loads((folder / "datalist.json").read_text())
    datalist["unlabelled"] = [{"image": case["image"]} for case in datalist["validation"]]
    datalist["partly"] = [datalist["validation"][0], {"image": datalist["validation"][1]["image"]}]
    (folder / "datalist.json").write_text(json.dumps(datalist))
    return folder


@pytest.fixture
def bundle(thyroid_bundle: Path, tmp_path: Path) -> Path:
    """A copy of the thyroid bundle that takes two steps and two members."""
    copy = tmp_path / "bundle"
    shutil.copytree(thyroid_bundle, copy, ignore=shutil.ignore_patterns("eval", "calibration.json"))
    config = copy / "configs" / "inference.json"
    text = config.read_text()
    for old, new in (('steps": 4', 'steps": 2'), ('num_ensemble": 5', 'num_ensemble": 2')):
        assert text.count(old) == 1
        text = text.replace(old, new)
    config.write_text(text)
    return copy


def test_temperature_and_record_are_written_and_nothing_else(
    bundle: Path, phantoms: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = bundle / "configs" / "inference.json"
    before = {p: p.read_bytes() for p in bundle.rglob("*") if p.is_file()}
    record = calibrate_bundle(str(bundle), str(phantoms), out=str(tmp_path / "out"), device="cpu")
    after = {p: p.read_bytes() for p in bundle.rglob("*") if p.is_file()}
    assert set(after) - set(before) == {bundle / "configs" / "calibration.json"}
    assert [p for p in before if before[p] != after[p]] == [config]

    changed = [
        (old, new)
        for old, new in zip(before[config].decode().splitlines(), after[config].decode().splitlines(), strict=True)
        if old != new
    ]
    was = json.loads(before[config])["temperature"]
    assert changed == [(f'    "temperature": {was},', f'    "temperature": {record.temperature},')]

    assert CalibrationRecord.read(bundle / "configs" / "calibration.json") == record
    assert (record.section, record.cases, record.regions) == ("validation", 4, ["nodule"])
    assert (record.num_inference_steps, record.num_ensemble) == (2, 2)
    assert record.weights_sha256 == hashlib.sha256((bundle / "models" / "model.pt").read_bytes()).hexdigest()
    assert record.data_set == phantoms.name
    assert sum(record.before.bins.count) == pytest.approx(4 * 96 * 96)
    assert record.after.errors["nll"] <= record.before.errors["nll"]
    assert min(Image.open(tmp_path / "out" / "reliability.png").size) > 500

    printed = capsys.readouterr().out
    assert f"Temperature {record.temperature:g}, fitted to 4 cases under 'validation'" in printed
    row = next(line for line in printed.splitlines() if line.startswith("| Brier score"))
    assert row == f"| Brier score | {record.before.errors['brier']:.4f} | {record.after.errors['brier']:.4f} |"


def test_numbers_are_those_of_the_bundles_own_members(bundle: Path, phantoms: Path) -> None:
    """The same cases through the bundle's inferer by hand, with tempered members and all voxels."""
    record = calibrate_bundle(str(bundle), str(phantoms), device="cpu", dry_run=True)
    parser = ConfigParser()
    parser.read_config(str(bundle / "configs" / "inference.json"))
    parser.update({"temperature": 1.0, "dataset_dir": str(phantoms)})
    network = parser.get_parsed_content("network_def")
    load_weights(network, bundle / "models" / "model.pt")
    losses: dict[float, list[torch.Tensor]] = {1.0: [], record.temperature: []}
    for case in json.loads((phantoms / "datalist.json").read_text())["validation"]:
        image, label = (np.asarray(Image.open(phantoms / case[k])).T for k in ("image", "label"))
        grey = torch.from_numpy(image.astype(np.float32))[None, None]
        normal = (grey - grey.mean()) / grey.std(correction=0)
        members = parser.get_parsed_content("inferer").sample(normal, network.eval())
        reference = torch.from_numpy(label > 0)[None, None]
        for t, values in losses.items():
            values.append(binary_log_loss(scale_temperature(members, t).mean(1), reference).mean())
    for t, found in ((1.0, record.before), (record.temperature, record.after)):
        assert found.errors["nll"] == pytest.approx(float(torch.stack(losses[t]).mean()), rel=5e-3)


def test_dry_run_leaves_the_bundle_and_an_end_of_the_search_is_said(
    bundle: Path, phantoms: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(calibrate, "fit_temperature", lambda members: TemperatureFit(9.99, True))
    before = {p: p.read_bytes() for p in bundle.rglob("*") if p.is_file()}
    Commands().calibrate(str(bundle), str(phantoms), device="cpu", dry_run=True)
    assert {p: p.read_bytes() for p in bundle.rglob("*") if p.is_file()} == before
    assert "It is at an end of what is searched, 0.1 to 10" in capsys.readouterr().out


def test_cases_without_labels_are_named_when_the_others_are_done(bundle: Path, phantoms: Path) -> None:
    with pytest.raises(InputError, match="1 of 2 cases could not be used"):
        calibrate_bundle(str(bundle), str(phantoms), section="partly", device="cpu")
    assert CalibrationRecord.read(bundle / "configs" / "calibration.json").cases == 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"section": "unlabelled"}, "None of the 4 cases under 'unlabelled' in .* has a label"),
        ({"section": "elsewhere"}, "has no cases under 'elsewhere'"),
        ({"overlay": "absent.json"}, "has no configs/absent.json"),
        ({"checkpoint": "absent.pt"}, "absent.pt does not exist"),
        ({"data": "absent"}, "absent does not exist"),
    ],
)
def test_what_cannot_be_fitted_is_one_sentence(
    bundle: Path, phantoms: Path, settings: dict[str, str], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        calibrate_bundle(str(bundle), **{"data": str(phantoms), "device": "cpu", **settings})
    assert not (bundle / "configs" / "calibration.json").exists()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"fusion": "mean"', '"fusion": "majority"', "the fusion 'mean' alone"),
        ('    "temperature": 1.0,\n', '    "temperature":\n1.0,\n', 'must have one line "temperature"'),
    ],
)
def test_bundle_that_has_no_use_for_a_temperature(
    bundle: Path, phantoms: Path, old: str, new: str, message: str
) -> None:
    config = bundle / "configs" / "inference.json"
    text = calibrate._LINE.sub(r"\g<1>1.0\g<2>", config.read_text())
    assert text.count(old) == 1
    config.write_text(text.replace(old, new))
    with pytest.raises(InputError, match=message):
        calibrate_bundle(str(bundle), str(phantoms), device="cpu")


def test_overlay_with_a_temperature_of_its_own_keeps_it_and_one_with_weights_needs_one(
    bundle: Path, phantoms: Path
) -> None:
    own = bundle / "configs" / "own.json"
    weights = "$@bundle_root + '/models/model.pt'"
    own.write_text(f'{{\n    "checkpoint": "{weights}"\n}}\n')
    with pytest.raises(InputError, match=r'own\.json must have one line "temperature"'):
        calibrate_bundle(str(bundle), str(phantoms), overlay="own.json", device="cpu")
    own.write_text(f'{{\n    "checkpoint": "{weights}",\n    "temperature": 1.0\n}}\n')
    before = (bundle / "configs" / "inference.json").read_bytes()
    record = calibrate_bundle(str(bundle), str(phantoms), overlay="own.json", device="cpu")
    assert own.read_text() == f'{{\n    "checkpoint": "{weights}",\n    "temperature": {record.temperature}\n}}\n'
    assert (bundle / "configs" / "inference.json").read_bytes() == before
    assert CalibrationRecord.read(bundle / "configs" / "own_calibration.json") == record


def test_damaged_record_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "calibration.json"
    for text in ("{", "[]", "{}", '{"temperature": 1.0}'):
        path.write_text(text)
        with pytest.raises(InputError, match="is no record of a calibration"):
            CalibrationRecord.read(path)
