# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.transforms import LoadImage

from medsegdiff_monai.data.reading import nifti, read_header, read_image, read_label
from medsegdiff_monai.utils import InputError

AFFINE = np.array([[0.0, -1.5, 0.25, 10.0], [2.0, 0.0, 0.5, -20.0], [0.0, 0.125, 3.0, 5.0], [0.0, 0.0, 0.0, 1.0]])
VOXELS = np.random.default_rng(0).integers(-2000, 2000, (6, 5, 4, 3)).astype(np.int16)


def write(folder: Path, voxels: np.ndarray, suffix: str = ".nii.gz", kind: Any = nib.Nifti1Image) -> Path:
    dtype = None if voxels.dtype.names else voxels.dtype
    nib.save(kind(voxels, AFFINE, dtype=dtype), folder / f"a{suffix}")
    return folder / f"a{suffix}"


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize(
    ("stored", "shape", "channels"),
    [
        ((6, 5), (6, 5), 1),
        ((6, 5, 1), (6, 5, 1), 1),
        ((6, 5, 1, 1), (6, 5, 1), 1),
        ((6, 5, 1, 3), (6, 5, 1), 3),
        ((6, 5, 1, 1, 3), (6, 5, 1), 3),
        ((6, 5, 4), (6, 5, 4), 1),
        ((6, 5, 4, 1), (6, 5, 4), 1),
        ((6, 5, 4, 3), (6, 5, 4), 3),
        ((6, 5, 4, 1, 3), (6, 5, 4), 3),
        ((6, 5, 4, 1, 1), (6, 5, 4), 1),
    ],
    ids=str,
)
def test_axes_are_space_and_channels(
    tmp_path: Path, stored: tuple[int, ...], shape: tuple[int, ...], channels: int, suffix: str
) -> None:
    voxels = np.random.default_rng(0).integers(-2000, 2000, stored).astype(np.int16)
    image, header = read_image(write(tmp_path, voxels, suffix))
    expected = np.moveaxis(voxels.reshape((*shape, channels)), -1, 0)
    np.testing.assert_array_equal(image, expected)
    assert (header.shape, header.channels, header.values) == (shape, channels, voxels.size)
    np.testing.assert_array_equal(header.affine, AFFINE)


