# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, Invertd, Spacingd

from medsegdiff_monai.measurements import Measurement, measure_ensemble
from medsegdiff_monai.transforms import MeasureRegionsd, save

EYE = {"disc": [1, 2], "cup": [2]}


def maps(*channels: np.ndarray, spacing: list[float] | None = None) -> MetaTensor:
    """Maps ``(C, *spatial)`` with what the loader leaves in their metadata."""
    stated = np.full(channels[0].ndim, np.nan) if spacing is None else np.array(spacing)
    return MetaTensor(torch.from_numpy(np.stack(channels)).float(), meta={"spacing": stated})


def square(size: int, shape: tuple[int, ...] = (20, 16), value: float = 1.0) -> np.ndarray:
    array = np.zeros(shape)
    array[(slice(2, 2 + size),) * len(shape)] = value
    return array


def measured(members: list[MetaTensor], pred: MetaTensor, regions: Any = EYE, ratio: Any = None) -> list[Measurement]:
    """What is measured of the fused masks and the members behind them."""
    every = MetaTensor(torch.cat([m.as_tensor() for m in members]), meta=members[0].meta)
    case = {"image": pred, "pred": pred, "members": every}
    return MeasureRegionsd("pred", regions, ratio)(case)["measurements"]


def test_picture_in_mm_with_its_ratio() -> None:
    spacing = [0.5, 2.0]
    members = [maps(square(10), square(n), spacing=spacing) for n in (4, 6)]
    found = {(m.region, m.quantity): m for m in measured(members, members[0], ratio=["cup", "disc"])}
    area = found["cup", "area"]
    assert (area.value, area.unit) == (16.0, "mm2")
    assert (area.low, area.high) == (16.0, 36.0)
    assert found["disc", "longest diameter"].value == pytest.approx(np.hypot(5.0, 20.0))
    ratio = found["cup / disc", "vertical ratio"]
    assert (ratio.value, ratio.low, ratio.high) == pytest.approx((0.4, 0.4, 0.6))


def test_file_without_spacing_is_measured_in_pixels() -> None:
    member = maps(square(10), square(4))
    assert {m.unit for m in measured([member] * 2, member)} == {"pixels", ""}
    volume = maps(square(3, (8, 8, 8)))
    assert {m.unit for m in measured([volume] * 2, volume, {"WT": [1]})} == {"voxels", "pixels", ""}


def test_volume_in_ml() -> None:
    member = maps(square(5, (9, 9, 9)), spacing=[1.0, 2.0, 4.0])
    volume = measured([member] * 2, member, {"WT": [1]})[0]
    assert (volume.value, volume.unit) == (pytest.approx(125 * 8.0 / 1000), "mL")


def test_region_that_the_data_set_does_not_label_is_not_measured() -> None:
    member = maps(square(10), square(4))
    for regions in ({"disc": [1], "cup": []}, {"disc": [], "cup": [2]}):
        found = measured([member] * 2, member, regions, ["cup", "disc"])
        assert {m.region for m in found} == {name for name, values in regions.items() if values}


def test_single_member_has_no_interval() -> None:
    member = maps(square(10), square(4))
    found = measured([member], member, ratio=["cup", "disc"])
    assert {(m.low, m.high) for m in found} == {(None, None)}
    assert found[0].value == 100.0


@pytest.mark.parametrize("largest_group", [1, 2**22], ids=["one member at a time", "together"])
def test_members_are_measured_nested_and_on_the_grid_of_the_file(
    monkeypatch: pytest.MonkeyPatch, largest_group: int
) -> None:
    affine = np.diag([0.5, 0.5, 2.0, 1.0])
    image = MetaTensor(torch.rand(1, 24, 20, 10), affine=affine, meta={"spacing": np.array([0.5, 0.5, 2.0])})
    preprocessing = Compose([Spacingd("image", pixdim=(1.0, 1.0, 2.0))])
    prepared = preprocessing({"image": image})["image"]
    generator = torch.Generator().manual_seed(0)
    members = MetaTensor(torch.rand(6, *prepared.shape[1:], generator=generator), meta=prepared.meta)
    pred = MetaTensor((torch.rand(2, *image.shape[1:], generator=generator) > 0.5).float(), meta=image.meta)
    case = {"image": prepared, "pred": pred, "members": members}
    monkeypatch.setattr(save, "_LARGEST_GROUP", largest_group)
    found = MeasureRegionsd("pred", EYE, preprocessing=preprocessing)(case)["measurements"]

    large = Invertd("members", preprocessing, "image", nearest_interp=False)(case)["members"].as_tensor().numpy()
    assert large.shape == (6, 24, 20, 10)
    by_region = [{"disc": large[i], "cup": np.minimum(large[i], large[i + 1])} for i in (0, 2, 4)]
    fused = {"disc": pred.numpy()[0] > 0.5, "cup": pred.numpy()[1] > 0.5}
    assert found == measure_ensemble(fused, by_region, (0.5, 0.5, 2.0))
    assert len({m.low for m in found}) > 1
    assert case["members"] is members


def test_other_channels_than_regions_are_an_error() -> None:
    pred = maps(square(3), square(2))
    case = {"image": pred, "pred": pred, "members": maps(square(3), square(2), square(1))}
    with pytest.raises(ValueError, match="2 channels, one for each region, got 3 in all"):
        MeasureRegionsd("pred", EYE)(case)
    masks = maps(square(3), square(2), square(3), square(2))
    with pytest.raises(ValueError, match="2 channels, one for each region, got 4"):
        MeasureRegionsd("pred", EYE)({**case, "pred": masks})


@pytest.mark.parametrize("ratio", [["cup"], ["cup", "rim"]])
def test_ratio_of_other_regions_is_an_error(ratio: list[str]) -> None:
    with pytest.raises(ValueError, match="ratio must name two of the regions disc, cup"):
        MeasureRegionsd("pred", EYE, ratio)
