# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, Invertd, NormalizeIntensityd
from PIL import Image
from scipy.ndimage import center_of_mass

from medsegdiff_monai.transforms import (
    AntialiasedResized,
    CropFieldOfViewd,
    FitToSized,
    LoadCased,
    RandCropRegionsd,
    RandRelativeAffined,
    in_field_of_view,
)

FITTED = (48, 64)


def disc(size: tuple[int, ...], centre: tuple[float, ...], radius: float, soft: float = 0.0) -> torch.Tensor:
    """A ball of ones about a place, in pixels, with an edge that falls off over a distance."""
    places = torch.meshgrid(*(torch.arange(s) for s in size), indexing="ij")
    distance = sum((p - c) ** 2 for p, c in zip(places, centre)) ** 0.5
    return ((radius - distance) / (soft or 1e-6) + 0.5).clamp(0, 1)[None]


def photograph(size: tuple[int, int], centre: tuple[float, float], radius: float) -> torch.Tensor:
    """A round field of view of random intensities from 60 to 200 on a black surround with a little noise."""
    generator = torch.Generator().manual_seed(0)
    inside = 60 + 140 * torch.rand(3, *size, generator=generator)
    noise = 8 * torch.rand(3, *size, generator=generator)
    return torch.where(disc(size, centre, radius) > 0.5, inside, noise)


def inverted(maps: torch.Tensor, transform: Any, image: torch.Tensor) -> torch.Tensor:
    """Maps in the geometry of a transformed image, back on the grid of the image itself."""
    undo = Invertd("pred", transform, orig_keys="image", nearest_interp=False, to_tensor=True)
    return undo({"image": image, "pred": MetaTensor(maps)})["pred"]


class TestAntialiasedResize:
    def test_shrinking_averages_as_pillow_does(self) -> None:
        image = torch.rand(1, 61, 80, generator=torch.Generator().manual_seed(2))
        made = AntialiasedResized("image", [16, 24])({"image": MetaTensor(image)})["image"]
        expected = Image.fromarray(image[0].numpy()).resize((24, 16), Image.Resampling.BILINEAR)
        np.testing.assert_allclose(made.as_tensor()[0], np.asarray(expected), atol=1e-6)

    @pytest.mark.parametrize("size", [(61, 80), (9, 80), (10, 12)])
    def test_a_constant_stays_one_up_to_the_border(self, size: tuple[int, int]) -> None:
        made = AntialiasedResized("image", [16, 24])({"image": MetaTensor(torch.full((2, *size), 7.0))})["image"]
        torch.testing.assert_close(made.as_tensor(), torch.full((2, 16, 24), 7.0))

    def test_maps_come_back_to_their_place_with_the_affine(self) -> None:
        resize = AntialiasedResized("image", [48, 64])
        affine = torch.diag(torch.tensor([0.5, -0.3, 1.0, 1.0], dtype=torch.float64))
        image = resize({"image": MetaTensor(disc((120, 90), (70, 30), 12.0, soft=4.0), affine=affine)})["image"]
        back = inverted(image.as_tensor(), resize, image)
        assert back.shape == (1, 120, 90)
        torch.testing.assert_close(back.affine, affine)
        np.testing.assert_allclose(center_of_mass(back[0].numpy()), (70, 30), atol=0.05)


