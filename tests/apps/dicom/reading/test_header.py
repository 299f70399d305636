# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0


from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pydicom
import pytest
from apps.dicom import objects
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian

from medsegdiff_monai.apps.dicom.reading.attributes import text
from medsegdiff_monai.apps.dicom.reading.header import Instance, looks_like_dicom, read_header
from medsegdiff_monai.apps.dicom.reading.pixels import decode_frames
from medsegdiff_monai.utils import InputError

PICTURE = np.random.default_rng(5).integers(0, 256, (20, 30)).astype(np.uint8)


def file_with_picture(folder: Path, **attributes: object) -> Path:
    return objects.picture(folder / "a.dcm", PICTURE, objects.new_study(), **attributes)


def data_set(path: Path, implicit: bool, little: bool = True) -> bytes:
    """The data set of a file without its beginning, encoded anew."""
    ds = pydicom.dcmread(path)
    buffer = DicomBytesIO()
    buffer.is_implicit_VR, buffer.is_little_endian = implicit, little
    plain = pydicom.Dataset()
    plain.update({element.tag: element for element in ds})
    if "PixelData" in plain:
        plain["PixelData"].VR = "OB"  # bytes in their order, which words of big endian are not
    write_dataset(buffer, plain)
    return buffer.getvalue()


@pytest.mark.parametrize("form", ["without preamble", "explicit", "implicit", "big endian"])
def test_files_that_lack_their_beginning_are_read(tmp_path: Path, form: str) -> None:
    path = file_with_picture(tmp_path)
    content = {
        "without preamble": path.read_bytes()[132:],
        "explicit": data_set(path, implicit=False),
        "implicit": data_set(path, implicit=True),
        "big endian": data_set(path, implicit=False, little=False),
    }[form]
    path.write_bytes(content)
    assert looks_like_dicom(content[:256])
    header, has_pixels = read_header(path)
    assert has_pixels
    assert text(header, "PatientName") == objects.PATIENT_NAME
    np.testing.assert_array_equal(decode_frames(Instance(path, header), "the object")[0], PICTURE)


@pytest.mark.parametrize(
    "start", [b"", b"\x08", b"\x89PNG\r\n\x1a\n" + b"\0" * 250, b"\xff\xd8\xff\xe0" * 64, b"\x08\x00" + b"text" * 60]
)
def test_other_files_do_not_look_like_dicom(start: bytes) -> None:
    assert not looks_like_dicom(start)


def test_only_what_an_image_needs_is_read(tmp_path: Path) -> None:
    path = file_with_picture(tmp_path)
    ds = pydicom.dcmread(path)
    ds.private_block(0x0011, "SOMEONE", create=True).add_new(0x01, "OB", b"\0" * 10_000)
    ds.OtherPatientIDsSequence = [pydicom.Dataset()]
    ds.save_as(path)
    header, _ = read_header(path)
    assert [e.tag for e in header.elements() if e.tag.group == 0x0011] == []
    assert "OtherPatientIDsSequence" not in header


@pytest.mark.parametrize("undefined", [False, True])
def test_what_is_nested_deeply_is_passed_over_or_refused_at_once(tmp_path: Path, undefined: bool) -> None:
    fault = struct.pack("<HH2sH", 0x0008, 0x0016, b"ZZ", 4) + b"abcd"
    for depth in (40, 600):
        path = file_with_picture(tmp_path)
        objects.insert_before(path, "PatientName", objects.nested_sequence(depth, undefined, fault))
        if undefined and depth == 600:
            # Whether Python's limit or the fault comes first depends on how deep the caller is.
            with pytest.raises((RecursionError, OSError)):
                read_header(path)
        else:
            assert text(read_header(path)[0], "PatientName") == objects.PATIENT_NAME


def test_a_header_that_is_larger_than_any_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("medsegdiff_monai.apps.dicom.reading.header._LARGEST_HEADER", 100_000)
    path = file_with_picture(tmp_path, PatientComments="x" * 200_000)
    with pytest.raises(MemoryError, match="larger than any"):
        read_header(path)


def deflated(path: Path, pixel_bytes: int) -> None:
    """Make a file a deflated one, with so many zeros for pixels."""
    ds = pydicom.dcmread(path)
    head = path.read_bytes()[: 144 + ds.file_meta.FileMetaInformationGroupLength]
    syntax = struct.pack("<HH2sH", 2, 0x10, b"UI", 20) + b"1.2.840.10008.1.2.1\0"
    mark = struct.pack("<HH2sH", 2, 0x10, b"UI", 22) + DeflatedExplicitVRLittleEndian.encode()
    del ds.PixelData
    ds.save_as(path)
    plain = data_set(path, implicit=False) + struct.pack("<HH2sHL", 0x7FE0, 0x10, b"OW", 0, pixel_bytes)
    deflate = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    parts = [deflate.compress(plain), *(deflate.compress(bytes(2**20)) for _ in range(pixel_bytes >> 20))]
    path.write_bytes(head.replace(syntax, mark) + b"".join(parts) + deflate.flush())


def test_a_deflated_object_is_inflated_no_further_than_its_header_declares(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = file_with_picture(tmp_path)
    deflated(path, 2**27)
    monkeypatch.setattr("medsegdiff_monai.apps.dicom.reading.header._LARGEST_HEADER", 2**16)
    asked: list[int] = []
    original = zlib.decompressobj

    class Counted:
        def __init__(self, *arguments: int) -> None:
            self.inflate = original(*arguments)

        def decompress(self, content: bytes, limit: int) -> bytes:
            asked.append(limit)
            return self.inflate.decompress(content, limit)

    monkeypatch.setattr(zlib, "decompressobj", Counted)
    header, _ = read_header(path)
    with pytest.raises(InputError, match="truncated"):
        decode_frames(Instance(path, header), "the object")
    assert asked == [2**16, 2**16 + PICTURE.size]


def test_a_deflated_object_is_read(tmp_path: Path) -> None:
    path = file_with_picture(tmp_path)
    ds = pydicom.dcmread(path)
    ds.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    ds.save_as(path)
    header, _ = read_header(path)
    np.testing.assert_array_equal(decode_frames(Instance(path, header), "the object")[0], PICTURE)


@pytest.mark.parametrize(
    ("keyword", "value"), [("PatientID", b"4711"), ("StudyInstanceUID", b"1.2.3\0"), ("Modality", b"US")]
)
@pytest.mark.parametrize("representation", ["UN", "SH", "LT"])
def test_a_text_under_another_representation_is_read_as_what_it_is(
    tmp_path: Path, keyword: str, value: bytes, representation: str
) -> None:
    path = file_with_picture(tmp_path)
    ds = pydicom.dcmread(path)
    ds.add_new(keyword, representation, value if representation == "UN" else value.decode().strip("\0"))
    ds.save_as(path)
    assert text(read_header(path)[0], keyword) == value.decode().strip("\0")
