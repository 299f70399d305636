# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

"""Small valid DICOM objects, drawn from phantoms, that the mutations begin from."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from apps.dicom import objects
from PIL import Image
from pydicom import uid
from pydicom.dataset import FileDataset
from pydicom.encaps import encapsulate

from .seeds import brain, picture

__all__ = ["STUDY_FORMS", "ULTRASOUND_FORMS", "study_files", "study_uid", "ultrasound_file"]

_ROOT = "1.2.826.0.1.3680043.8.498."
_SLICES_LEFT_OUT = tuple(range(1, 16, 2))

Change = Callable[[FileDataset], None]


def study_uid(number: int) -> str:
    """The Study Instance UID of a made-up study; its last eight digits tell it from others, and none is longer."""
    return f"{_ROOT}{10**8 + number}"


def _in_syntax(syntax: uid.UID, ds: FileDataset) -> None:
    if syntax.is_compressed and not syntax.is_deflated:
        ds.compress(syntax, generate_instance_uid=False)
    ds.file_meta.TransferSyntaxUID = syntax
    if not syntax.is_little_endian:
        ds["PixelData"].VR = "OB"  # as words, which it is else, bytes would have to change places


def _as_jpeg(ds: FileDataset) -> None:
    out = io.BytesIO()
    Image.fromarray(ds.pixel_array).save(out, "JPEG", quality=90)
    ds.PixelData = encapsulate([out.getvalue()])
    ds["PixelData"].is_undefined_length = True
    ds.file_meta.TransferSyntaxUID = uid.JPEGBaseline8Bit
    ds.LossyImageCompression = "01"


def _as_it_is(ds: FileDataset) -> None:
    pass


_IMPLICIT, _DEFLATED, _BIG_ENDIAN, _RLE, _J2K, _JPEG_LS = (
    partial(_in_syntax, syntax)
    for syntax in (
        uid.ImplicitVRLittleEndian,
        uid.DeflatedExplicitVRLittleEndian,
        uid.ExplicitVRBigEndian,
        uid.RLELossless,
        uid.JPEG2000Lossless,
        uid.JPEGLSLossless,
    )
)
ULTRASOUND_FORMS: tuple[tuple[str, Change], ...] = (
    *(("grey", change) for change in (_as_it_is, _IMPLICIT, _DEFLATED, _BIG_ENDIAN, _RLE, _J2K, _JPEG_LS, _as_jpeg)),
    *((kind, change) for kind in ("rgb", "frames", "16 bits") for change in (_as_it_is, _IMPLICIT)),
)
STUDY_FORMS: tuple[Change, ...] = (_as_it_is, _IMPLICIT, _DEFLATED, _RLE)


def _ultrasound(folder: Path, kind: str) -> list[Path]:
    array, options = picture()[0], {}
    if kind == "rgb":
        array, options = np.repeat(array[..., None], 3, axis=-1), {"photometric": "RGB"}
    elif kind == "frames":
        array, options = np.stack([array] * 3), {"sop_class": objects.ULTRASOUND_MULTIFRAME}
    elif kind == "16 bits":
        array = array.astype(np.uint16) * 100
    return [objects.picture(folder / "1.dcm", array, _study(), **options)]


def _brain_study(folder: Path) -> list[Path]:
    paths = []
    for i, attributes in enumerate(objects.CONTRAST_ATTRIBUTES.values(), start=1):
        series = {"number": i, "leave_out": _SLICES_LEFT_OUT, **attributes}
        paths += objects.mr_series(folder, brain()[..., i - 1], objects.OBLIQUE, _study(), **series)
    return paths


def _study() -> dict[str, Any]:
    return {**objects.new_study(), "StudyInstanceUID": study_uid(0), "FrameOfReferenceUID": f"{study_uid(0)}.99"}


def _rewritten(path: Path, change: Change) -> bytes:
    """A file in another form; its UIDs begin with that of the study, so that none is drawn by chance."""
    ds = pydicom.dcmread(path)
    ds.SeriesInstanceUID = f"{ds.StudyInstanceUID}.{ds.SeriesNumber}"
    ds.SOPInstanceUID = f"{ds.SeriesInstanceUID}.{ds.InstanceNumber}"
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    change(ds)
    return _bytes(ds)


def _bytes(ds: FileDataset) -> bytes:
    syntax = ds.file_meta.TransferSyntaxUID
    changed = syntax != ds.original_encoding_syntax if hasattr(ds, "original_encoding_syntax") else True
    out = io.BytesIO()
    options = {"implicit_vr": syntax.is_implicit_VR, "little_endian": syntax.is_little_endian} if changed else {}
    pydicom.dcmwrite(out, ds, enforce_file_format=True, **options)
    return out.getvalue()


@cache
def _made(kind: str, change: Change) -> dict[str, bytes]:
    """Files of study 0 by their names."""
    with tempfile.TemporaryDirectory() as folder:
        paths = _brain_study(Path(folder)) if kind == "study" else _ultrasound(Path(folder), kind)
        return {path.name: _rewritten(path, change) for path in paths}


def _numbered(content: bytes, number: int) -> bytes:
    """A file of study 0 as one of another study."""
    if b"1.2.840.10008.1.2.1.99" in content:
        ds = pydicom.dcmread(io.BytesIO(content))
        for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID"):
            if keyword in ds:
                setattr(ds, keyword, getattr(ds, keyword).replace(study_uid(0), study_uid(number)))
        ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
        return _bytes(ds)
    return content.replace(study_uid(0).encode(), study_uid(number).encode())


def ultrasound_file(number: int, form: int = 0) -> bytes:
    """An ultrasound object of a study of its own.

    Args:
        number: number of the study.
        form: which of ``ULTRASOUND_FORMS``.
    """
    (content,) = _made(*ULTRASOUND_FORMS[form]).values()
    return _numbered(content, number)


def study_files(number: int, form: int = 0) -> dict[str, bytes]:
    """The files of a study of four MR series by their names.

    Args:
        number: number of the study.
        form: which of ``STUDY_FORMS``.
    """
    return {name: _numbered(content, number) for name, content in _made("study", STUDY_FORMS[form]).items()}
