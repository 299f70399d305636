# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0


from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import highdicom as hd
import numpy as np
import pydicom
import pytest
from apps.dicom import objects

from medsegdiff_monai.apps.bundle import SegmentationResult
from medsegdiff_monai.apps.dicom import (
    BundleCodes,
    DicomObjects,
    Instance,
    Privacy,
    Series,
    make_objects,
    read_codes,
    read_headers,
)
from medsegdiff_monai.apps.dicom.reading.images import ras_affine, read_picture, read_volume
from medsegdiff_monai.apps.dicom.writing.segmentation import Equipment

EQUIPMENT = Equipment("some_bundle", "1.2.3", "weights-0123")
RNG = np.random.default_rng(31)
BRAIN = {"TC": [1, 4], "WT": [1, 2, 4], "ET": [4]}
FUNDUS = {"disc": [1, 2], "cup": [2]}


class Made(NamedTuple):
    """What the tests look at: the objects as files, and what they were made from."""

    paths: dict[str, Path]
    result: list[SegmentationResult]
    codes: BundleCodes
    sources: list[pydicom.Dataset]
    made: DicomObjects
    affine: np.ndarray | None


def random_result(shape: tuple[int, ...], values: list[int], regions: int) -> SegmentationResult:
    """Random label values and maps with some empty planes at the end of the last axis."""
    label = RNG.choice([0, *values], size=shape).astype(np.uint8)
    label[..., -2:] = 0
    maps = [RNG.random((regions, *shape)).astype(np.float32) for _ in range(2)]
    return SegmentationResult(label, maps[0], maps[1], None)


def saved(made: DicomObjects, folder: Path) -> dict[str, Path]:
    paths = {}
    for name, ds in made.items():
        paths[name] = folder / f"{name}.dcm"
        ds.save_as(paths[name], enforce_file_format=True)
    return paths