class TestFieldOfView:
    def test_eye_is_told_from_its_surround(self) -> None:
        eye = disc((50, 60), (20, 30), 15.3) > 0.5
        assert torch.equal(in_field_of_view(photograph((50, 60), (20, 30), 15.3)), eye)

    def test_one_bright_channel_is_enough(self) -> None:
        image = torch.zeros(3, 4, 5)
        image[0, 1:3, 2:] = 200.0
        image[2, 0, 0] = 15.0
        assert in_field_of_view(image).nonzero()[:, 1:].tolist() == [[x, y] for x in (1, 2) for y in (2, 3, 4)]

    @pytest.mark.parametrize("scale", [1.0, 1 / 255, 257.0])
    def test_range_of_intensities_does_not_matter(self, scale: float) -> None:
        image = photograph((50, 60), (20, 30), 15.3)
        assert torch.equal(in_field_of_view(image * scale), in_field_of_view(image))

    def test_image_and_label_are_cropped_alike(self) -> None:
        image = photograph((50, 60), (20, 30), 15.3)
        case = {"image": MetaTensor(image), "label": MetaTensor(image[:1] * 2)}
        cropped = CropFieldOfViewd(["image", "label"])(case)
        torch.testing.assert_close(cropped["image"].as_tensor(), image[:, 5:36, 15:46])
        torch.testing.assert_close(cropped["label"].as_tensor(), 2 * image[:1, 5:36, 15:46])

    def test_maps_come_back_to_their_place(self) -> None:
        crop = CropFieldOfViewd("image")
        image = crop({"image": MetaTensor(photograph((50, 60), (20, 30), 15.3))})["image"]
        maps = torch.rand(2, 31, 31, generator=torch.Generator().manual_seed(1))
        expected = torch.zeros(2, 50, 60)
        expected[:, 5:36, 15:46] = maps
        torch.testing.assert_close(inverted(maps, crop, image).as_tensor(), expected)

    def test_image_without_surround_stays_whole(self) -> None:
        image = MetaTensor(100 + torch.rand(3, 20, 30))
        assert CropFieldOfViewd("image")({"image": image})["image"].shape == (3, 20, 30)


# Wide, tall, of the fitted proportions, odd, of the fitted size itself, smaller than it, thin, and large.
SIZES = [(60, 200), (201, 90), (96, 128), (101, 77), FITTED, (25, 19), (7, 300), (2001, 3001)]


