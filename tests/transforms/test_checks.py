# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from medsegdiff_monai.data import Regions
from medsegdiff_monai.transforms import CheckImaged, LabelToRegionsd
from medsegdiff_monai.utils import InputError

SOURCE = "/data/case7.png"
NODULE = {"nodule": [1]}


def image(*shape: int, seed: int = 0) -> MetaTensor:
    values = torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(seed)).float()
    return MetaTensor(values, affine=np.diag([2.0, 3.0, 4.0, 1.0]), meta={"filename_or_obj": SOURCE})


def label(values: list) -> MetaTensor:
    values = torch.tensor(values, dtype=torch.float32)[None]
    return MetaTensor(values, affine=np.diag([2.0, 3.0, 4.0, 1.0]), meta={"filename_or_obj": SOURCE})


def check(x: torch.Tensor, channels: int, dims: int = 2) -> torch.Tensor:
    return CheckImaged("image", num_channels=channels, spatial_dims=dims)({"image": x, "other": 1})["image"]


@pytest.mark.parametrize(("channels", "size"), [(1, (5, 6)), (3, (5, 6)), (4, (5, 6, 7)), (1, (5, 6, 7))])
def test_usable_image_passes_unchanged(channels: int, size: tuple[int, ...]) -> None:
    x = image(channels, *size)
    assert check(x, channels, len(size)) is x


@pytest.mark.parametrize("difference", [0, 2])
def test_grey_stored_as_rgb_becomes_one_channel(difference: int) -> None:
    grey = image(1, 5, 6)
    result = check(torch.cat([grey, grey + difference, grey]), 1)
    assert result.shape == (1, 5, 6)
    torch.testing.assert_close(result.as_tensor(), grey.as_tensor(), atol=difference, rtol=0)
    np.testing.assert_array_equal(result.affine, grey.affine)


@pytest.mark.parametrize("scale", [1.0, 1 / 255], ids=["to 255", "to 1"])
def test_colours_are_not_taken_for_grey(scale: float) -> None:
    with pytest.raises(InputError, match=f"{SOURCE} has 3 channels, 1 expected: convert it"):
        check(image(3, 5, 6) * scale, 1)


@pytest.mark.parametrize(("has", "expected"), [(1, 3), (4, 3), (2, 1), (1, 4)])
def test_other_number_of_channels_is_refused(has: int, expected: int) -> None:
    with pytest.raises(InputError, match=f"The image {SOURCE} has {has} channels, {expected} expected"):
        check(image(has, 5, 6), expected)


@pytest.mark.parametrize(("size", "dims"), [((5, 6, 7), 2), ((5, 6), 3)])
def test_other_number_of_dimensions_is_refused(size: tuple[int, ...], dims: int) -> None:
    with pytest.raises(InputError, match=f"{SOURCE} has {len(size)} spatial dimensions, {dims} are expected"):
        check(image(1, *size), 1, dims)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_one_pixel_that_is_no_number_is_refused(value: float) -> None:
    x = image(2, 5, 6)
    x[1, 2, 3] = value
    with pytest.raises(InputError, match=f"{SOURCE} has NaN or infinite pixels"):
        check(x, 2)


@pytest.mark.parametrize("value", [0.0, 17.0])
@pytest.mark.parametrize("channels", [1, 3])
def test_constant_image_is_refused_with_its_value(value: float, channels: int) -> None:
    x = image(channels, 5, 6)
    x[:] = value
    with pytest.raises(InputError, match=rf"{SOURCE} is constant \(every pixel is {value:g}\)"):
        check(x, channels)


def check_contrasts(x: torch.Tensor, *contrasts: str) -> torch.Tensor:
    return CheckImaged("image", contrasts=contrasts, spatial_dims=3)({"image": x})["image"]


@pytest.mark.parametrize("value", [0.0, 17.0])
@pytest.mark.parametrize("constant", [0, 1, 2])
def test_constant_contrast_is_refused_by_its_name(constant: int, value: float) -> None:
    x = image(3, 5, 6, 7)
    assert check_contrasts(x, "FLAIR", "T1w", "T2w") is x
    x[constant] = value
    name = ("FLAIR", "T1w", "T2w")[constant]
    with pytest.raises(InputError, match=rf"The {name} of {SOURCE} is constant \(every voxel is {value:g}\): replace"):
        check_contrasts(x, "FLAIR", "T1w", "T2w")
    assert check(x, 3, 3) is x  # a colour may well be