@pytest.mark.parametrize("stored", [(6, 5, 4, 2, 3), (6,), (6, 5, 4, 1, 2, 3)], ids=str)
def test_other_axes_are_refused_with_the_shape(tmp_path: Path, stored: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=f"has the shape {' x '.join(map(str, stored))}"):
        read_header(write(tmp_path, np.zeros(stored, np.uint8)))


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i4", "i8", "u8", "f4", "f8"])
@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
def test_voxels_are_those_of_monai(tmp_path: Path, dtype: str, kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Read in pieces of a few lines, they are what MONAI reads at once, to the last bit."""
    monkeypatch.setattr(nifti, "_BYTES_AT_ONCE", 64)
    path = write(tmp_path, (np.abs(VOXELS.astype(np.float64)) % 120 + 0.3).astype(dtype), kind=kind)
    expected: Any = LoadImage(image_only=True, ensure_channel_first=True)(path)
    image, header = read_image(path)
    assert torch.equal(torch.from_numpy(image), expected.as_tensor())
    assert np.array_equal(header.affine, expected.affine.numpy())


def test_slope_and_intercept_and_foreign_byte_order_are_applied(tmp_path: Path) -> None:
    header = nib.Nifti1Header(endianness=">")
    header.set_data_dtype(">i2")
    image = nib.Nifti1Image(VOXELS * 0.37 - 11, AFFINE, header)
    nib.save(image, tmp_path / "a.nii.gz")
    expected: Any = LoadImage(image_only=True, ensure_channel_first=True)(tmp_path / "a.nii.gz")
    assert torch.equal(torch.from_numpy(read_image(tmp_path / "a.nii.gz")[0]), expected.as_tensor())
    assert np.abs(expected.numpy() - np.moveaxis(VOXELS * 0.37 - 11, -1, 0)).max() < 0.05


@pytest.mark.parametrize("names", ["RGB", "RGBA"])
def test_colours_of_a_voxel_are_channels(tmp_path: Path, names: str) -> None:
    voxels = np.zeros((6, 5, 1), [(name, "u1") for name in names])
    for i, name in enumerate(names):
        voxels[name] = 255 if name == "A" else np.random.default_rng(i).integers(0, 255, (6, 5, 1))
    image, header = read_image(write(tmp_path, voxels))
    np.testing.assert_array_equal(image, np.stack([voxels[name] for name in "RGB"]))
    assert header.channels == 3
    if names == "RGBA":
        voxels["A"][2, 3, 0] = 0
        with pytest.raises(InputError, match="is partly transparent"):
            read_image(write(tmp_path, voxels))


def test_complex_numbers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds complex numbers"):
        read_header(write(tmp_path, VOXELS.astype(np.complex64)))


@pytest.mark.parametrize("compressed", [False, True])
def test_size_that_a_file_cannot_have_costs_a_sentence(tmp_path: Path, compressed: bool) -> None:
    header = nib.Nifti1Header()
    header.set_data_shape((3000, 3000, 3000))
    header["magic"], header["vox_offset"] = b"n+1", 352
    content = header.binaryblock + bytes(100)
    (tmp_path / "a.nii").write_bytes(gzip.compress(content) if compressed else content)
    with pytest.raises(InputError, match="bytes cannot hold 3000 x 3000 x 3000 pixels as it declares"):
        read_image(tmp_path / "a.nii")


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_truncated_file_is_refused(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path, VOXELS, suffix)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(InputError, match="cannot be read: it is damaged"):
        read_image(path)


def test_label_of_equal_colours_is_grey(tmp_path: Path) -> None:
    voxels = np.zeros((6, 5, 1), [(name, "u1") for name in "RGB"])
    for name in "RGB":
        voxels[name] = np.arange(30).reshape(6, 5, 1) % 3
    np.testing.assert_array_equal(read_label(write(tmp_path, voxels))[0], voxels["R"][None])


@pytest.mark.parametrize("number", [np.nan, np.inf])
@pytest.mark.parametrize("shape", [(6, 5), (6, 5, 4)])
def test_an_affine_that_is_not_finite_is_refused(tmp_path: Path, shape: tuple[int, ...], number: float) -> None:
    image = nib.Nifti1Image(np.ones(shape, np.uint8), np.eye(4))
    image.header["sform_code"] = 1
    image.header["srow_x"][0] = number
    nib.save(image, tmp_path / "a.nii")
    content = bytearray((tmp_path / "a.nii").read_bytes())
    content[280:284] = np.float32(number).tobytes()  # srow_x[0]
    (tmp_path / "a.nii").write_bytes(content)
    with pytest.raises(InputError, match="states no place in space"):
        read_image(tmp_path / "a.nii")


def test_a_flat_affine_is_refused_for_a_volume_and_means_nothing_for_a_slice(tmp_path: Path) -> None:
    flat = np.diag([1.0, 1.0, 0.0, 1.0])
    for shape in ((6, 5, 4), (6, 5, 1)):
        image = nib.Nifti1Image(np.ones(shape, np.uint8), np.eye(4))
        nib.save(image, tmp_path / "a.nii")
        content = bytearray((tmp_path / "a.nii").read_bytes())
        content[254:256] = np.int16(1).tobytes()  # sform_code
        content[280:328] = flat[:3].astype(np.float32).tobytes()
        (tmp_path / "a.nii").write_bytes(content)
        if shape[2] > 1:
            with pytest.raises(InputError, match="two axes of its affine are one"):
                read_image(tmp_path / "a.nii")
        else:
            assert read_image(tmp_path / "a.nii")[0].shape == (1, 6, 5, 1)