@pytest.fixture(scope="module", params=["classic", "enhanced"])
def volume(request: pytest.FixtureRequest, bundles: Path, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Objects of a volume, from a classic series and from an Enhanced MR object."""
    folder = tmp_path_factory.mktemp(request.param)
    array = RNG.integers(0, 900, (6, 5, 7)).astype(float)
    study = objects.new_study()
    if request.param == "classic":
        objects.mr_series(folder / "in", array, objects.OBLIQUE, study)
    else:
        objects.enhanced_mr(folder / "in" / "a.dcm", array, objects.OBLIQUE, study)
    instances = read_headers([folder / "in"], Privacy())[0]
    codes = read_codes(bundles / "brats_mri_medsegdiff", BRAIN, ["T1w"])
    source = read_volume([Series(instances)], ["T1w"])
    result = random_result(tuple(source.image.shape[1:]), [1, 2, 4], 3)
    made = make_objects(source, [result], codes, EQUIPMENT)
    affine = ras_affine(source.geometry)
    return Made(saved(made, folder), [result], codes, [i.header for i in instances], made, affine)


@pytest.fixture(scope="module", params=["one frame", "three frames"])
def picture(request: pytest.FixtureRequest, bundles: Path, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Objects of a fundus photograph without spacing, single-frame and multi-frame."""
    folder = tmp_path_factory.mktemp("picture")
    shape = (3, 9, 8, 3) if request.param == "three frames" else (9, 8, 3)
    array = RNG.integers(0, 256, shape).astype(np.uint8)
    settings = {"sop_class": objects.FUNDUS_8BIT, "photometric": "RGB"}
    path = objects.picture(folder / "in.dcm", array, objects.new_study(), **settings)
    instance: Instance = read_headers([path], Privacy())[0][0]
    codes = read_codes(bundles / "fundus_optic_medsegdiff", FUNDUS)
    source = read_picture(instance, codes.kind)
    results = [random_result((8, 9), [1, 2], 2) for _ in source.images]
    made = make_objects(source, results, codes, EQUIPMENT)
    return Made(saved(made, folder), results, codes, [instance.header], made, None)


def world(array: np.ndarray, affine: np.ndarray) -> dict[tuple[float, ...], float]:
    """Values that are not 0, by the place (RAS, mm, rounded) of their voxel."""
    where = np.argwhere(array)
    places = (np.c_[where, np.ones(len(where))] @ affine.T)[:, :3].round(2) + 0.0
    return {tuple(p): float(array[tuple(w)]) for p, w in zip(places.tolist(), where)}


def test_a_binary_segmentation_reads_back_voxel_by_voxel(volume: Made) -> None:
    seg = hd.seg.segread(volume.paths["seg"])
    assert seg.segmentation_type == hd.seg.SegmentationTypeValues.BINARY
    assert seg.SegmentsOverlap == "YES"
    for number, segment in enumerate(volume.codes.segments, start=1):
        read = seg.get_volume(segment_numbers=[number], combine_segments=False)
        affine = ras_affine(read.get_geometry())
        array = np.swapaxes(read.array[..., 0], 0, 2)
        expected = np.isin(volume.result[0].label_map, segment.values)
        assert volume.affine is not None
        assert world(array, affine) == world(expected, volume.affine)


def test_probability_reads_back_in_steps_of_1_in_255(volume: Made) -> None:
    seg = hd.seg.segread(volume.paths["probability"])
    assert seg.SegmentationFractionalType == "PROBABILITY"
    assert [d.segment_label for d in map(seg.get_segment_description, (1, 2, 3))] == [
        r.label for r in volume.codes.regions
    ]
    for number in (1, 2, 3):
        read = seg.get_volume(segment_numbers=[number], combine_segments=False, rescale_fractional=True)
        stored = np.rint(np.swapaxes(read.array[..., 0], 0, 2) * 255)
        expected = np.rint(volume.result[0].probability[number - 1] * 255)
        assert volume.affine is not None
        assert world(stored, ras_affine(read.get_geometry())) == world(expected, volume.affine)


def test_uncertainty_maps_state_bits(volume: Made) -> None:
    for i, region in enumerate(volume.codes.regions):
        ds = pydicom.dcmread(volume.paths[f"uncertainty_{region.name}"])
        mapping = ds.SharedFunctionalGroupsSequence[0].RealWorldValueMappingSequence[0]
        assert mapping.MeasurementUnitsCodeSequence[0].CodeValue == "bit"
        assert ds.Modality == "OT"
        bits = ds.pixel_array * float(mapping.RealWorldValueSlope) + float(mapping.RealWorldValueIntercept)
        expected = volume.result[0].uncertainty[i]
        np.testing.assert_allclose(np.sort(bits.ravel()), np.sort(expected.ravel()), atol=0.00051)


def test_references_lead_to_the_source_slice_of_each_frame(volume: Made) -> None:
    seg = pydicom.dcmread(volume.paths["seg"])
    source = {h.SOPInstanceUID: h for h in volume.sources}
    for group in seg.PerFrameFunctionalGroupsSequence:
        (image,) = group.DerivationImageSequence[0].SourceImageSequence
        header = source[image.ReferencedSOPInstanceUID]
        if "PerFrameFunctionalGroupsSequence" in header:
            header = header.PerFrameFunctionalGroupsSequence[image.ReferencedFrameNumber - 1].PlanePositionSequence[0]
        ours = group.PlanePositionSequence[0].ImagePositionPatient
        np.testing.assert_allclose(np.array(ours, float), np.array(header.ImagePositionPatient, float), atol=1e-4)
    (series,) = seg.ReferencedSeriesSequence
    assert series.SeriesInstanceUID == volume.sources[0].SeriesInstanceUID
    assert {i.ReferencedSOPInstanceUID for i in series.ReferencedInstanceSequence} == set(source)


def test_patient_study_and_frame_of_reference_are_those_of_the_source(volume: Made, picture: Made) -> None:
    for made in (volume, picture):
        series = set()
        for path in made.paths.values():
            ds = pydicom.dcmread(path)
            for keyword in ("PatientID", "PatientName", "PatientBirthDate", "StudyInstanceUID", "AccessionNumber"):
                assert ds[keyword].value == made.sources[0][keyword].value, (path.name, keyword)
            assert ds.SeriesInstanceUID != made.sources[0].SeriesInstanceUID
            assert ds.ManufacturerModelName == "some_bundle"
            assert ds.DeviceSerialNumber == "weights-0123"
            assert ds.SoftwareVersions[0] == "bundle 1.2.3"
            series.add(ds.SeriesInstanceUID)
            if "FrameOfReferenceUID" in ds:
                assert ds.FrameOfReferenceUID == made.sources[0].FrameOfReferenceUID
        assert len(series) == 4
    assert "FrameOfReferenceUID" in pydicom.dcmread(volume.paths["seg"])
    assert "FrameOfReferenceUID" not in pydicom.dcmread(picture.paths["seg"])


def test_segments_are_coded_and_name_their_algorithm(volume: Made) -> None:
    seg = pydicom.dcmread(volume.paths["seg"])
    coded = {s.SegmentLabel: s.SegmentedPropertyTypeCodeSequence[0] for s in seg.SegmentSequence}
    assert (coded["Edema"].CodeValue, coded["Edema"].CodingSchemeDesignator) == ("79654002", "SCT")
    for segment in seg.SegmentSequence:
        (algorithm,) = segment.SegmentationAlgorithmIdentificationSequence
        assert algorithm.AlgorithmVersion == volume.codes.algorithm.version
        assert segment.SegmentAlgorithmType == "AUTOMATIC"


def frames_of(path: Path) -> dict[tuple[int, int], np.ndarray]:
    """Frames of a picture's segmentation by segment and frame of the source, by the attributes that say so."""
    ds = pydicom.dcmread(path)
    pixels = np.atleast_3d(ds.pixel_array) if int(ds.NumberOfFrames) > 1 else ds.pixel_array[None]
    shared = ds.SharedFunctionalGroupsSequence[0]
    found = {}
    for array, group in zip(pixels, ds.PerFrameFunctionalGroupsSequence):
        part = group if "SegmentIdentificationSequence" in group else shared
        (image,) = group.DerivationImageSequence[0].SourceImageSequence
        segment = part.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        found[int(segment), int(image.get("ReferencedFrameNumber", 1))] = array
    return found


def test_frames_of_pictures_refer_to_the_frames_that_they_are_of(picture: Made) -> None:
    seg, probability, uncertainty = (frames_of(picture.paths[n]) for n in ("seg", "probability", "uncertainty"))
    assert len(seg) == 2 * len(picture.result)
    for frame, result in enumerate(picture.result, start=1):
        for number, segment in enumerate(picture.codes.segments, start=1):
            np.testing.assert_array_equal(seg[number, frame], np.isin(result.label_map.T, segment.values))
            np.testing.assert_array_equal(probability[number, frame], np.rint(result.probability[number - 1].T * 255))
            np.testing.assert_array_equal(uncertainty[number, frame], np.rint(result.uncertainty[number - 1].T * 255))


def test_nothing_made_up_is_left_in_objects_of_pictures(picture: Made) -> None:
    for name in ("seg", "probability", "uncertainty"):
        text = str(pydicom.dcmread(picture.paths[name]))
        for keyword in ("Image Position", "Image Orientation", "Pixel Spacing", "Frame of Reference"):
            assert keyword not in text, (name, keyword)


def test_all_objects_are_valid(volume: Made, picture: Made, validate: Callable[[Path], str]) -> None:
    for made in (volume, picture):
        for path in made.paths.values():
            assert validate(path) == "", path.name


def test_an_empty_mask_gives_valid_objects(bundles: Path, tmp_path: Path, validate: Callable[[Path], str]) -> None:
    array = RNG.integers(0, 900, (6, 5, 7)).astype(float)
    objects.mr_series(tmp_path / "in", array, objects.OBLIQUE, objects.new_study())
    source = read_volume([Series(read_headers([tmp_path / "in"], Privacy())[0])], ["T1w"])
    shape = tuple(source.image.shape[1:])
    empty = np.zeros((3, *shape), dtype=np.float32)
    codes = read_codes(bundles / "brats_mri_medsegdiff", BRAIN, ["T1w"])
    made = make_objects(source, [SegmentationResult(empty[0].astype(np.uint8), empty, empty, None)], codes, EQUIPMENT)
    for path in saved(made, tmp_path).values():
        assert validate(path) == "", path.name
    assert not pydicom.dcmread(tmp_path / "seg.dcm").pixel_array.any()
