# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

"""What the overlay ``details.json`` adds to a run of each bundle, with the committed weights, on phantoms."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from medsegdiff_monai.transforms import MeasureRegionsd, SaveOverlayd

FAST = {"num_inference_steps": 1, "num_ensemble": 2}
SIZES = {"spacing": [6.0] * 3, "patch_size": [32] * 3}  # the brain phantoms as they are, in one window
LABELS = {
    "thyroid": {"nodule": [1]},
    "fundus": {"disc": [1, 2], "cup": [2]},
    "brats": {"TC": [1, 4], "WT": [1, 2, 4], "ET": [4]},
}
MAPS = ("deviation", "mutual_information", "expected_entropy")


def read(path: Path) -> np.ndarray:
    return np.asanyarray(nib.load(path).dataobj) if path.name.endswith(".nii.gz") else np.asarray(Image.open(path))


def sizes_of(bundle: Path) -> dict[str, Any]:
    return SIZES if bundle.name.startswith("brats") else {}


def run(parse: Any, bundle: Path, data: Path, out: Path, *configs: str, **overrides: Any) -> Any:
    """Run a bundle in this process; its configuration."""
    places = {"dataset_dir": str(data), "output_dir": str(out)}
    parser = parse(bundle, "inference.json", *configs, **{**places, **FAST, **sizes_of(bundle), **overrides})
    parser.get_parsed_content("evaluator").run()
    return parser


@pytest.fixture(scope="module")
def detailed_of(parse: Any, phantoms_of: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Folder of an evaluation of a bundle with details."""
    made: dict[str, Path] = {}

    def get(bundle: Path) -> Path:
        if bundle.name not in made:
            made[bundle.name] = tmp_path_factory.mktemp("detailed")
            run(parse, bundle, phantoms_of(bundle), made[bundle.name], "evaluate.json", "details.json")
        return made[bundle.name]

    return get


def test_without_details_nothing_of_them_is_built(bundle: Path, parse: Any, phantoms_of: Any, tmp_path: Path) -> None:
    places = {"dataset_dir": str(phantoms_of(bundle)), "output_dir": str(tmp_path)}
    parser = parse(bundle, "inference.json", **places, **sizes_of(bundle))
    after = parser.get_parsed_content("postprocessing").transforms
    assert not [t for t in after if isinstance(t, (MeasureRegionsd, SaveOverlayd))]
    handlers = [type(h).__name__ for h in parser.get_parsed_content("handlers")]
    assert handlers == ["LoadWeights", "ProgressBar", "MetricsTable", "CalibrationReport"]
    ensemble = parser.get_parsed_content("ensemble")
    assert (ensemble.maps, ensemble.scores) == (("uncertainty",), False)


def test_measurements_are_those_of_the_written_masks(bundle: Path, phantoms_of: Any, detailed_of: Any) -> None:
    data, out = phantoms_of(bundle), detailed_of(bundle)
    table = pd.read_csv(out / "measurements.csv").set_index(["case", "region"])
    volumes = bundle.name.startswith("brats")
    column, suffix = ("volume_mL", ".nii.gz") if volumes else ("area_pixels", ".png")
    counted = 0
    for case in json.loads((data / "datalist.json").read_text())["test"]:
        name = Path(case["image"]).name.split(".")[0]
        label_map = read(out / f"{name}_seg{suffix}")
        voxel = abs(np.linalg.det(nib.load(data / case["image"]).affine)) / 1000 if volumes else 1.0
        for region, values in LABELS[bundle.name.split("_")[0]].items():
            count = np.isin(label_map, values).sum()
            row = table.loc[(name, region)]
            assert row[column] == pytest.approx(count * voxel, rel=1e-5)
            assert row[f"{column}_low90"] <= row[f"{column}_high90"]
            counted += count
    assert counted > 100
    assert ("note" in table) != volumes
    scores = pd.read_csv(out / "uncertainty.csv").set_index(["case", "region"])
    assert scores.index.tolist() == [key for key in table.index if " / " not in key[1]]
    assert scores["pairwise_dice"].between(0.0, 1.0).all()
    maps = [[p for p in out.iterdir() if f"_{name}" in p.name] for name in ("probability", *MAPS)]
    assert len({len(files) for files in maps}) == 1
    assert (out / "metrics.csv").is_file()


def test_details_leave_the_other_results_as_they_are(
    bundle: Path, parse: Any, phantoms_of: Any, detailed_of: Any, tmp_path: Path
) -> None:
    run(parse, bundle, phantoms_of(bundle), tmp_path)
    results = sorted(p.name for p in tmp_path.iterdir())
    assert {p.split("_")[2].split(".")[0] for p in results} == {"seg", "probability", "uncertainty"}
    for name in results:
        np.testing.assert_array_equal(*(read(folder / name) for folder in (detailed_of(bundle), tmp_path)), name)


def test_mutual_information_and_expected_entropy_make_up_the_uncertainty(bundle: Path, detailed_of: Any) -> None:
    files = [p for p in detailed_of(bundle).iterdir() if "_uncertainty" in p.name]
    assert files
    for file in files:
        whole, *parts = (
            read(file.with_name(file.name.replace("uncertainty", kind))).astype(float)
            for kind in ("uncertainty", "mutual_information", "expected_entropy")
        )
        np.testing.assert_allclose(sum(parts), whole, atol=2 if file.suffix == ".png" else 1e-5)


def test_file_with_spacing_is_measured_in_mm(thyroid_bundle: Path, parse: Any, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x, y = np.mgrid[:50, :40]
    image = rng.normal(100, 20, (50, 40)) - 60 * ((x - 25) ** 2 + (y - 20) ** 2 < 150)
    (tmp_path / "in").mkdir()
    nib.save(nib.Nifti1Image(image.astype(np.float32), np.diag([0.2, -0.5, 1.0, 1.0])), tmp_path / "in" / "scan.nii.gz")
    run(parse, thyroid_bundle, tmp_path / "in", tmp_path / "out", "details.json")
    (row,) = pd.read_csv(tmp_path / "out" / "measurements.csv").to_dict("records")
    count = np.count_nonzero(read(tmp_path / "out" / "scan_seg.nii.gz"))
    assert count > 0
    assert row["area_mm2"] == pytest.approx(count * 0.2 * 0.5, rel=1e-5)
    assert "note" not in row


def test_single_member_has_no_uncertainty_rather_than_none(
    thyroid_bundle: Path, parse: Any, phantoms_of: Any, tmp_path: Path
) -> None:
    run(parse, thyroid_bundle, phantoms_of(thyroid_bundle), tmp_path, "details.json", num_ensemble=1)
    table = pd.read_csv(tmp_path / "measurements.csv")
    assert table["area_pixels"].notna().all()
    assert table[[c for c in table if c.endswith("90")]].isna().all().all()
    scores = pd.read_csv(tmp_path / "uncertainty.csv")
    assert scores.drop(columns=["case", "region"]).isna().all().all()
    assert not [p for p in tmp_path.iterdir() if "deviation" in p.name or "mutual_information" in p.name]
