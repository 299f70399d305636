# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

"""The application as a process: its masks are those of the command ``dicom``, and bad input leaves nothing."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from apps.dicom import objects
from support.label_studies import BRATS, THYROID

from medsegdiff_monai.apps.dicom import run_dicom

Frames = dict[tuple[Any, ...], np.ndarray]


def frames(path: Path) -> Frames:
    """The frames of a segmentation by its source image, segment and place: slices by position, frames by number."""
    ds = pydicom.dcmread(path)
    pixels = ds.pixel_array.reshape(-1, ds.Rows, ds.Columns)
    found: Frames = {}
    for group, mask in zip(ds.PerFrameFunctionalGroupsSequence, pixels):
        # What is the same for all frames, such as the only segment, is stated once for all of them.
        parts = {e.keyword: e.value[0] for e in (*ds.SharedFunctionalGroupsSequence[0], *group)}
        image = parts["DerivationImageSequence"].SourceImageSequence[0]
        plane = parts.get("PlanePositionSequence")
        place = tuple(plane.ImagePositionPatient) if plane else parts["FrameContentSequence"].TemporalPositionIndex
        segment = int(parts["SegmentIdentificationSequence"].ReferencedSegmentNumber)
        found[str(image.ReferencedSOPInstanceUID), segment, place] = mask
    assert len(found) == len(pixels)
    return found


def assert_same_masks(made: Path, expected: Path) -> None:
    """Compare all segmentations in two output folders voxel by voxel."""
    files = sorted(path.relative_to(expected) for path in expected.rglob("seg.dcm"))
    assert sorted(path.relative_to(made) for path in made.rglob("seg.dcm")) == files
    for file in files:
        masks, wanted = frames(made / file), frames(expected / file)
        assert masks.keys() == wanted.keys()
        assert 0 < np.mean([mask.mean() for mask in wanted.values()]) < 1
        for key, mask in wanted.items():
            np.testing.assert_array_equal(masks[key], mask)


def test_the_mask_is_that_of_the_command(
    name: str, small_bundle: Any, study: Any, run_application: Any, tmp_path: Path, validate: Callable[[Path], str]
) -> None:
    bundle, folder = small_bundle(name), study(name)
    done = run_application("-i", folder, "-o", tmp_path / "app", "-m", bundle)
    assert done.returncode == 0, done.stderr
    assert run_dicom([str(folder)], str(bundle), str(tmp_path / "command")) == 0
    assert_same_masks(tmp_path / "app", tmp_path / "command")
    written = sorted(path.relative_to(tmp_path / "app") for path in (tmp_path / "app").rglob("*.dcm"))
    assert written == sorted(p.relative_to(tmp_path / "command") for p in (tmp_path / "command").rglob("*.dcm"))
    assert [validate(tmp_path / "app" / path) for path in written] == [""] * len(written)
    said = (done.stdout + done.stderr).lower()
    assert not [secret for secret in ("testmann", "gertrude", objects.PATIENT_ID.lower()) if secret in said]


def test_a_package_finds_its_paths_and_settings_in_the_environment(
    small_bundle: Any, study: Any, run_application: Any, tmp_path: Path
) -> None:
    shutil.copytree(small_bundle(BRATS), tmp_path / "models" / BRATS)
    settings = {"steps": 2, "members": 3, "contrasts": "T1w=3,T1gd=2"}
    lines = [f"  {key}: {value}" for key, value in settings.items()]
    (tmp_path / "app.yaml").write_text("\n".join(["segmentation:", *lines]) + "\n", encoding="utf-8")
    done = run_application(
        HOLOSCAN_INPUT_PATH=study(BRATS),
        HOLOSCAN_OUTPUT_PATH=tmp_path / "app",
        HOLOSCAN_MODEL_PATH=tmp_path / "models",
        HOLOSCAN_CONFIG_PATH=tmp_path / "app.yaml",
    )
    assert done.returncode == 0, done.stderr
    assert run_dicom([str(study(BRATS))], str(small_bundle(BRATS)), str(tmp_path / "command"), **settings) == 0
    assert_same_masks(tmp_path / "app", tmp_path / "command")


@pytest.mark.parametrize("wrong", ["missing contrast", "truncated object"])
def test_bad_input_gets_one_sentence_and_leaves_nothing(
    wrong: str, small_bundle: Any, study: Any, run_application: Any, tmp_path: Path
) -> None:
    folder = tmp_path / "Testmann"
    if wrong == "missing contrast":
        shutil.copytree(study(BRATS), folder)
        shutil.rmtree(folder / "series4")
        bundle, sentence = small_bundle(BRATS), "Error: T2w missing (found series 1 (24 images): FLAIR; "
    else:
        shutil.copytree(study(THYROID), folder)
        whole = (folder / "still.dcm").read_bytes()
        (folder / "still.dcm").write_bytes(whole[:-1000])
        bundle, sentence = small_bundle(THYROID), "Error: The pixels of the object are truncated: the file ends"
    done = run_application("-i", folder, "-o", tmp_path / "out", "-m", bundle)
    assert done.returncode == 1
    lines = done.stderr.strip().splitlines()
    assert lines[-1].startswith(sentence)
    assert sum(line.startswith("Error") for line in lines) == 1
    assert "Traceback" not in done.stderr
    assert "Testmann" not in done.stdout + done.stderr
    assert [path for path in tmp_path.joinpath("out").rglob("*") if path.is_file()] == []
