# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import MetaTensor, decollate_batch, list_data_collate
from PIL import Image, ImageOps

from medsegdiff_monai.data.grids import spacing_in_metadata
from medsegdiff_monai.transforms import LoadCased, in_dims
from medsegdiff_monai.utils import InputError

WIDTH, HEIGHT = 7, 4
AFFINE = np.array([[0.0, -1.5, 0.25, 10.0], [2.0, 0.0, 0.5, -20.0], [0.0, 0.125, 3.0, 5.0], [0.0, 0.0, 0.0, 1.0]])


def pixels(*channels: int, top: int = 256, dtype: type = np.uint8) -> np.ndarray:
    """Random pixels in the order of rows, columns and channels."""
    return np.random.default_rng(0).integers(0, top, (HEIGHT, WIDTH, *channels)).astype(dtype)


def save_png(path: Path, array: np.ndarray, mode: str | None = None) -> str:
    image = Image.fromarray(array)
    (image if mode is None else image.convert(mode)).save(path)
    return str(path)


def save_nifti(path: Path, array: np.ndarray, affine: np.ndarray = AFFINE) -> str:
    nib.save(nib.Nifti1Image(array, affine), path)
    return str(path)


def load(value: Any, key: str = "image") -> Any:
    return LoadCased(["image", "label"], allow_missing_keys=True)({key: value})[key]


def rows_first(image: torch.Tensor) -> np.ndarray:
    """A loaded image ``(C, X, Y)`` as the file has it: rows, columns and then channels, if several."""
    return np.squeeze(np.moveaxis(image.numpy(), (0, 1, 2), (2, 1, 0)), axis=2 if len(image) == 1 else ())


def test_palette_image_is_its_colours_and_palette_label_its_indices(tmp_path: Path) -> None:
    indices = pixels(top=3)
    colours = np.array([[0, 0, 0], [200, 30, 5], [1, 2, 255]], dtype=np.uint8)
    picture = Image.fromarray(indices)
    picture.putpalette(colours.tobytes())
    picture.save(tmp_path / "a.png")
    np.testing.assert_array_equal(rows_first(load(str(tmp_path / "a.png"))), colours[indices])
    np.testing.assert_array_equal(rows_first(load(str(tmp_path / "a.png"), "label")), indices)


def test_label_keys_can_be_others(tmp_path: Path) -> None:
    picture = Image.fromarray(pixels(top=3))
    picture.putpalette([9, 8, 7] * 3)
    picture.save(tmp_path / "a.png")
    loaded = LoadCased(["label", "rim"], label_keys="rim")(dict.fromkeys(["label", "rim"], str(tmp_path / "a.png")))
    assert [loaded[k].shape[0] for k in ("label", "rim")] == [3, 1]


@pytest.mark.parametrize("suffix", [".png", ".tif", ".TIFF"])
@pytest.mark.parametrize("array", [pixels(), pixels(3), pixels(top=65536, dtype=np.uint16)], ids=["grey", "rgb", "16"])
@pytest.mark.parametrize("key", ["image", "label"])
def test_pixels_are_loaded_as_they_are(tmp_path: Path, array: np.ndarray, suffix: str, key: str) -> None:
    image = load(save_png(tmp_path / f"a{suffix}", array), key)
    assert image.shape[1:] == (WIDTH, HEIGHT)
    np.testing.assert_array_equal(rows_first(image), array)


def test_uppercase_suffix_is_read_like_any(tmp_path: Path) -> None:
    picture = Image.fromarray(pixels(top=2))
    picture.putpalette([0, 0, 0, 250, 250, 250])
    picture.save(tmp_path / "A.PNG")
    assert load(str(tmp_path / "A.PNG")).shape == (3, WIDTH, HEIGHT)


def test_black_and_white_is_grey_and_as_label_binary(tmp_path: Path) -> None:
    bits = pixels(top=2).astype(bool)
    path = save_png(tmp_path / "a.png", bits)
    assert Image.open(path).mode == "1"
    np.testing.assert_array_equal(rows_first(load(path)), bits * 255)
    np.testing.assert_array_equal(rows_first(load(path, "label")), bits)