class TestFitToSize:
    @pytest.mark.parametrize("size", SIZES, ids=str)
    def test_proportions_are_kept_and_the_rest_is_zero(self, size: tuple[int, int]) -> None:
        fitted = FitToSized("image", FITTED)({"image": MetaTensor(torch.ones(2, *size))})["image"].as_tensor()
        assert fitted.shape == (2, *FITTED)
        scale = min(48 / size[0], 64 / size[1])
        extent = [max(1, round(s * scale)) for s in size]
        rows, columns = (fitted[0].sum(axis).nonzero().flatten().tolist() for axis in (1, 0))
        for indices, length, target in zip((rows, columns), extent, FITTED):
            assert len(indices) == length
            assert indices == list(range(indices[0], indices[0] + length))
            assert abs(indices[0] - (target - 1 - indices[-1])) <= 1
        torch.testing.assert_close(fitted[:, rows][:, :, columns], torch.ones(2, *extent))

    def test_shrinking_averages_areas(self) -> None:
        image = torch.rand(3, 96, 128, generator=torch.Generator().manual_seed(0))
        fitted = FitToSized("image", FITTED)({"image": MetaTensor(image)})["image"]
        expected = image.reshape(3, 48, 2, 64, 2).mean((2, 4))
        torch.testing.assert_close(fitted.as_tensor(), expected)

    def test_growing_interpolates(self) -> None:
        """A ramp stays a ramp but within half a pixel of the border, where there is nothing to interpolate with."""
        ramp = torch.arange(24.0)[:, None] + 10 * torch.arange(32.0)
        fitted = FitToSized("image", FITTED)({"image": MetaTensor(ramp[None])})["image"].as_tensor()[0]
        expected = ((torch.arange(48.0) + 0.5) / 2 - 0.5)[:, None] + 10 * ((torch.arange(64.0) + 0.5) / 2 - 0.5)
        torch.testing.assert_close(fitted[1:-1, 1:-1], expected[1:-1, 1:-1])

    def test_volumes_are_fitted_as_well(self) -> None:
        volume = torch.rand(1, 12, 16, 10, generator=torch.Generator().manual_seed(0))
        transform = FitToSized("image", (6, 8, 8))
        fitted = transform({"image": MetaTensor(volume)})["image"]
        expected = volume.reshape(1, 6, 2, 8, 2, 5, 2).mean((2, 4, 6))
        torch.testing.assert_close(fitted.as_tensor()[..., 1:6], expected)
        assert fitted.as_tensor()[..., [0, 6, 7]].abs().max() == 0
        assert inverted(fitted.as_tensor(), transform, fitted).shape == volume.shape

    @pytest.mark.parametrize("size", [s for s in SIZES if min(s) > 10], ids=str)
    @pytest.mark.parametrize("place", [(0.5, 0.5), (0.3, 0.65)], ids=str)
    def test_disc_in_the_fitted_image_comes_back_to_its_place(
        self, size: tuple[int, int], place: tuple[float, float]
    ) -> None:
        """A network that finds the disc in what it is given marks it on the image's own grid."""
        centre, radius = [p * (s - 1) for p, s in zip(place, size)], 0.25 * min(size)
        transform = FitToSized("image", FITTED)
        image = transform({"image": MetaTensor(disc(size, centre, radius))})["image"]
        found = (image.as_tensor() > 0.5).float()
        result = inverted(found, transform, image).as_tensor()
        assert result.shape == (1, *size)
        pixel = max(1.0, size[0] / 48, size[1] / 64)  # of the smaller of both images, in pixels of the image itself
        np.testing.assert_allclose(center_of_mass(result[0].numpy()), centre, atol=0.5 * pixel)
        expected = disc(size, centre, radius)
        difference = ((result > 0.5).float() != expected).float().sum()
        assert difference <= 2 * np.pi * radius * pixel

    @pytest.mark.parametrize("size", SIZES, ids=str)
    def test_constant_maps_come_back_constant(self, size: tuple[int, int]) -> None:
        transform = FitToSized("image", FITTED)
        image = transform({"image": MetaTensor(torch.ones(3, *size))})["image"]
        result = inverted(torch.full((2, *FITTED), 0.25), transform, image).as_tensor()
        torch.testing.assert_close(result, torch.full((2, *size), 0.25))

    def test_inverse_interpolates_maps_of_a_shrunken_image(self) -> None:
        transform = FitToSized("image", (24, 32))
        image = transform({"image": MetaTensor(torch.ones(1, *FITTED))})["image"]
        ramp = torch.arange(24.0)[:, None] + 10 * torch.arange(32.0)
        result = inverted(ramp[None], transform, image).as_tensor()[0]
        expected = ((torch.arange(48.0) + 0.5) / 2 - 0.5)[:, None] + 10 * ((torch.arange(64.0) + 0.5) / 2 - 0.5)
        torch.testing.assert_close(result[1:-1, 1:-1], expected[1:-1, 1:-1])

    def test_one_transform_serves_cases_of_all_sizes(self) -> None:
        transform = FitToSized(["image", "label"], FITTED)
        sizes = [(60, 200), (25, 19)]
        cases = [transform({k: MetaTensor(torch.ones(1, *s)) for k in ("image", "label")}) for s in sizes]
        for case, size in zip(cases, sizes):
            assert case["label"].shape == (1, *FITTED)
            assert transform.inverse(case)["label"].shape == (1, *size)

    def test_absent_key_is_an_error_unless_allowed(self) -> None:
        assert FitToSized("image", FITTED, allow_missing_keys=True)({}) == {}
        with pytest.raises(KeyError, match="image"):
            FitToSized("image", FITTED)({})


@pytest.mark.parametrize("size", [(300, 200), (1500, 2101)], ids=str)
def test_photograph_is_segmented_on_its_own_grid(tmp_path: Path, size: tuple[int, int]) -> None:
    """The whole way of a fundus photograph: crop, fit and normalise, then all of it back for what was found."""
    eye, radius = (0.45 * size[0], 0.55 * size[1]), 0.35 * min(size)
    centre = (eye[0] + 0.4 * radius, eye[1] - 0.2 * radius)
    picture = photograph(size, eye, radius)
    picture[:, disc(size, centre, 0.3 * radius)[0] > 0.5] = 255.0
    Image.fromarray(picture.byte().permute(2, 1, 0).numpy()).save(tmp_path / "eye.png")
    steps = [LoadCased("image"), CropFieldOfViewd("image"), FitToSized("image", (96, 96)), NormalizeIntensityd("image")]
    transform = Compose(steps)
    image = transform({"image": str(tmp_path / "eye.png")})["image"]
    bright = (image.as_tensor().amin(0, keepdim=True) > 0.9 * image.as_tensor().amin(0).max()).float()
    result = inverted(bright, transform, image)
    assert result.shape == (1, *size)
    assert result.meta["filename_or_obj"] == str(tmp_path / "eye.png")
    pixel = 2 * radius / 96
    np.testing.assert_allclose(center_of_mass(result[0].numpy()), centre, atol=0.5 * pixel)


