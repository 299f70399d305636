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

from medsegdiff_monai.apps.dicom import Privacy, Series, read_headers
from medsegdiff_monai.apps.dicom.reading.stack import stack_series
from medsegdiff_monai.utils import InputError

VOLUME = np.arange(6 * 5 * 7, dtype=float).reshape(6, 5, 7)


def series_in(folder: Path) -> Series:
    return Series(read_headers([folder], Privacy())[0])


def refusal(folder: Path) -> str:
    with pytest.raises(InputError) as caught:
        stack_series(series_in(folder), "The T1w (series 1)")
    message = str(caught.value)
    assert message.startswith("The T1w (series 1)")
    assert len(message.splitlines()) == 1
    return message


def change(paths: list[Path], edit: Callable[[int, Any], None]) -> None:
    for i, path in enumerate(paths):
        ds = pydicom.dcmread(path)
        edit(i, ds)
        ds.save_as(path)


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    """Files of a regular oblique series."""
    return objects.mr_series(tmp_path, VOLUME, objects.OBLIQUE, objects.new_study())


def test_slices_are_ordered_by_place_and_not_by_name(tmp_path: Path, paths: list[Path]) -> None:
    change(paths, lambda i, ds: setattr(ds, "InstanceNumber", (i * 3) % 7))
    for i, path in enumerate(paths):
        path.rename(tmp_path / f"{(i * 5) % 7}.dcm")
    stack = stack_series(series_in(tmp_path), "it")
    normal = np.cross(*np.reshape(stack.slices[0].orientation, (2, 3)))
    distances = np.array([s.position for s in stack.slices]) @ normal
    steps = np.diff(distances)
    np.testing.assert_allclose(np.abs(steps), 7.0, atol=1e-6)
    assert abs(np.sign(steps).sum()) == 6
    assert stack.geometry.spatial_shape == (7, 5, 6)
    np.testing.assert_allclose(stack.geometry.spacing, (7.0, 5.5, 6.0), atol=1e-6)


def test_missing_slices_are_counted(tmp_path: Path) -> None:
    objects.mr_series(tmp_path, VOLUME, objects.OBLIQUE, objects.new_study(), leave_out=(2, 3))
    assert "lacks 2 slices" in refusal(tmp_path)


def test_doubled_slices_are_counted(tmp_path: Path, paths: list[Path]) -> None:
    ds = pydicom.dcmread(paths[3])
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid()
    ds.save_as(tmp_path / "again.dcm")
    assert "1 slices at the place of another" in refusal(tmp_path)


def test_gantry_tilt_is_told_in_degrees(tmp_path: Path) -> None:
    sheared = objects.OBLIQUE.copy()
    sheared[:3, 2] += objects.OBLIQUE[:3, 1] / 5.5 * 7.0 * np.tan(np.deg2rad(12.0))
    paths = objects.mr_series(tmp_path, VOLUME, sheared, objects.new_study())
    assert len(paths) == 7
    message = refusal(tmp_path)
    assert "gantry tilt" in message
    assert "12.0 degrees" in message


def test_uneven_distances_are_told_in_mm(tmp_path: Path, paths: list[Path]) -> None:
    normal = objects.OBLIQUE[:3, 2] / 7.0 * [-1.0, -1.0, 1.0]

    def move(i: int, ds: Any) -> None:
        place = np.array(ds.ImagePositionPatient, dtype=float) + normal * (1.7 if i == 4 else 0.0)
        ds.ImagePositionPatient = [f"{v:.8f}"[:16] for v in place]

    change(paths, move)
    assert "uneven distances (5.30 to 8.70 mm)" in refusal(tmp_path)


@pytest.mark.parametrize(
    ("edit", "fragment"),
    [
        (lambda ds: setattr(ds, "ImageOrientationPatient", [1, 0, 0, 0, 1, 0]), "several orientations"),
        (lambda ds: setattr(ds, "PixelSpacing", [1, 1]), "several pixel spacings"),
        (lambda ds: setattr(ds, "Columns", 4), "several sizes"),
        (lambda ds: setattr(ds, "FrameOfReferenceUID", "1.2.3"), "several frames of reference"),
        (lambda ds: delattr(ds, "ImagePositionPatient"), "without a usable ImagePositionPatient"),
        (lambda ds: setattr(ds, "ImageOrientationPatient", [1, 0, 0, 1, 0, 0]), "that cannot be"),
        (lambda ds: setattr(ds, "PixelSpacing", [0, 1]), "that cannot be"),
        (lambda ds: setattr(ds, "PixelSpacing", ["1e-9", "1e9"]), "that cannot be"),
    ],
)
def test_images_that_are_not_alike_are_refused(
    tmp_path: Path, paths: list[Path], edit: Callable[[Any], None], fragment: str
) -> None:
    change(paths[2:3], lambda _, ds: edit(ds))
    assert fragment in refusal(tmp_path)


def test_a_single_slice_is_no_volume(tmp_path: Path) -> None:
    objects.mr_series(tmp_path, VOLUME[..., :1], objects.OBLIQUE, objects.new_study())
    assert "single slice" in refusal(tmp_path)


def test_magnitude_is_taken_where_phase_lies_at_the_same_places(tmp_path: Path) -> None:
    study = objects.new_study()
    for kind in ("P", "M"):
        image_type = ["ORIGINAL", "PRIMARY", kind]
        objects.mr_series(tmp_path / kind, VOLUME, objects.OBLIQUE, study, ImageType=image_type)
    stack = stack_series(series_in(tmp_path), "it")
    assert {s.kind[2] for s in stack.slices} == {"M"}
    assert len(stack.slices) == 7