def test_rgb_grey_jpeg_has_three_nearly_equal_channels(tmp_path: Path) -> None:
    grey = np.repeat(np.add.outer(np.arange(16) * 9, np.arange(24) * 4)[..., None], 3, axis=2).astype(np.uint8)
    Image.fromarray(grey).save(tmp_path / "a.jpg", quality=95)
    image = load(str(tmp_path / "a.jpg"))
    assert image.shape == (3, 24, 16)
    assert float((image.amax(0) - image.amin(0)).max()) <= 2
    assert np.abs(rows_first(image) - grey).max() <= 8


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("shape", [(6, 5), (6, 5, 4)], ids=["2d", "3d"])
def test_nifti_keeps_voxels_and_affine(tmp_path: Path, shape: tuple[int, ...], suffix: str) -> None:
    voxels = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    image = load(save_nifti(tmp_path / f"a{suffix}", voxels))
    np.testing.assert_array_equal(image[0].numpy(), voxels)
    np.testing.assert_array_equal(image.affine.numpy(), AFFINE)


@pytest.mark.parametrize("key", ["image", "label"])
@pytest.mark.parametrize(("file", "case"), [("p1.nii.gz", "p1"), ("p1.scan.NII", "p1.scan"), ("p2.png", "p2")])
def test_name_of_the_case_is_put_into_the_metadata(tmp_path: Path, file: str, case: str, key: str) -> None:
    voxels = np.random.default_rng(1).integers(0, 255, (6, 5)).astype(np.uint8)
    save = save_png if file.endswith("png") else save_nifti
    assert load(save(tmp_path / file, voxels), key).meta["case"] == case


@pytest.mark.parametrize(("unit", "factor"), [("unknown", 1.0), ("mm", 1.0), ("meter", 1000.0), ("micron", 0.001)])
@pytest.mark.parametrize("shape", [(5, 4), (5, 4, 3)])
def test_spacing_of_a_nifti_file_is_in_mm(tmp_path: Path, shape: tuple[int, ...], unit: str, factor: float) -> None:
    image = nib.Nifti1Image(np.zeros(shape, np.float32), AFFINE)
    image.header.set_xyzt_units(unit)
    nib.save(image, tmp_path / "a.nii.gz")
    lengths = [math.sqrt(2.0**2), math.sqrt(1.5**2 + 0.125**2), math.sqrt(0.25**2 + 0.5**2 + 3.0**2)]
    found = spacing_in_metadata(load(str(tmp_path / "a.nii.gz")).meta)
    assert found == pytest.approx([n * factor for n in lengths[: len(shape)]], rel=1e-5)


def test_pictures_have_no_spacing_whatever_they_say_of_printing(tmp_path: Path) -> None:
    Image.fromarray(pixels()).save(tmp_path / "a.png", dpi=(300, 300))
    assert spacing_in_metadata(load(str(tmp_path / "a.png")).meta) is None


def test_spacing_stays_with_its_case_in_a_batch(tmp_path: Path) -> None:
    with_spacing = [
        load(save_nifti(tmp_path / f"{n}.nii.gz", np.zeros((7, 4), np.float32), np.diag([n, 1.0, 1.0, 1.0])))
        for n in (1.0, 2.0)
    ]
    without = load(save_png(tmp_path / "a.png", pixels().astype(np.uint8)))
    batch = list_data_collate([{"image": image.float()} for image in (*with_spacing, without)])
    found = [spacing_in_metadata(case["image"].meta) for case in decollate_batch(batch)]
    assert found == [[1.0, 1.0], [2.0, 1.0], None]


def test_volume_of_several_contrasts_becomes_channels(tmp_path: Path) -> None:
    """The Medical Segmentation Decathlon keeps the four contrasts of a brain in one file."""
    voxels = np.random.default_rng(1).normal(size=(6, 5, 7, 4)).astype(np.float32)
    case = {"image": save_nifti(tmp_path / "BRATS_001.nii.gz", voxels)}
    image = LoadCased("image", contrasts=["FLAIR", "T1w", "T1gd", "T2w"])(case)["image"]
    np.testing.assert_array_equal(image.numpy(), np.moveaxis(voxels, 3, 0))
    np.testing.assert_array_equal(image.affine.numpy(), AFFINE)


