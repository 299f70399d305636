# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from medsegdiff_monai.data import Regions
from medsegdiff_monai.transforms import LabelToRegionsd, NestRegionsd, RegionsToLabelMapd
from medsegdiff_monai.utils import InputError

BRATS_2018 = {"TC": [1, 4], "WT": [1, 2, 4], "ET": [4]}
BRATS_2023 = {"TC": [1, 3], "WT": [1, 2, 3], "ET": [3]}
MSD = {"TC": [2, 3], "WT": [1, 2, 3], "ET": [3]}
AFFINE = np.diag([2.0, 3.0, 4.0, 1.0])


def label_map(values: list[int], *size: int) -> MetaTensor:
    """A random map of these label values, all of which occur."""
    chosen = np.random.default_rng(0).integers(0, len(values), size)
    chosen.flat[: len(values)] = range(len(values))
    return MetaTensor(torch.tensor(np.array(values)[chosen][None]).float(), affine=AFFINE)


def painted(masks: torch.Tensor, regions: Regions | dict[str, list[int]]) -> torch.Tensor:
    return RegionsToLabelMapd("pred", "segmentation", regions)({"pred": masks})["segmentation"]


@pytest.mark.parametrize(
    ("regions", "size"),
    [
        (Regions(BRATS_2018), (6, 7, 5)),
        (Regions(BRATS_2023), (6, 7, 5)),
        (Regions(MSD), (6, 7, 5)),
        (Regions({"disc": [0, 128], "cup": [0]}, background=[255]), (9, 8)),
        (Regions({"cup": [0], "disc": [0, 128]}, background=[255]), (9, 8)),
        (Regions({"nodule": [1]}), (9, 8)),
        (Regions({"left": [1], "right": [2]}), (9, 8)),
    ],
    ids=["BraTS to 2021", "BraTS from 2023", "MSD", "REFUGE", "REFUGE, cup first", "one region", "apart"],
)
def test_label_map_comes_back_from_its_regions(regions: Regions, size: tuple[int, ...]) -> None:
    label = label_map(regions.declared, *size)
    masks = LabelToRegionsd("pred", regions, image_key=None)({"pred": label})["pred"]
    assert masks.shape == (len(regions), *size)
    result = painted(masks, regions)
    assert result.shape == (1, *size)
    assert result.dtype == torch.uint8
    np.testing.assert_array_equal(result.numpy(), label.numpy())
    np.testing.assert_array_equal(result.affine, AFFINE)


def test_same_tumour_has_each_data_sets_own_values() -> None:
    """MSD: 1 oedema, 2 non-enhancing, 3 enhancing. BraTS: 1 non-enhancing, 2 oedema, 4 or 3 enhancing."""
    msd = label_map([0, 1, 2, 3], 6, 7, 5)
    masks = LabelToRegionsd("pred", MSD, image_key=None)({"pred": msd})["pred"]
    for regions, values in ((BRATS_2018, [0, 2, 1, 4]), (BRATS_2023, [0, 2, 1, 3])):
        np.testing.assert_array_equal(painted(masks, regions).numpy(), np.array(values)[msd.numpy().astype(int)])


def test_first_of_several_values_is_painted() -> None:
    masks = torch.tensor([[[0.0, 1.0, 1.0]]])
    assert painted(masks, {"nodule": [255, 1]}).tolist() == [[[0, 255, 255]]]
    assert painted(masks, Regions({"nodule": [1]}, background=[7, 0])).tolist() == [[[7, 1, 1]]]


def test_unlabelled_region_is_not_painted() -> None:
    masks = torch.tensor([[[0.0, 1.0, 1.0, 0.0]], [[0.0, 0.0, 1.0, 1.0]]])
    assert painted(masks, {"disc": [1], "cup": []}).tolist() == [[[0, 1, 1, 0]]]
    assert painted(masks, {"disc": [], "cup": [2]}).tolist() == [[[0, 0, 2, 2]]]


