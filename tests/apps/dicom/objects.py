# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0
"""DICOM objects for the tests, written with pydicom alone: MR series, Enhanced MR, ultrasound, fundus photographs."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.tag import Tag
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

PATIENT_NAME = "Testmann^Gertrude"
PATIENT_ID = "PID4711007"
BIRTH_DATE = "19520304"

MR = "1.2.840.10008.5.1.4.1.1.4"
ENHANCED_MR = "1.2.840.10008.5.1.4.1.1.4.1"
ULTRASOUND = "1.2.840.10008.5.1.4.1.1.6.1"
ULTRASOUND_MULTIFRAME = "1.2.840.10008.5.1.4.1.1.3.1"
FUNDUS_8BIT = "1.2.840.10008.5.1.4.1.1.77.1.5.1"
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"

# An oblique grid, voxel to world (RAS, mm): rotated about two axes, with another spacing along each.
_A, _B = np.deg2rad(17.0), np.deg2rad(-9.0)
_TURN = np.array([[np.cos(_A), -np.sin(_A), 0], [np.sin(_A), np.cos(_A), 0], [0, 0, 1]]) @ np.array(
    [[1, 0, 0], [0, np.cos(_B), -np.sin(_B)], [0, np.sin(_B), np.cos(_B)]]
)
OBLIQUE = np.eye(4)
OBLIQUE[:3, :3] = _TURN @ np.diag([6.0, 5.5, 7.0])
OBLIQUE[:3, 3] = [-80.0, -90.0, -60.0]

CONTRAST_ATTRIBUTES: dict[str, dict[str, Any]] = {
    "FLAIR": {"SeriesDescription": "ax FLAIR", "EchoTime": 120, "RepetitionTime": 9000, "InversionTime": 2500},
    "T1w": {"SeriesDescription": "ax T1 SE", "EchoTime": 12, "RepetitionTime": 550},
    "T1gd": {
        "SeriesDescription": "ax T1 SE post",
        "EchoTime": 12,
        "RepetitionTime": 550,
        "ContrastBolusAgent": "Gadobutrol",
    },
    "T2w": {"SeriesDescription": "ax T2 TSE", "EchoTime": 100, "RepetitionTime": 4500},
}


def new_study() -> dict[str, Any]:
    """What all objects of a study of one made-up patient share."""
    return {
        "PatientName": PATIENT_NAME,
        "PatientID": PATIENT_ID,
        "PatientBirthDate": BIRTH_DATE,
        "PatientSex": "F",
        "StudyInstanceUID": generate_uid(),
        "StudyDate": "20240105",
        "StudyTime": "101500",
        "StudyID": "1",
        "AccessionNumber": "A1",
        "ReferringPhysicianName": "",
        "FrameOfReferenceUID": generate_uid(),
    }


def _object(sop_class: str, attributes: dict[str, Any]) -> FileDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = sop_class
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    ds.SOPClassUID = sop_class
    ds.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    ds.Manufacturer = "Phantom"
    for name, value in attributes.items():
        setattr(ds, name, value)
    return ds


def _pixels(ds: Dataset, array: np.ndarray, photometric: str = "MONOCHROME2", planar: int = 0) -> None:
    """Put an array ``([F,] rows, columns[, 3])`` of whole numbers into an object."""
    colour = array.ndim >= 3 and array.shape[-1] == 3
    ds.SamplesPerPixel = 3 if colour else 1
    ds.PhotometricInterpretation = photometric
    ds.Rows, ds.Columns = array.shape[-3:-1] if colour else array.shape[-2:]
    ds.BitsAllocated = array.dtype.itemsize * 8
    ds.BitsStored = ds.BitsAllocated
    ds.HighBit = ds.BitsStored - 1
    ds.PixelRepresentation = int(array.dtype.kind == "i")
    if colour:
        ds.PlanarConfiguration = planar
        array = np.moveaxis(array, -1, -3) if planar else array
    data = np.ascontiguousarray(array).tobytes()
    ds.PixelData = data + b"\0" * (len(data) % 2)


def _lps(affine: np.ndarray) -> np.ndarray:
    return np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine


def _plane(affine: np.ndarray, z: int) -> tuple[list[str], list[str], list[str], str]:
    """Position, orientation, pixel spacing (between rows, between columns) and slice spacing, as DICOM writes them."""
    lps = _lps(affine)
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    orientation = [*(lps[:3, 0] / spacing[0]), *(lps[:3, 1] / spacing[1])]
    position = lps[:3, 3] + z * lps[:3, 2]

    def text(values: Any) -> list[str]:
        return [f"{v:.10f}"[:16] for v in values]

    return text(position), text(orientation), text([spacing[1], spacing[0]]), f"{spacing[2]:.6f}"


def mr_series(
    folder: Path,
    volume: np.ndarray,
    affine: np.ndarray,
    study: dict[str, Any],
    number: int = 1,
    leave_out: tuple[int, ...] = (),
    **attributes: Any,
) -> list[Path]:
    """A classic MR series, one file a slice, from a volume ``(X, Y, Z)`` with its affine (RAS, mm)."""
    folder.mkdir(parents=True, exist_ok=True)
    series = generate_uid()
    paths = []
    for z in range(volume.shape[2]):
        if z in leave_out:
            continue
        position, orientation, spacing, between = _plane(affine, z)
        shared = {
            "Modality": "MR",
            "ImageType": ["ORIGINAL", "PRIMARY", "M"],
            "SeriesInstanceUID": series,
            "SeriesNumber": number,
            "InstanceNumber": z + 1,
            "ImagePositionPatient": position,
            "ImageOrientationPatient": orientation,
            "PixelSpacing": spacing,
            "SliceThickness": between,
            "SpacingBetweenSlices": between,
            "PositionReferenceIndicator": "",
        }
        ds = _object(MR, {**study, **shared, **attributes})
        _pixels(ds, np.round(volume[:, :, z].T).astype(np.int16))
        path = folder / f"IM{number:02d}{z:04d}.dcm"
        ds.save_as(path, enforce_file_format=True)
        paths.append(path)
    return paths


def brain_study(folder: Path, image: np.ndarray, affine: np.ndarray = OBLIQUE, **study: Any) -> dict[str, Any]:
    """Four series from an image ``(X, Y, Z, 4)`` of FLAIR, T1w, T1gd and T2w; what they share is returned."""
    shared = {**new_study(), **study}
    for i, attributes in enumerate(CONTRAST_ATTRIBUTES.values()):
        mr_series(folder / f"series{i + 1}", image[..., i], affine, shared, number=i + 1, **attributes)
    return shared


def enhanced_mr(path: Path, volume: np.ndarray, affine: np.ndarray, study: dict[str, Any], **attributes: Any) -> Path:
    """An Enhanced MR object, whose frames are stored in the reverse order of their positions."""
    shared = {
        "Modality": "MR",
        "ImageType": ["ORIGINAL", "PRIMARY", "BRAIN", "NONE"],
        "SeriesInstanceUID": generate_uid(),
        "SeriesNumber": 9,
        "InstanceNumber": 1,
        "NumberOfFrames": volume.shape[2],
        "PositionReferenceIndicator": "",
    }
    ds = _object(ENHANCED_MR, {**study, **shared, **attributes})
    _, orientation, spacing, between = _plane(affine, 0)
    measures, plane = Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness, measures.SpacingBetweenSlices = spacing, between, between
    plane.ImageOrientationPatient = orientation
    common = Dataset()
    common.PixelMeasuresSequence, common.PlaneOrientationSequence = [measures], [plane]
    ds.SharedFunctionalGroupsSequence = [common]
    index = Dataset()
    index.DimensionIndexPointer, index.FunctionalGroupPointer = 0x00209057, 0x00209111
    index.DimensionOrganizationUID = generate_uid()
    organization = Dataset()
    organization.DimensionOrganizationUID = index.DimensionOrganizationUID
    ds.DimensionOrganizationSequence, ds.DimensionIndexSequence = [organization], [index]
    order = range(volume.shape[2] - 1, -1, -1)
    ds.PerFrameFunctionalGroupsSequence = [_frame(affine, z, i) for i, z in enumerate(order)]
    _pixels(ds, np.stack([np.round(volume[:, :, z].T) for z in order]).astype(np.int16))
    path.parent.mkdir(parents=True, exist_ok=True)
    ds.save_as(path, enforce_file_format=True)
    return path


def _frame(affine: np.ndarray, z: int, index: int) -> Dataset:
    content, position, item = Dataset(), Dataset(), Dataset()
    content.StackID, content.InStackPositionNumber, content.DimensionIndexValues = "1", index + 1, [index + 1]
    position.ImagePositionPatient = _plane(affine, z)[0]
    item.FrameContentSequence, item.PlanePositionSequence = [content], [position]
    return item


def picture(
    path: Path,
    array: np.ndarray,
    study: dict[str, Any],
    sop_class: str = ULTRASOUND,
    photometric: str = "MONOCHROME2",
    planar: int = 0,
    **attributes: Any,
) -> Path:
    """An ultrasound or fundus object from an array ``([F,] rows, columns[, 3])`` of 8 bits, as it is stored."""
    fundus = sop_class == FUNDUS_8BIT
    shared: dict[str, Any] = {
        "Modality": "OP" if fundus else "US",
        "ImageType": ["ORIGINAL", "PRIMARY"],
        "SeriesInstanceUID": generate_uid(),
        "SeriesNumber": 1,
        "InstanceNumber": 1,
    }
    colour = array.shape[-1] == 3
    if array.ndim == (4 if colour else 3):
        shared["NumberOfFrames"] = array.shape[0]
    without_frame = {k: v for k, v in study.items() if k != "FrameOfReferenceUID"}
    ds = _object(sop_class, {**without_frame, **shared, **attributes})
    _pixels(ds, array, photometric, planar)
    path.parent.mkdir(parents=True, exist_ok=True)
    ds.save_as(path, enforce_file_format=True)
    return path


def palette(colours: np.ndarray) -> dict[str, Any]:
    """Attributes of a palette of 256 colours ``(256, 3)``, 8 bits in 16."""
    attributes: dict[str, Any] = {}
    for i, name in enumerate(("Red", "Green", "Blue")):
        attributes[f"{name}PaletteColorLookupTableDescriptor"] = [256, 0, 16]
        attributes[f"{name}PaletteColorLookupTableData"] = (colours[:, i].astype(np.uint16) * 257).tobytes()
    return attributes


def replace_value(path: Path, keyword: str, value: bytes) -> None:
    """Put any bytes in the place of an attribute's value, of which pydicom would refuse some."""
    content = path.read_bytes()
    tag = Tag(keyword)
    start = content.index(struct.pack("<HH", tag.group, tag.element), 132)
    (length,) = struct.unpack("<H", content[start + 6 : start + 8])  # of a representation with two bytes for it
    padded = value + b" " * (len(value) % 2)
    path.write_bytes(
        content[: start + 6] + struct.pack("<H", len(padded)) + padded + content[start + 8 + length :],
    )


def nested_sequence(depth: int, undefined: bool, inside: bytes = b"") -> bytes:
    """Referenced Image Sequence in itself, so many times, with defined or undefined lengths, explicit little endian."""
    start, end = struct.pack("<HH2sH", 0x0008, 0x1140, b"SQ", 0), struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)
    for _ in range(depth):
        if undefined:
            item = struct.pack("<HHL", 0xFFFE, 0xE000, 2**32 - 1) + inside + struct.pack("<HHL", 0xFFFE, 0xE00D, 0)
            inside = start + struct.pack("<L", 2**32 - 1) + item + end
        else:
            item = struct.pack("<HHL", 0xFFFE, 0xE000, len(inside)) + inside
            inside = start + struct.pack("<L", len(item)) + item
    return inside


def insert_before(path: Path, keyword: str, content: bytes) -> None:
    """Put encoded attributes before another one in a file."""
    tag = Tag(keyword)
    before, mark, after = path.read_bytes().partition(struct.pack("<HH", tag.group, tag.element))
    path.write_bytes(before + content + mark + after)
