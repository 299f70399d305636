# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0


from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from apps.dicom import objects
from pydicom.dataelem import DataElement

from medsegdiff_monai.apps.dicom import DicomSegmenter, segment_folders
from medsegdiff_monai.utils import InputError

THYROID = "thyroid_ultrasound_medsegdiff"
KEPT = ("StudyInstanceUID", "SeriesInstanceUID")


def garbled(path: Path, rng: np.random.Generator) -> None:
    """Drop, empty or overwrite some attributes with nonsense of their representation's form, or cut the file."""
    ds = pydicom.dcmread(path)
    tags = [e.tag for e in ds if e.VR != "SQ" and e.keyword not in KEPT]
    for tag in rng.choice(len(tags), size=rng.integers(1, 5), replace=False):
        element = ds[tags[tag]]
        action = rng.integers(0, 3)
        if action == 0:
            del ds[element.tag]
        elif action == 1:
            ds[element.tag] = DataElement(element.tag, element.VR, None)
        elif element.VR in ("US", "UL", "SS"):
            element.value = int(rng.integers(0, 3))
        elif isinstance(element.value, (bytes, bytearray)):
            element.value = bytes(element.value)[: int(rng.integers(0, 40)) * 2]
        else:
            ds[element.tag] = DataElement(element.tag, "LO", "".join(rng.choice(list("?*x9.-"), 9)))
    ds.save_as(path, enforce_file_format=False)
    if rng.random() < 0.3:
        content = path.read_bytes()
        path.write_bytes(content[: int(rng.integers(0, len(content)))])


def flipped(path: Path, rng: np.random.Generator) -> None:
    """Overwrite some bytes of the header."""
    content = bytearray(path.read_bytes())
    for place in rng.integers(132, 900, size=6):
        content[place] = int(rng.integers(0, 256))
    path.write_bytes(bytes(content))


@pytest.mark.parametrize("damage", [garbled, flipped])
def test_damaged_pictures_give_a_sentence_or_a_result(
    segmenter_of: Callable[[str], DicomSegmenter],
    ultrasound_image: np.ndarray,
    tmp_path: Path,
    damage: Callable[[Path, np.random.Generator], None],
) -> None:
    rng = np.random.default_rng(17)
    small = ultrasound_image[::3, ::3].copy()
    for i in range(15):
        path = objects.picture(tmp_path / "in" / f"{i:02d}.dcm", small, objects.new_study())
        damage(path, rng)
    said: list[str] = []
    results = segment_folders(segmenter_of(THYROID), [tmp_path / "in"], tmp_path / "out", report=said.append).results
    _check_sentences(said)
    written = {p.name for p in (tmp_path / "out").iterdir() if p.is_dir()}
    assert written == {f"case_{r.case:03d}" for r in results if r.problem is None}
    assert sum(line.startswith("Left out") for line in said) + len(results) == 15


def test_damaged_slices_give_a_sentence(
    segmenter_of: Callable[[str], DicomSegmenter], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reading alone: the segmentation of a volume that can be read is tested elsewhere."""
    segmenter = segmenter_of("brats_mri_medsegdiff")
    read: list[Any] = []

    def stop(source: Any, **_: Any) -> None:
        read.append(source)
        raise InputError("The volume was read: nothing is to be done.")

    monkeypatch.setattr(segmenter, "segment", stop)
    rng = np.random.default_rng(18)
    image = rng.integers(1, 900, (6, 5, 4, 4)).astype(float)
    for i in range(8):
        objects.brain_study(tmp_path / "in" / str(i), image)
        files = sorted((tmp_path / "in" / str(i)).rglob("*.dcm"))
        garbled(files[int(rng.integers(0, len(files)))], rng)
    said: list[str] = []
    results = segment_folders(segmenter, [tmp_path / "in"], tmp_path / "out", report=said.append).results
    assert all(r.problem for r in results)
    _check_sentences(said)
    assert 0 < len(read) < 8


def _check_sentences(said: list[str]) -> None:
    assert said
    for line in said:
        assert len(line.splitlines()) == 1
        assert "Traceback" not in line
        assert "testmann" not in line.lower()
        assert objects.PATIENT_ID.lower() not in line.lower()
