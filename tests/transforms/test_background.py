# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, NormalizeIntensityd

from medsegdiff_monai.transforms import CropBackgroundd, SubtractBackgroundd, SubtractMinimumd, background_value
from medsegdiff_monai.utils import InputError


def head(size: int = 12, seed: int = 0) -> torch.Tensor:
    """A ball of whole intensities from 50 to 150 on a background of 0."""
    generator = torch.Generator().manual_seed(seed)
    places = torch.meshgrid(*[torch.arange(size)] * 3, indexing="ij")
    inside = sum((p - size / 2) ** 2 for p in places) < (size / 3) ** 2
    return torch.where(inside, torch.randint(50, 151, [size] * 3, generator=generator).float(), 0.0)


def volume(*channels: torch.Tensor) -> MetaTensor:
    return MetaTensor(torch.stack(channels), meta={"case": "p1"})


class TestBackgroundValue:
    @pytest.mark.parametrize("value", [0.0, -1024.0, 100.0, -0.5])
    def test_corners_say_it(self, value: float) -> None:
        assert background_value(head() + value) == value

    def test_it_may_lie_between_the_values_of_the_brain(self) -> None:
        normalised = torch.where(head() > 0, (head() - 100) / 30, 0.0)
        assert float(normalised.min()) < 0 < float(normalised.max())
        assert background_value(normalised) == 0.0

    def test_a_brain_that_reaches_into_a_corner_does_not_hide_it(self) -> None:
        scan = head() - 5
        scan[0, 0, 0] = 80.0
        assert background_value(scan) == -5.0
        assert background_value(scan - 200) == -205.0

    def test_a_part_of_a_brain_without_background_stays_as_it_is(self) -> None:
        part = 50 + torch.rand(8, 8, 8, generator=torch.Generator().manual_seed(1))
        assert background_value(part) == 0.0

    def test_noise_around_the_head_has_the_background_that_it_always_had(self) -> None:
        noise = torch.randint(0, 3, (12, 12, 12), generator=torch.Generator().manual_seed(2)).float()
        noisy = torch.where(head() > 0, head(), noise)
        assert background_value(noisy) == 0.0
        assert background_value(noisy + 70) == 70.0  # the same picture with another zero

    def test_values_on_both_sides_of_0_with_corners_that_differ_say_nothing(self) -> None:
        assert background_value(torch.randn(8, 8, 8, generator=torch.Generator().manual_seed(3))) is None


class TestSubtractBackground:
    @pytest.mark.parametrize("shifts", [(0.0, 0.0), (-1000.0, 40.0)])
    def test_crop_and_statistics_do_not_depend_on_the_zero_point(self, shifts: tuple[float, float]) -> None:
        prepare = Compose(
            [
                SubtractBackgroundd("image"),
                CropBackgroundd("image"),
                NormalizeIntensityd("image", nonzero=True, channel_wise=True),
            ]
        )
        one, other = head(seed=4), head(seed=5)
        made = prepare({"image": volume(one + shifts[0], other + shifts[1])})["image"]
        box = np.argwhere((one + other).numpy() != 0)
        cut = tuple(slice(a, b + 1) for a, b in zip(box.min(0), box.max(0)))
        for channel, scan in zip(made.as_tensor().numpy(), (one, other)):
            brain = scan[cut].numpy()
            expected = np.where(brain != 0, (brain - brain[brain != 0].mean()) / brain[brain != 0].std(), 0)
            np.testing.assert_allclose(channel, expected, atol=1e-5)

    def test_image_whose_background_is_0_is_handed_on(self) -> None:
        image = volume(head())
        assert SubtractBackgroundd("image")({"image": image})["image"] is image

    def test_volume_without_a_background_is_refused_by_case_and_contrast(self) -> None:
        strange = torch.randn(12, 12, 12, generator=torch.Generator().manual_seed(6))
        with pytest.raises(InputError, match=r"case p1 .*contrast 2: its corners differ"):
            SubtractBackgroundd("image")({"image": volume(head(), strange)})

    def test_brain_of_negative_values_is_cropped_to_and_not_away(self) -> None:
        cropped = CropBackgroundd("image")({"image": volume(-head())})["image"]
        assert torch.equal(
            cropped.as_tensor(), -CropBackgroundd("image")({"image": volume(head())})["image"].as_tensor()
        )
        assert cropped.shape[1:] == (7, 7, 7)


def test_the_lowest_value_of_a_picture_becomes_0_whatever_was_added() -> None:
    picture = torch.randint(0, 256, (3, 9, 7), generator=torch.Generator().manual_seed(7)).float()
    picture -= picture.min()
    for constant in (0.0, 50.0, -300.0, 30000.0):
        made = SubtractMinimumd("image")({"image": MetaTensor(picture + constant)})["image"]
        assert torch.equal(made.as_tensor(), picture)