def test_label_map_needs_a_background_value() -> None:
    with pytest.raises(InputError, match=r"No label value is background, .*: state one"):
        RegionsToLabelMapd("pred", "segmentation", Regions({"left": [0], "right": [1]}, background=[]))


def test_masks_are_left_as_they_are() -> None:
    masks = torch.tensor([[[0.0, 1.0, 1.0]]])
    case = {"pred": masks, "other": 3}
    result = RegionsToLabelMapd("pred", "segmentation", {"nodule": [1]})(case)
    assert list(case) == ["pred", "other"]
    assert result["pred"] is masks
    assert masks.tolist() == [[[0, 1, 1]]]
    assert result["other"] == 3


@pytest.mark.parametrize(
    "regions",
    [
        BRATS_2018,
        {"ET": [3], "TC": [2, 3], "WT": [1, 2, 3]},
        {"disc": [0, 128], "cup": [0]},
        {"left": [1], "right": [2]},
        {"disc": [1], "cup": []},
    ],
    ids=str,
)
def test_no_region_is_more_probable_than_one_around_it(regions: dict[str, list[int]]) -> None:
    names = list(regions)
    p = torch.rand(len(names), 6, 5, generator=torch.Generator().manual_seed(0))
    before = p.clone()
    nested = NestRegionsd("pred", Regions(regions, background=[255]))({"pred": p})["pred"]
    assert torch.equal(p, before)
    for c, name in enumerate(names):
        around = [i for i, other in enumerate(names) if regions[name] and set(regions[name]) <= set(regions[other])]
        expected = p[around or [c]].numpy().min(axis=0)
        np.testing.assert_array_equal(nested[c].numpy(), expected)


def test_cup_stays_within_the_disc() -> None:
    p = MetaTensor([[[0.9, 0.9, 0.2, 0.2]], [[0.6, 0.95, 0.1, 0.8]]], affine=AFFINE)
    nested = NestRegionsd("pred", {"disc": [1, 2], "cup": [2]})({"pred": p})["pred"]
    torch.testing.assert_close(nested.as_tensor()[1], torch.tensor([[0.6, 0.9, 0.1, 0.2]]))
    torch.testing.assert_close(nested.as_tensor()[0], p.as_tensor()[0])
    np.testing.assert_array_equal(nested.affine, AFFINE)


def test_members_are_nested_each_for_itself() -> None:
    p = torch.rand(3, 2, 6, 5, generator=torch.Generator().manual_seed(1))
    transform = NestRegionsd("members", {"disc": [1, 2], "cup": [2]})
    nested = transform({"members": p.flatten(0, 1)})["members"]
    expected = torch.stack([p[:, 0], p.amin(1)], dim=1)
    torch.testing.assert_close(nested, expected.flatten(0, 1))


def test_nested_masks_of_any_probability_make_a_label_map_with_the_same_regions() -> None:
    p = torch.rand(3, 6, 7, 5, generator=torch.Generator().manual_seed(1))
    nested = NestRegionsd("pred", BRATS_2018)({"pred": p})["pred"]
    masks = (nested > 0.5).float()
    label = painted(masks, BRATS_2018).float()
    again = LabelToRegionsd("pred", BRATS_2018, image_key=None)({"pred": label})["pred"]
    assert torch.equal(again, masks)
    assert not torch.equal((p > 0.5).float(), masks)


def test_absent_key_is_an_error_unless_allowed() -> None:
    for make in (
        lambda **s: NestRegionsd("pred", {"nodule": [1]}, **s),
        lambda **s: RegionsToLabelMapd("pred", "segmentation", {"nodule": [1]}, **s),
    ):
        assert make(allow_missing_keys=True)({}) == {}
        with pytest.raises(KeyError, match="pred"):
            make()({})


def test_label_values_beyond_a_byte_are_refused() -> None:
    with pytest.raises(InputError, match="Label maps hold values from 0 to 255"):
        RegionsToLabelMapd("pred", "segmentation", {"lesion": [1000]})