def test_image_that_a_host_has_in_memory_stays_as_it_is(tmp_path: Path) -> None:
    image = MetaTensor(torch.rand(1, WIDTH, HEIGHT), affine=torch.from_numpy(AFFINE), meta={"filename_or_obj": "gone"})
    case = LoadCased(["image", "label"])({"image": image, "label": save_png(tmp_path / "a.png", pixels(top=2))})
    assert case["image"] is image
    assert case["label"].shape == image.shape
    assert load(MetaTensor(torch.ones(1, 2, 2)), "label").sum() == 4


def test_absent_key_is_an_error_unless_allowed(tmp_path: Path) -> None:
    case = {"image": save_png(tmp_path / "a.png", pixels())}
    assert list(LoadCased(["image", "label"], allow_missing_keys=True)(case)) == ["image"]
    with pytest.raises(KeyError, match="label"):
        LoadCased(["image", "label"])(case)


def truncated(path: Path) -> str:
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    return str(path)


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(3).integers(0, 255, shape, dtype=np.uint8)


def unreadable(folder: Path, kind: str) -> str:
    name, suffix = kind.split(maxsplit=1)
    path = folder / f"x{suffix}"
    if name == "text":
        path.write_text("this is no image")
    elif name == "empty":
        path.touch()
    elif name == "truncated" and suffix.startswith(".nii"):
        return truncated(Path(save_nifti(path, noise(20, 20, 20))))
    elif name == "truncated":
        return truncated(Path(save_png(path, noise(80, 90, 3))))
    elif name == "palette":
        return truncated(Path(save_png(path, noise(80, 90), "P")))
    elif name == "transparent":
        return truncated(Path(save_png(path, noise(80, 90, 3), "RGBA")))
    return str(path)


@pytest.mark.parametrize(
    "kind",
    [
        f"{name} {suffix}"
        for name, suffixes in {
            "text": (".png", ".jpg", ".nii", ".nii.gz"),
            "empty": (".png", ".nii.gz"),
            "truncated": (".png", ".jpg", ".nii", ".nii.gz"),
            "palette": (".png",),
            "transparent": (".png",),
        }.items()
        for suffix in suffixes
    ],
)
@pytest.mark.parametrize("key", ["image", "label"])
def test_unreadable_file_is_named_with_what_to_do(tmp_path: Path, kind: str, key: str) -> None:
    path = unreadable(tmp_path, kind)
    with pytest.raises(InputError, match=f"The {key} file {path} cannot be read: .*replace it") as caught:
        load(path, key)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("key", ["image", "label"])
def test_missing_file_is_named_with_what_to_do(tmp_path: Path, key: str) -> None:
    path = str(tmp_path / "absent.nii.gz")
    with pytest.raises(InputError, match=f"^The {key} file {path} does not exist: restore it or mend the datalist.$"):
        load(path, key)


@pytest.mark.parametrize("key", ["image", "label"])
def test_image_in_memory_stays_as_it_is(tmp_path: Path, key: str) -> None:
    """Whatever number of channels it has: the contrasts are those of files."""
    in_memory = MetaTensor(torch.rand(3, 4, 5), meta={"spacing": [1.0, 2.0]})
    other = {"label": "image", "image": "label"}[key]
    file = save_png(tmp_path / "a.png", pixels())
    loaded: Any = LoadCased(["image", "label"], contrasts=["FLAIR", "T1w"], resample=True)(
        {key: in_memory, other: file}
    )
    assert loaded[key] is in_memory
    assert in_memory.meta["spacing"] == [1.0, 2.0]
    np.testing.assert_array_equal(rows_first(loaded[other]), pixels())


def test_case_without_label_has_the_name_of_its_image(tmp_path: Path) -> None:
    case = {"image": save_png(tmp_path / "a.png", pixels()), "label": None}
    with pytest.raises(InputError, match=r"^The case a has no label in the datalist: add it"):
        LoadCased(["image", "label"])(case)


def test_case_whose_label_is_not_listed_is_refused_by_name() -> None:
    with pytest.raises(InputError, match="The case p1 has no label in the datalist: add it"):
        LoadCased("label", allow_missing_keys=True)({"image": "/data/p1.png", "label": None})


