# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

"""The committed weights on real test images, through the evaluation that the READMEs show, in the fast mode."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from medsegdiff_monai.data import find_cases

FAST = {"num_inference_steps": 1, "num_ensemble": 1}


@pytest.fixture
def real(thyroid_bundle: Path) -> Callable[[str], Path]:
    """Folder of a real data set; tests that need it are skipped where it is absent."""

    def get(name: str) -> Path:
        default = thyroid_bundle.parents[2] / "shared" / "data"
        folder = Path(os.environ.get("MEDSEGDIFF_DATA", default)) / name
        if not (folder / "datalist.json").is_file():
            pytest.skip(f"no real images in {folder}: set MEDSEGDIFF_DATA to the folder that holds {name}")
        return folder

    return get


def evaluate(
    parse: Any, bundle: Path, overlay: str, data: Path, out: Path, count: int, section: str = "test", **settings: Any
) -> pd.DataFrame:
    files = ["inference.json", "evaluate.json", *([overlay] if overlay else [])]
    parser = parse(bundle, *files, dataset_dir=str(data), output_dir=str(out), **FAST, **settings)
    parser["dataset#data"] = find_cases(data, section, with_labels=True)[:count]
    parser.get_parsed_content("initialize")
    parser.get_parsed_content("run")
    return pd.read_csv(out / "metrics.csv")


def test_optic_disc(thyroid_bundle: Path, parse: Any, real: Any, tmp_path: Path) -> None:
    bundle = thyroid_bundle.parent / "fundus_optic_medsegdiff"
    table = evaluate(parse, bundle, "disc.json", real("fundus_palm"), tmp_path, 12)
    assert len(table) == 12
    assert table["dice"].mean() > 0.92
    assert not [c for c in table if c.startswith("vcdr")]
    assert not list(tmp_path.glob("*cup*"))


def test_weights_that_know_no_cup_claim_none(thyroid_bundle: Path, parse: Any, real: Any, tmp_path: Path) -> None:
    bundle = thyroid_bundle.parent / "fundus_optic_medsegdiff"
    table = evaluate(parse, bundle, "", real("fundus_palm"), tmp_path, 4)
    assert (table["dice_cup"] == 1.0).all()  # nothing outlined, nothing claimed
    assert (table["vcdr_predicted"] == 0.0).all()


def test_whole_tumour_in_gliomas_of_lower_grade(thyroid_bundle: Path, parse: Any, real: Any, tmp_path: Path) -> None:
    bundle = thyroid_bundle.parent / "brats_mri_medsegdiff"
    table = evaluate(parse, bundle, "lgg.json", real("brain_lgg"), tmp_path, 3).set_index("case")
    assert table.loc["TCGA_DU_7306", "dice"] > 0.8


def test_four_contrasts_run_on_real_volumes(thyroid_bundle: Path, parse: Any, real: Any, tmp_path: Path) -> None:
    """The volume that the weights have not seen: regions and label map in the Decathlon's own values."""
    bundle = thyroid_bundle.parent / "brats_mri_medsegdiff"
    regions = {"TC": [2, 3], "WT": [1, 2, 3], "ET": [3]}
    settings = {"region_values": regions, "patch_size": [96, 96, 48]}
    table = evaluate(parse, bundle, "", real("brain_msd"), tmp_path, 1, **settings)
    assert table["case"].tolist() == ["BRATS_119"]
    assert table["dice_WT"].iloc[0] > 0.1  # trained on one volume: better than nothing, and no more is claimed


def test_default_label_values_are_those_of_real_brats_labels(
    thyroid_bundle: Path, parse: Any, real: Any, tmp_path: Path
) -> None:
    bundle = thyroid_bundle.parent / "brats_mri_medsegdiff"
    settings = {"spacing": [2.0, 2.0, 2.0], "patch_size": [64, 64, 64], "overlap": 0.0}
    table = evaluate(parse, bundle, "", real("brain_tcga_4ch"), tmp_path, 1, "training", **settings)
    assert table["case"].tolist() == ["TCGA_DU_7294"]
    segmentation = nib.load(tmp_path / "TCGA_DU_7294_seg.nii.gz")
    label = nib.load(real("brain_tcga_4ch") / "labels" / "TCGA_DU_7294.nii.gz")
    assert segmentation.shape == label.shape
    assert np.array_equal(segmentation.affine, label.affine)
    masks = [np.isin(np.asanyarray(volume.dataobj), (1, 2, 4)) for volume in (segmentation, label)]
    overlap = 2 * (masks[0] & masks[1]).sum() / (masks[0].sum() + masks[1].sum())
    assert table["dice_WT"].iloc[0] == pytest.approx(overlap, abs=1e-5)
    assert table["iou_TC"].notna().all()