@pytest.mark.parametrize("has", [1, 3, 5])
def test_contrasts_are_listed_where_their_number_is_another(has: int) -> None:
    with pytest.raises(InputError, match=rf"{SOURCE} has {has} channels, 4 expected \(FLAIR, T1w, T1gd, T2w\)"):
        check_contrasts(image(has, 5, 6, 7), "FLAIR", "T1w", "T1gd", "T2w")


@pytest.mark.parametrize("settings", [{}, {"num_channels": 4, "contrasts": ["T1w"]}], ids=["neither", "both"])
def test_either_the_number_or_the_names_of_channels_are_given(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="Give num_channels or contrasts, got"):
        CheckImaged("image", **settings)


def test_tensor_without_metadata_is_checked_as_well() -> None:
    x = torch.rand(1, 5, 6)
    assert check(x, 1) is x
    with pytest.raises(InputError, match="in memory"):
        check(torch.zeros(1, 5, 6), 1)


def test_absent_key_is_an_error_unless_allowed() -> None:
    assert CheckImaged("image", 1, 2, allow_missing_keys=True)({}) == {}
    assert LabelToRegionsd("label", NODULE, allow_missing_keys=True)({}) == {}
    for transform in (CheckImaged("image", 1, 2), LabelToRegionsd("label", NODULE)):
        with pytest.raises(KeyError):
            transform({})


@pytest.mark.parametrize(
    ("regions", "background", "expected"),
    [
        ({"a": [1, 255]}, (0,), [[[0, 1], [1, 0]]]),
        ({"a": [1], "b": [255]}, (0,), [[[0, 1], [0, 0]], [[0, 0], [1, 0]]]),
        ({"b": [255, 1], "a": [255]}, (0,), [[[0, 1], [1, 0]], [[0, 0], [1, 0]]]),
        ({"cup": [0], "disc": [0, 1]}, (255,), [[[1, 0], [0, 1]], [[1, 1], [0, 1]]]),
        ({"a": [1, 255], "unlabelled": []}, (0,), [[[0, 1], [1, 0]], [[0, 0], [0, 0]]]),
    ],
    ids=["one of two values", "apart", "overlapping", "other background", "unlabelled"],
)
def test_regions_are_channels_in_their_order(
    regions: dict[str, list[int]], background: tuple[int, ...], expected: list
) -> None:
    transform = LabelToRegionsd("label", Regions(regions, background=background))
    masks = transform({"image": image(1, 2, 2), "label": label([[0, 1], [255, 0]])})["label"]
    assert masks.dtype == torch.float32
    assert masks.tolist() == expected


def test_nested_tumour_regions_equal_the_definition() -> None:
    """BraTS 2018-2021: tumour core is 1 and 4, whole tumour 1, 2 and 4, enhancing tumour 4."""
    values = torch.randint(0, 4, (1, 6, 7, 5), generator=torch.Generator().manual_seed(0)).float()
    values[values == 3] = 4
    source = MetaTensor(values, affine=np.diag([2.0, 3.0, 4.0, 1.0]))
    transform = LabelToRegionsd("label", {"TC": [1, 4], "WT": [1, 2, 4], "ET": [4]})
    core, whole, enhancing = (m := transform({"image": image(4, 6, 7, 5), "label": source})["label"])
    a = values[0].numpy()
    np.testing.assert_array_equal(core, (a == 1) | (a == 4))
    np.testing.assert_array_equal(whole, a > 0)
    np.testing.assert_array_equal(enhancing, a == 4)
    np.testing.assert_array_equal(m.affine, source.affine)


