# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0


from __future__ import annotations

from pathlib import Path

import highdicom as hd
import nibabel as nib
import numpy as np
import pydicom
import pytest
from apps.dicom import objects
from scipy import ndimage

from medsegdiff_monai.apps.dicom import Privacy, Series, read_headers
from medsegdiff_monai.apps.dicom.reading.images import from_image_axes, read_volume, to_image_axes
from medsegdiff_monai.utils import InputError

RNG = np.random.default_rng(11)
VOLUME = RNG.integers(0, 900, (6, 5, 7)).astype(float)


def one(folder: Path) -> list[Series]:
    return [Series(read_headers([folder], Privacy())[0])]


def resampled_to(grid: np.ndarray, volume: np.ndarray, affine: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """A volume looked up on another grid by its world coordinates, with SciPy."""
    indices = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij")).reshape(3, -1)
    there = np.linalg.inv(affine) @ grid @ np.vstack([indices, np.ones(indices.shape[1])])
    return ndimage.map_coordinates(volume, there[:3], order=1, mode="nearest").reshape(shape)


def test_every_voxel_lies_where_the_world_says(tmp_path: Path) -> None:
    objects.mr_series(tmp_path, VOLUME, objects.OBLIQUE, objects.new_study())
    image = read_volume(one(tmp_path), ["T1w"]).image
    assert image.dtype.is_floating_point
    affine = image.affine.numpy()
    read = image.numpy()[0]
    np.testing.assert_allclose(resampled_to(affine, VOLUME, objects.OBLIQUE, read.shape), read, atol=0.05)
    to_ours = np.linalg.inv(objects.OBLIQUE) @ affine
    np.testing.assert_allclose(np.abs(to_ours[:3, :3]), np.eye(3), atol=1e-5)


def test_an_enhanced_object_is_the_classic_series(tmp_path: Path) -> None:
    study = objects.new_study()
    objects.mr_series(tmp_path / "classic", VOLUME, objects.OBLIQUE, study)
    objects.enhanced_mr(tmp_path / "enhanced" / "a.dcm", VOLUME, objects.OBLIQUE, study)
    classic, enhanced = (read_volume(one(tmp_path / name), ["T1w"]) for name in ("classic", "enhanced"))
    np.testing.assert_array_equal(enhanced.image.numpy(), classic.image.numpy())
    np.testing.assert_allclose(enhanced.image.affine, classic.image.affine, atol=1e-5)
    assert (len(classic.sources), len(enhanced.sources)) == (7, 1)


def test_rescaling_of_both_kinds_is_applied(tmp_path: Path) -> None:
    study = objects.new_study()
    scaled = {"RescaleSlope": "2.5", "RescaleIntercept": "-3", "RescaleType": "US"}
    objects.mr_series(tmp_path / "classic", VOLUME, objects.OBLIQUE, study, **scaled)
    path = objects.enhanced_mr(tmp_path / "enhanced" / "a.dcm", VOLUME, objects.OBLIQUE, study)
    ds = pydicom.dcmread(path)
    transformation = pydicom.Dataset()
    for keyword, value in scaled.items():
        setattr(transformation, keyword, value)
    ds.SharedFunctionalGroupsSequence[0].PixelValueTransformationSequence = [transformation]
    ds.save_as(path)
    for name in ("classic", "enhanced"):
        values = read_volume(one(tmp_path / name), ["T1w"]).image.numpy()
        np.testing.assert_allclose(np.sort(values.ravel()), np.sort(VOLUME.ravel() * 2.5 - 3.0), rtol=1e-6)


def test_contrasts_on_another_grid_need_to_be_asked_for(tmp_path: Path) -> None:
    study = objects.new_study()
    shifted = objects.OBLIQUE.copy()
    shifted[:3, 3] += objects.OBLIQUE[:3, :3] @ [0.5, 0.25, 0.0]
    objects.mr_series(tmp_path / "1", VOLUME, objects.OBLIQUE, study)
    objects.mr_series(tmp_path / "2", VOLUME, shifted, study, number=2)
    both = [*one(tmp_path / "1"), *one(tmp_path / "2")]
    with pytest.raises(InputError, match=r"The T1w \(series 2 \(7 images\)\) is on another grid than the FLAIR"):
        read_volume(both, ["FLAIR", "T1w"])
    image = read_volume(both, ["FLAIR", "T1w"], resample=True).image
    assert image.shape[0] == 2
    expected = resampled_to(image.affine.numpy(), VOLUME, shifted, tuple(image.shape[1:]))
    inner = (slice(1, -1),) * 3
    np.testing.assert_allclose(image.numpy()[1][inner], expected[inner], rtol=1e-3, atol=0.5)


def test_another_frame_of_reference_is_refused_whatever_is_asked(tmp_path: Path) -> None:
    for i in (1, 2):
        objects.mr_series(tmp_path / str(i), VOLUME, objects.OBLIQUE, objects.new_study(), number=i)
    both = [*one(tmp_path / "1"), *one(tmp_path / "2")]
    with pytest.raises(InputError, match="another frame of reference"):
        read_volume(both, ["FLAIR", "T1w"], resample=True)


def test_the_two_orders_of_axes_undo_each_other() -> None:
    array = RNG.random((2, 3, 4, 5))
    assert to_image_axes(array).shape == (2, 5, 4, 3)
    np.testing.assert_array_equal(from_image_axes(to_image_axes(array)), array)


def test_a_real_series_is_read_as_highdicom_reads_it(real_mr: Path) -> None:
    read = read_volume(one(real_mr / "series"), ["T1w"])
    files = [pydicom.dcmread(p) for p in sorted((real_mr / "series").iterdir())]
    expected = hd.get_volume_from_series(files).to_nibabel()
    ours = nib.as_closest_canonical(nib.Nifti1Image(read.image.numpy()[0], read.image.affine.numpy()))
    theirs = nib.as_closest_canonical(expected)
    np.testing.assert_allclose(ours.affine, theirs.affine, atol=1e-4)
    np.testing.assert_array_equal(np.asarray(ours.dataobj), np.asarray(theirs.dataobj))


def test_of_a_real_enhanced_object_the_magnitude_is_read(real_mr: Path) -> None:
    """Its 64 frames are 32 of magnitude and 32 of a field map at the same places, numbered by a private attribute."""
    read = read_volume(one(real_mr / "enhanced_multiframe"), ["T1w"])
    assert read.image.shape == (1, 64, 64, 32)
    ds = pydicom.dcmread(next((real_mr / "enhanced_multiframe").iterdir()))
    frames = ds.PerFrameFunctionalGroupsSequence
    kinds = [f.MRImageFrameTypeSequence[0].FrameType[3] for f in frames]
    magnitude = [i for i, kind in enumerate(kinds) if kind == "M"]
    values = frames[magnitude[0]].PixelValueTransformationSequence[0]
    stored = ds.pixel_array[magnitude].astype(float)
    expected = stored * float(values.RescaleSlope) + float(values.RescaleIntercept)
    assert read.image.mean().item() == pytest.approx(expected.mean(), rel=1e-5)
    heights = [float(frames[i].PlanePositionSequence[0].ImagePositionPatient[2]) for i in magnitude]
    order = np.argsort(heights)
    ours = read.image.numpy()[0].transpose(2, 1, 0)
    ours = ours[::-1] if read.image.affine[2, 2] < 0 else ours
    np.testing.assert_allclose(ours, expected[order], rtol=1e-6)


@pytest.mark.parametrize(
    ("stated", "padding"),
    [
        ({"PixelPaddingValue": -2000}, [-2000]),
        ({"PixelPaddingValue": -2000, "PixelPaddingRangeLimit": -1990}, [-2000, -1995, -1990]),
        ({"PixelPaddingValue": -1990, "PixelPaddingRangeLimit": -2000}, [-2000, -1995, -1990]),
    ],
)
@pytest.mark.parametrize("form", ["signed", "unsigned"])
def test_padding_becomes_the_lowest_value_of_the_rest(
    tmp_path: Path, stated: dict[str, int], padding: list[int], form: str
) -> None:
    """The value may stand in the file as an unsigned number, though the pixels are signed."""
    volume = VOLUME + 10
    volume[0, :2, :] = np.resize(padding, (2, 7))
    volume[1, 0, 3] = -7
    paths = objects.mr_series(
        tmp_path, volume, objects.OBLIQUE, objects.new_study(), RescaleSlope=2, RescaleIntercept=1
    )
    for path in paths:
        ds = pydicom.dcmread(path)
        for keyword, value in stated.items():
            ds.add_new(keyword, *(("SS", value) if form == "signed" else ("US", value % 2**16)))
        ds.save_as(path)
    read = read_volume(one(tmp_path), ["T1w"]).image.numpy()[0]
    expected = volume * 2 + 1
    expected[0, :2, :] = -7 * 2 + 1
    np.testing.assert_array_equal(np.sort(read, axis=None), np.sort(expected.astype(np.float32), axis=None))
    assert (read == -13).sum() == 15


def test_what_is_outside_the_range_of_padding_stays(tmp_path: Path) -> None:
    objects.mr_series(tmp_path, VOLUME, objects.OBLIQUE, objects.new_study(), PixelPaddingValue=5000)
    read = read_volume(one(tmp_path), ["T1w"]).image.numpy()
    np.testing.assert_array_equal(np.sort(read, axis=None), np.sort(VOLUME, axis=None).round())


def test_a_volume_of_invalid_uids_is_read_and_refers_to_valid_ones(tmp_path: Path) -> None:
    study = {**objects.new_study(), "FrameOfReferenceUID": "1.2.03", "StudyInstanceUID": "1.2.04"}
    for i, path in enumerate(objects.mr_series(tmp_path, VOLUME, objects.OBLIQUE, study)):
        objects.replace_value(path, "SOPInstanceUID", f"1.0{i}".encode())
    volume = read_volume(one(tmp_path), ["T1w"])
    assert len({s.SOPInstanceUID for s in volume.sources}) == 7
    assert len({s.StudyInstanceUID for s in volume.sources}) == 1
    assert {s.FrameOfReferenceUID for s in volume.sources} == {volume.geometry.frame_of_reference_uid}
    for source in volume.sources:
        assert pydicom.uid.UID(source.SOPInstanceUID).is_valid
        assert pydicom.uid.UID(source.StudyInstanceUID).is_valid


def test_an_enhanced_object_that_states_another_number_of_frames_is_read_by_those_it_has(tmp_path: Path) -> None:
    path = objects.enhanced_mr(tmp_path / "a.dcm", VOLUME, objects.OBLIQUE, objects.new_study())
    objects.replace_value(path, "NumberOfFrames", b"9")
    assert read_volume(one(tmp_path), ["T1w"]).image.shape[1:] == (6, 5, 7)
    ds = pydicom.dcmread(path)
    ds.NumberOfFrames = 6
    ds.PixelData = ds.PixelData[: 6 * 6 * 5 * 2]
    ds.save_as(path)
    with pytest.raises(InputError, match="holds 6 frames in an object that describes 7"):
        read_volume(one(tmp_path), ["T1w"])
