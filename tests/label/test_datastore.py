# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

"""A PACS as data store, with a real Orthanc."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from apps.dicom import objects
from PIL import Image
from support.label_studies import BRATS, FUNDUS, stored_objects
from support.orthanc import PASSWORD, USER, Orthanc

from medsegdiff_monai.apps.label import prepare_app
from medsegdiff_monai.apps.label.datastore import PacsDatastore, open_pacs, picture_name
from medsegdiff_monai.utils import InputError

ROWS, COLUMNS = 30, 46


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    """Two photographs of the fundus; columns and rows differ in number, and no corner is like another."""
    return np.random.default_rng(11).integers(0, 256, (2, ROWS, COLUMNS, 3)).astype(np.uint8)


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory: pytest.TempPathFactory, pixels: np.ndarray) -> Iterator[Orthanc]:
    """A PACS with two photographs, one of them with planes of colour, and what is no picture for the bundle."""
    folder = tmp_path_factory.mktemp("orthanc")
    study, fundus = objects.new_study(), objects.FUNDUS_8BIT
    objects.picture(folder / "a.dcm", pixels[0], study, fundus, "RGB", StudyDate="20260301")
    objects.picture(folder / "b.dcm", pixels[1], study, fundus, "RGB", planar=1, StudyDate="20260301")
    objects.picture(folder / "frames.dcm", pixels, study, fundus, "RGB", StudyDate="20260301")
    broken = pydicom.dcmread(objects.picture(folder / "broken.dcm", pixels[0], study, fundus, "RGB"))
    broken.PixelData = broken.PixelData[:100]
    broken.save_as(folder / "broken.dcm")
    objects.picture(folder / "ultrasound.dcm", pixels[0, ..., 0], objects.new_study())
    running = Orthanc(folder)
    running.put(folder)
    yield running
    running.stop()


@pytest.fixture(scope="module")
def app(small_bundle: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepare_app(tmp_path_factory.mktemp("app"), [small_bundle(FUNDUS), small_bundle(BRATS)])


@pytest.fixture
def opened(orthanc: Orthanc, app: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("MEDSEGDIFF_DICOMWEB_USER", USER)
    monkeypatch.setenv("MEDSEGDIFF_DICOMWEB_PASSWORD", PASSWORD)

    def again(**options: Any) -> PacsDatastore:
        return open_pacs(orthanc.url, app / "model" / FUNDUS, tmp_path / "pacs", **options)

    return again


def stored_uids(orthanc: Orthanc) -> dict[str, str]:
    """SOP Instance UIDs of the whole photographs of one frame by their names in the data store."""
    photographs = [ds for ds in stored_objects(orthanc, "OP") if len(ds.PixelData) == ROWS * COLUMNS * 3]
    return {picture_name(ds.SOPInstanceUID): ds.SOPInstanceUID for ds in photographs}


def masks_of(seg: Any) -> np.ndarray:
    """Masks ``(segments, rows, columns)`` from the bits of a segmentation with one frame a segment."""
    bits = np.unpackbits(np.frombuffer(seg.PixelData, np.uint8), bitorder="little")
    numbers = [
        int(group.SegmentIdentificationSequence[0].ReferencedSegmentNumber)
        for group in seg.PerFrameFunctionalGroupsSequence
    ]
    assert sorted(numbers) == list(range(1, len(seg.SegmentSequence) + 1))
    frames = bits[: len(numbers) * seg.Rows * seg.Columns].reshape(-1, seg.Rows, seg.Columns)
    return frames[np.argsort(numbers)].astype(bool)


def test_pictures_keep_their_values_and_others_are_left_out(
    opened: Any, orthanc: Orthanc, pixels: np.ndarray, tmp_path: Path
) -> None:
    store = opened()
    assert sorted(store.list_images()) == sorted(stored_uids(orthanc))
    found = [np.asarray(Image.open(store.get_image_uri(name))) for name in store.list_images()]
    assert all(any(np.array_equal(picture, expected) for picture in found) for expected in pixels)
    assert [path.stat().st_mode & 0o777 for path in (tmp_path / "pacs").iterdir()] == [0o700]
    text = "".join(path.read_text() for path in (tmp_path / "pacs").rglob("*.json"))
    assert objects.PATIENT_ID not in text
    assert "Testmann" not in text
    assert opened(study_filter='{"StudyDate": "20260302-"}').list_images() == store.list_images()  # kept copies


def test_a_filter_leaves_studies_where_they_are(opened: Any) -> None:
    assert opened(study_filter='{"StudyDate": "20260302-"}').list_images() == []
    with pytest.raises(InputError, match="unknown attribute Datum"):
        opened(study_filter='{"Datum": "20260302-"}')
    with pytest.raises(InputError, match="is no JSON"):
        opened(study_filter="StudyDate=20260302-")


def test_a_label_comes_back_as_a_segmentation(opened: Any, orthanc: Orthanc, tmp_path: Path) -> None:
    store, uids = opened(), stored_uids(orthanc)
    name = sorted(store.list_images())[0]
    label = np.zeros((ROWS, COLUMNS), np.uint8)
    label[3:20, 5:31], label[8:12, 9:20] = 1, 2
    Image.fromarray(label).save(tmp_path / "label.png")
    for _ in range(2):  # a label that is saved twice is one object
        store.save_label(name, str(tmp_path / "label.png"), "final", {})
    (seg,) = stored_objects(orthanc, "SEG")
    assert [s.SegmentLabel for s in seg.SegmentSequence] == ["Optic disc (with the cup)", "Optic cup"]
    assert {s.SegmentAlgorithmType for s in seg.SegmentSequence} == {"SEMIAUTOMATIC"}
    np.testing.assert_array_equal(masks_of(seg), [label >= 1, label == 2])
    assert seg.ReferencedSeriesSequence[0].ReferencedInstanceSequence[0].ReferencedSOPInstanceUID == uids[name]
    assert str(seg.PatientName) == objects.PATIENT_NAME
    assert store.get_labeled_images() == [name]
    assert opened().get_labeled_images() == [name]  # after a restart
    seg.save_as(tmp_path / "seg.dcm")
    checker = shutil.which("dciodvfy")
    if checker is not None:
        said = subprocess.run([checker, "-new", str(tmp_path / "seg.dcm")], capture_output=True, text=True, check=False)
        assert not re.search(r"^(Error|Warning|Abort)| - ", said.stdout + said.stderr, re.MULTILINE)


def test_a_label_that_does_not_fit_is_stored_nowhere(opened: Any, orthanc: Orthanc, tmp_path: Path) -> None:
    store, before = opened(), len(stored_objects(orthanc, "SEG"))
    name = store.list_images()[0]
    for shape, value, message in (((COLUMNS, ROWS), 1, "its picture"), ((ROWS, COLUMNS), 7, "has the value 7")):
        Image.fromarray(np.full(shape, value, np.uint8)).save(tmp_path / "label.png")
        with pytest.raises(InputError, match=message):
            store.save_label(name, str(tmp_path / "label.png"), "final", {})
    assert len(stored_objects(orthanc, "SEG")) == before
    assert store.get_labeled_images() == []


def test_a_bundle_for_volumes_and_a_wrong_password_are_refused(
    opened: Any, orthanc: Orthanc, app: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match="takes several series an image"):
        open_pacs(orthanc.url, app / "model" / BRATS, tmp_path / "pacs")
    monkeypatch.setenv("MEDSEGDIFF_DICOMWEB_PASSWORD", "another")
    with pytest.raises(InputError, match="refuses the credentials"):
        opened()
