# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import gzip
import os
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from medsegdiff_monai.data.reading import read_header, read_image
from medsegdiff_monai.utils import InputError

PIXELS = np.random.default_rng(0).integers(0, 256, (5, 7)).astype(np.uint8)


def write(path: Path, kind: str) -> None:
    """The same pixels, X along the columns, whatever the name of the file."""
    if kind.startswith("NIfTI"):
        plain = path.with_name("plain.nii")
        nib.save(nib.Nifti1Image(PIXELS.T, np.eye(4)), plain)
        path.write_bytes(gzip.compress(plain.read_bytes()) if kind.endswith("gz") else plain.read_bytes())
    else:
        Image.fromarray(PIXELS).save(path, kind)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif", "a.nii", "a.nii.gz", "a"])
@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "NIfTI", "NIfTI gz"])
def test_kind_is_told_by_the_bytes_and_not_by_the_name(tmp_path: Path, kind: str, name: str) -> None:
    write(tmp_path / name, kind)
    image, header = read_image(tmp_path / name)
    assert header.kind == kind.split()[0]
    np.testing.assert_array_equal(image, PIXELS.T[None])


@pytest.mark.parametrize(
    ("content", "format_name"),
    [
        (b"RIFF\x10\0\0\0WEBPVP8 ", "a WebP file"),
        (b"GIF89a\x01\0", "a GIF file"),
        (b"\0\0\0\x0cjP  \r\n\x87\n", "a JPEG 2000 file"),
        (b"\xff\xd8\xff\xf7\0\x0b", "a JPEG-LS file"),
        (b"\0\0\0\x18ftypheic", "a HEIC, AVIF or video file"),
        (b"NRRD0004\n", "an NRRD file"),
        (b"ObjectType = Image\n", "a MetaImage file"),
        (b"\x5c\x01\0\0" + bytes(344), "an Analyze file"),
        (b"\x5c\x01\0\0" + bytes(340) + b"ni1\0", "a NIfTI file in two parts"),
        (b"P5 3 3 255 ", "a PNM file"),
        (b"PK\x03\x04", "a ZIP archive"),
    ],
)
def test_format_that_is_not_read_is_named(tmp_path: Path, content: bytes, format_name: str) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(content)
    with pytest.raises(
        InputError, match=f"^The file {path} is {format_name}, which is not read: save it as one of PNG"
    ):
        read_header(path)


@pytest.mark.parametrize("content", [bytes(128) + b"DICM", b"\x08\0\x05\0CS\x0a\0"], ids=["preamble", "without"])
def test_dicom_is_sent_to_its_command(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(InputError, match="is a DICOM file: segment it with `python -m medsegdiff_monai dicom`"):
        read_header(tmp_path / "a.png")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "cannot be read: it is empty; replace it"),
        (b"this is no image", "cannot be read: it is no image of a known kind"),
        (gzip.compress(b"a,b\n1,2\n"), "is compressed with gzip and holds no NIfTI: unpack it"),
        (gzip.compress(bytes(2000))[:12], "cannot be read: it is damaged or truncated"),
    ],
    ids=["empty", "text", "gzip", "truncated gzip"],
)
def test_file_that_is_no_image_is_refused_by_its_reason(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "a.nii.gz").write_bytes(content)
    with pytest.raises(InputError, match=reason):
        read_header(tmp_path / "a.nii.gz")


def test_what_is_no_file_is_named_and_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "link.png").symlink_to("gone.png")
    for name, reason in {
        "pipe.png": "is a pipe, socket or device, not a file",
        "folder.png": "is a folder, not a file",
        "link.png": "is a link to gone.png, which does not exist: restore that file",
        "folder.png/a.png": "does not exist: restore it",
        "null\0.png": "does not exist: restore it",
        "x" * 300 + ".png": "cannot be read",
    }.items():
        with pytest.raises(InputError, match=reason):
            read_header(tmp_path / name)
