# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

"""Small valid pictures and volumes, drawn from phantoms, that the mutations begin from."""

from __future__ import annotations

import gzip
import io
from functools import cache
from typing import Any, NamedTuple

import nibabel as nib
import numpy as np
import tifffile
from PIL import Image

from medsegdiff_monai.data.phantoms import make_phantom

__all__ = ["CONTRASTS", "Form", "brain", "forms_of", "nifti", "picture", "png"]

CONTRASTS = 4
SPACING_MM = 6.0
_PICTURE_SIZE = (40, 48)
_VOLUME_SIZE = (20, 20, 16)
_ORIENTATION = 0x112


class Form(NamedTuple):
    """A file: suffix and bytes."""

    suffix: str
    content: bytes


@cache
def picture(number: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """An ultrasound phantom and its label, uint8 of shape ``(rows, columns)``."""
    return make_phantom("ultrasound", np.random.default_rng([1, number]), _PICTURE_SIZE)


@cache
def brain(number: int = 0) -> np.ndarray:
    """A brain phantom, int16 of shape ``(X, Y, Z, 4)``."""
    return make_phantom("brain", np.random.default_rng([2, number]), _VOLUME_SIZE)[0]


def _saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def png(array: np.ndarray) -> bytes:
    """A PNG file of an array of shape ``(rows, columns)``."""
    return _saved(Image.fromarray(array), "PNG")


def nifti(array: np.ndarray, spacing: float = 1.0) -> bytes:
    """A NIfTI file of an array, with equal distances in mm."""
    return nib.Nifti1Image(array, np.diag([spacing, spacing, spacing, 1.0])).to_bytes()


def _png_forms() -> list[Form]:
    """Grey, RGB, RGBA, grey with transparency, a palette, black and white, and 16 bits."""
    grey = Image.fromarray(picture()[0])
    deep = Image.fromarray(picture()[0].astype(np.uint16) * 257)
    images = [grey, *(grey.convert(mode) for mode in ("RGB", "RGBA", "LA", "1")), grey.quantize(200), deep]
    return [Form(".png", _saved(image, "PNG")) for image in images]


def _jpeg_forms() -> list[Form]:
    grey = Image.fromarray(picture()[0])
    exif = Image.Exif()
    exif[_ORIENTATION] = 6
    kinds: tuple[dict[str, Any], ...] = ({}, {"exif": exif}, {"progressive": True})
    images = [(grey.convert(mode), options) for mode in ("L", "RGB") for options in kinds]
    images.append((grey.convert("CMYK"), {}))
    return [Form(".jpg", _saved(image, "JPEG", quality=90, **options)) for image, options in images]


def _bmp_forms() -> list[Form]:
    grey = Image.fromarray(picture()[0])
    return [Form(".bmp", _saved(i, "BMP")) for i in (grey, grey.convert("RGB"), grey.quantize(16), grey.convert("1"))]


def _tiff_forms() -> list[Form]:
    """Types of numbers, compressions, tiles, planes, pages, byte orders and orientation."""
    array = picture()[0]
    rgb = np.repeat(array[..., None], 3, axis=-1)
    kinds: list[tuple[np.ndarray, dict[str, Any]]] = [
        *((array, {"compression": name}) for name in (None, "lzw", "zlib", "packbits", "zstd")),
        *((array.astype(kind), {}) for kind in (np.uint16, np.int16, np.float32, float)),
        (rgb, {"photometric": "rgb"}),
        (rgb.transpose(2, 0, 1).copy(), {"photometric": "rgb"}),
        (255 - array, {"photometric": "miniswhite"}),
        (np.stack([array] * 3), {}),
        (array, {"tile": (16, 16)}),
        (array, {"byteorder": ">"}),
        (array, {"extratags": [(_ORIENTATION, 3, 1, 6, True)]}),
    ]
    forms = []
    for pixels, options in kinds:
        out = io.BytesIO()
        tifffile.imwrite(out, pixels, metadata=None, **options)
        forms.append(Form(".tif", out.getvalue()))
    return [*forms, Form(".tif", _saved(Image.fromarray(rgb), "TIFF", compression="jpeg"))]


def _packed_too(files: list[bytes]) -> list[Form]:
    return [f for raw in files for f in (Form(".nii", raw), Form(".nii.gz", gzip.compress(raw, mtime=0)))]


def _nifti_2d_forms() -> list[Form]:
    array = picture()[0].T.astype(np.int16)
    return _packed_too([nifti(a) for a in (array.astype(np.uint8), array, array.astype(np.float32), array[..., None])])


def _nifti_3d_forms() -> list[Form]:
    return _packed_too([nifti(brain()[..., 0].astype(t), SPACING_MM) for t in (np.int16, np.float32, np.uint16, float)])


def _label_forms() -> list[Form]:
    """Maps of label values in 0 and 1 or 255, in grey, colours or a palette."""
    label = picture()[1]
    one, full, palette = (Image.fromarray(a) for a in (label, label * 255, label))
    palette.putpalette([0, 0, 0, 255, 0, 0])
    forms = [Form(".png", _saved(image, "PNG")) for image in (one, full, full.convert("RGB"), palette)]
    forms += [Form(".bmp", _saved(one, "BMP")), Form(".tif", _saved(one, "TIFF")), Form(".jpg", _saved(full, "JPEG"))]
    return [*forms, *_packed_too([nifti(label.T.copy()), nifti(label.T.astype(np.float32))])]


_FORMS = {
    "png": _png_forms,
    "jpeg": _jpeg_forms,
    "bmp": _bmp_forms,
    "tiff": _tiff_forms,
    "nifti_2d": _nifti_2d_forms,
    "nifti_3d": _nifti_3d_forms,
    "label": _label_forms,
}


@cache
def forms_of(kind: str) -> tuple[Form, ...]:
    """All valid files of a kind that is no DICOM."""
    return tuple(_FORMS[kind]())