def test_mask_of_0_and_255_needs_255_declared() -> None:
    case = {"image": image(1, 2, 2), "label": label([[0, 255], [255, 0]])}
    assert LabelToRegionsd("label", {"nodule": [1, 255]})(case)["label"].tolist() == [[[0, 1], [1, 0]]]
    with pytest.raises(InputError, match=rf"The label {SOURCE} holds the undeclared values 255 \(declared: 0, 1\)"):
        LabelToRegionsd("label", NODULE)(case)


def test_undeclared_values_are_listed_up_to_five() -> None:
    case = {"label": label([[0, 1, 2, 3.5], [4, 5, 6, 7]])}
    with pytest.raises(InputError, match=r"undeclared values 2, 3\.5, 4, 5, 6, \.\.\. \(declared: 0, 1\): mend it"):
        LabelToRegionsd("label", NODULE)(case)
    with pytest.raises(InputError, match="undeclared values nan"):
        LabelToRegionsd("label", NODULE)({"label": label([[0, float("nan")]])})


def test_label_of_another_size_or_with_channels_is_refused() -> None:
    transform = LabelToRegionsd("label", NODULE)
    with pytest.raises(InputError, match=rf"{SOURCE} has the size \(2, 3\) and its image \(3, 2\)"):
        transform({"image": image(1, 3, 2), "label": label([[0, 1, 0], [1, 0, 0]])})
    with pytest.raises(InputError, match=f"{SOURCE} has 3 channels: give a map of label values"):
        transform({"image": image(3, 3, 2), "label": image(3, 3, 2)})


def test_size_is_not_compared_without_an_image_key() -> None:
    case = {"image": image(1, 3, 2), "label": label([[0, 1, 1]])}
    assert LabelToRegionsd("label", NODULE, image_key=None)(case)["label"].tolist() == [[[0, 1, 1]]]


def test_label_on_another_affine_is_refused() -> None:
    flipped = label([[0, 1], [1, 0]])
    flipped.affine = np.diag([-2.0, 3.0, 4.0, 1.0])
    with pytest.raises(
        InputError, match=r"label .* has another affine than its image \(its corners lie up to 4 mm apart\): resample"
    ):
        LabelToRegionsd("label", NODULE)({"image": image(1, 2, 2), "label": flipped})


@pytest.mark.parametrize(("value", "message"), [(float("nan"), "has NaN or infinite voxels"), (5.0, "is constant")])
def test_contrast_that_cannot_be_used_is_named_with_its_case(value: float, message: str) -> None:
    volume = image(2, 5, 6, 7)
    volume[1] = value
    volume.meta["case"] = "p1"
    with pytest.raises(InputError, match=f"The T2w of case p1 {message}"):
        CheckImaged("image", contrasts=["FLAIR", "T2w"], spatial_dims=3)({"image": volume})


def test_volume_of_one_slice_is_a_2d_image() -> None:
    x = image(1, 5, 6, 1)
    x.meta["spacing"] = np.array([2.0, 3.0, 4.0])
    result = check(x, 1)
    torch.testing.assert_close(result.as_tensor(), x.as_tensor()[..., 0])
    np.testing.assert_array_equal(result.affine, x.affine)
    assert result.meta["spacing"].tolist() == [2.0, 3.0]
    assert check(x, 1, dims=3).shape == (1, 5, 6, 1)


@pytest.mark.parametrize("size", [(5, 6, 7), (1, 6, 7)])
def test_volume_of_several_slices_is_refused_with_its_size(size: tuple[int, ...]) -> None:
    message = f"its size is {' x '.join(map(str, size))}, give one slice of it"
    with pytest.raises(InputError, match=message):
        check(image(1, *size), 1)


@pytest.mark.parametrize(("image_size", "label_size"), [((2, 3), (2, 3, 1)), ((2, 3, 1), (2, 3))])
def test_label_of_one_slice_fits_its_image_in_either_form(image_size: tuple, label_size: tuple) -> None:
    values = label([[0, 1, 0], [1, 1, 0]])
    case = {"image": image(1, *image_size), "label": values.reshape(1, *label_size)}
    masks = LabelToRegionsd("label", NODULE)(case)["label"]
    assert masks.shape == (1, *image_size)
    np.testing.assert_array_equal(masks[0].numpy().reshape(2, 3), [[0, 1, 0], [1, 1, 0]])