def turned_case(folder: Path, orientation: int, label_orientation: int | None, stored: bool) -> dict[str, str]:
    """A photograph with an EXIF orientation, and a label of its bright pixels in one of the two forms."""
    bright = pixels() > 128
    picture = Image.fromarray(bright * np.uint8(255))
    tags = Image.Exif()
    tags[0x0112] = orientation
    picture.save(folder / "a.png", exif=tags)
    shown = picture if stored else ImageOps.exif_transpose(Image.open(folder / "a.png"))
    label = Image.fromarray(np.asarray(shown) // 255)
    tags[0x0112] = label_orientation or 1
    label.save(folder / "b.png", **({} if label_orientation is None else {"exif": tags}))
    return {"image": str(folder / "a.png"), "label": str(folder / "b.png")}


@pytest.mark.parametrize(
    ("orientation", "label_orientation", "stored"),
    [
        *((orientation, None, stored) for orientation in (5, 6, 7, 8) for stored in (True, False)),
        *((orientation, orientation, True) for orientation in range(2, 9)),
        *((orientation, 1, False) for orientation in range(2, 9)),
        (1, None, True),
    ],
)
@pytest.mark.parametrize("keys", [["image", "label"], ["label", "image"], ["label"]], ids=str)
def test_label_lies_on_its_picture_as_it_is_shown(
    tmp_path: Path, orientation: int, label_orientation: int | None, stored: bool, keys: list[str]
) -> None:
    case = turned_case(tmp_path, orientation, label_orientation, stored)
    label = LoadCased(keys)(case)["label"]
    with Image.open(case["image"]) as picture:
        shown = np.asarray(ImageOps.exif_transpose(picture))
    np.testing.assert_array_equal(rows_first(label), shown // 255)
    image = load(case["image"])
    np.testing.assert_array_equal(rows_first(image), shown)
    assert image.meta["orientation"] == orientation


@pytest.mark.parametrize("orientation", [2, 3, 4])
def test_label_that_may_lie_in_two_ways_is_refused_by_name(tmp_path: Path, orientation: int) -> None:
    case = turned_case(tmp_path, orientation, None, stored=True)
    with pytest.raises(InputError, match=f"^The label file {case['label']} may lie on its image as it is shown or as"):
        LoadCased(["image", "label"])(case)


def test_damaged_image_of_a_label_is_named_as_the_image(tmp_path: Path) -> None:
    case = {"image": unreadable(tmp_path, "text .png"), "label": save_png(tmp_path / "b.png", pixels())}
    with pytest.raises(InputError, match=f"The image file {case['image']} cannot be read"):
        LoadCased("label")(case)


def test_kind_of_the_file_is_in_the_metadata(tmp_path: Path) -> None:
    assert load(save_png(tmp_path / "a.png", pixels())).meta["kind"] == "PNG"
    assert load(save_nifti(tmp_path / "a.nii", pixels())).meta["kind"] == "NIfTI"


def test_what_a_nifti_header_says_of_the_patient_stays_in_the_file(tmp_path: Path) -> None:
    image = nib.Nifti1Image(pixels(), AFFINE)
    image.header["descrip"] = b"Doe^Jane"
    nib.save(image, tmp_path / "a.nii")
    assert "Doe" not in str(load(str(tmp_path / "a.nii")).meta)


@pytest.mark.parametrize(("stored", "dims", "wanted"), [((6, 5, 1), 2, (6, 5)), ((6, 5), 3, (6, 5, 1))])
def test_one_slice_is_a_2d_image_and_the_reverse(tmp_path: Path, stored: tuple, dims: int, wanted: tuple) -> None:
    voxels = np.arange(30, dtype=np.float32).reshape(stored)
    image = in_dims(load(save_nifti(tmp_path / "a.nii.gz", voxels)), dims)
    np.testing.assert_array_equal(image[0].numpy(), voxels.reshape(wanted))
    np.testing.assert_array_equal(image.affine.numpy(), AFFINE)
    if dims == 2:
        assert spacing_in_metadata(image.meta) == pytest.approx([2.0, math.hypot(1.5, 0.125)])
    assert in_dims(image, dims) is image