class TestRandRelativeAffine:
    @staticmethod
    def case(size: tuple[int, int]) -> dict[str, MetaTensor]:
        image = torch.rand(1, *size, generator=torch.Generator().manual_seed(0))
        return {"image": MetaTensor(image), "label": MetaTensor((image > 0.7).float())}

    def test_shift_is_a_share_of_each_axis(self) -> None:
        size = (40, 80)
        transform = RandRelativeAffined(["image", "label"], size, translate=0.1, prob=1.0).set_random_state(seed=0)
        shifts = []
        for _ in range(60):
            shifted = transform({k: MetaTensor(disc(size, (20, 40), 6, soft=2)) for k in ("image", "label")})
            shifts.append(np.subtract(center_of_mass(shifted["image"][0].numpy()), (20, 40)))
        largest = np.abs(shifts).max(axis=0)
        assert (largest <= (4.05, 8.05)).all()
        assert (largest >= (3.2, 6.4)).all()

    def test_nothing_moves_where_nothing_is_asked_for(self) -> None:
        case = self.case((10, 12))
        moved = RandRelativeAffined(["image", "label"], (10, 12), prob=1.0)(case)
        for key in ("image", "label"):
            torch.testing.assert_close(moved[key].as_tensor(), case[key].as_tensor())

    def test_image_and_mask_move_together_and_the_mask_stays_binary(self) -> None:
        size = (40, 60)
        blob = disc(size, (15, 35), 8, soft=2)
        case = {"image": MetaTensor(blob), "label": MetaTensor((blob > 0.5).float())}
        settings = {"rotate_range": 0.5, "scale_range": [0.2, 0.2], "shear_range": [0.1, 0.1]}
        transform = RandRelativeAffined(["image", "label"], size, 0.1, prob=1.0, **settings).set_random_state(seed=3)
        for _ in range(10):
            moved = transform(case)
            assert set(moved["label"].unique().tolist()) == {0.0, 1.0}
            centres = [center_of_mass(moved[key][0].numpy()) for key in ("image", "label")]
            np.testing.assert_allclose(*centres, atol=0.5)
            assert np.linalg.norm(np.subtract(centres[0], (15, 35))) > 0.5

    def test_what_comes_in_repeats_the_images_border_and_is_zero_in_the_mask(self) -> None:
        size = (20, 20)
        ones = {key: MetaTensor(torch.ones(1, *size)) for key in ("image", "label")}
        transform = RandRelativeAffined(["image", "label"], size, 0.5, prob=1.0).set_random_state(seed=0)
        moved = transform(ones)
        assert float(moved["image"].min()) == pytest.approx(1.0)
        assert float(moved["label"].min()) == 0.0


@pytest.mark.parametrize("order", [(0, 1), (1, 0)], ids=["whole first", "core first"])
def test_positive_crops_lie_around_any_region_in_whatever_order(order: tuple[int, int]) -> None:
    """A whole region of 8 x 8 x 8 and a core of one voxel in it: nearly no crop is centred on the core."""
    masks = torch.zeros(2, 24, 24, 24)
    masks[0, 8:16, 8:16, 8:16] = 1
    masks[1, 12, 12, 12] = 1
    label = masks[list(order)]
    crop = RandCropRegionsd(["label", "where"], label_key="label", spatial_size=[3, 3, 3], pos=1, neg=0, num_samples=40)
    crop.set_random_state(seed=0)
    where = torch.arange(24.0**3).reshape(1, 24, 24, 24)
    crops = crop({"label": label, "where": where})
    whole = list(order).index(0)
    assert all(c["label"][whole, 1, 1, 1] == 1 for c in crops)
    assert len({float(c["where"][0, 1, 1, 1]) for c in crops}) > 20
