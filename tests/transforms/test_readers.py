# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from monai.transforms import Compose
from PIL import Image

from medsegdiff_monai.data import ScreenedDataset
from medsegdiff_monai.transforms import LabelToRegionsd, LoadCased, SampleReaderd
from medsegdiff_monai.utils import InputError

EYE = {"disc": [1, 2], "cup": [2]}


def save(folder: Path, name: str, label: np.ndarray) -> str:
    Image.fromarray(label.astype(np.uint8)).save(folder / name)
    return str(folder / name)


@pytest.fixture
def case(tmp_path: Path) -> dict:
    """An image with the label maps of three readers, each with random values of its own."""
    rng = np.random.default_rng(2)
    labels = [save(tmp_path, f"reader{i}.png", rng.integers(0, 3, (5, 7))) for i in range(3)]
    return {"image": save(tmp_path, "image.png", rng.integers(0, 256, (5, 7))), "label": labels}


def test_readers_are_stacked_reader_by_reader(case: dict) -> None:
    regions = Compose([LoadCased(["image", "label"]), LabelToRegionsd("label", EYE, several_readers=True)])
    masks = regions(case)["label"]
    maps = [np.asarray(Image.open(file)).T for file in case["label"]]  # MONAI's first axis is a picture's width
    np.testing.assert_array_equal(masks, [m for label in maps for m in (label > 0, label == 2)])


def test_every_reader_is_drawn_about_equally() -> None:
    sample = SampleReaderd("label", EYE).set_random_state(3)
    stack = torch.arange(8.0).reshape(8, 1, 1)
    drawn = torch.stack([sample({"label": stack})["label"].flatten() for _ in range(2000)])
    assert torch.equal(drawn[:, 1], drawn[:, 0] + 1)  # both regions of one reader
    counts = torch.bincount((drawn[:, 0] / 2).long(), minlength=4)
    assert ((counts - 500).abs() < 3 * (2000 * 0.25 * 0.75) ** 0.5).all()


def test_keys_of_one_case_get_the_same_reader() -> None:
    sample = SampleReaderd(["label", "weight"], {"nodule": [1]}).set_random_state(0)
    for _ in range(20):
        out = sample({"label": torch.arange(5.0)[:, None], "weight": torch.arange(5.0)[:, None] * 10})
        assert float(out["weight"]) == 10 * float(out["label"])


def test_one_reader_is_taken_as_it_is() -> None:
    masks = torch.rand(2, 3, 3)
    assert torch.equal(SampleReaderd("label", EYE)({"label": masks})["label"], masks)


def test_a_seed_and_an_epoch_give_one_reader_and_the_files_are_read_once(case: dict) -> None:
    transforms = [LoadCased(["image", "label"]), LabelToRegionsd("label", EYE, several_readers=True)]
    data = ScreenedDataset([case] * 6, [*transforms, SampleReaderd("label", EYE)], progress=False)
    Path(case["label"][0]).unlink()  # what all readers have drawn is kept; which of them is taken is drawn anew

    def epoch(seed: int) -> torch.Tensor:
        data.epoch_seed = seed
        return torch.stack([data[i]["label"] for i in range(6)])

    first, again, other = epoch(1), epoch(1), epoch(2)
    assert first.shape == (6, 2, 7, 5)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert len({item.numpy().tobytes() for item in first}) > 1


def test_readers_are_refused_where_one_is_expected(case: dict) -> None:
    loaded = LoadCased(["image", "label"])(case)
    with pytest.raises(InputError, match=r"has 3 channels: give a map .*several_readers"):
        LabelToRegionsd("label", EYE)(loaded)


def test_a_reader_without_a_usable_file_is_named(case: dict, tmp_path: Path) -> None:
    load = LoadCased("label")
    for replacement, message in (
        (str(tmp_path / "gone.png"), r"label of reader 2 of case reader, .*gone.png, does not exist"),
        (
            save(tmp_path, "large.png", np.ones((6, 7))),
            r"reader 2 .* another grid than the label of reader 1: \(7, 6\)",
        ),
        (save(tmp_path, "rgb.png", np.arange(105).reshape(5, 7, 3)), "label of reader 2 of case reader has 3 channels"),
    ):
        files = [case["label"][0], replacement, case["label"][2]]
        with pytest.raises(InputError, match=message):
            load({"label": files, "case": "reader"})


def test_readers_maps_are_not_resampled(case: dict, tmp_path: Path) -> None:
    """Interpolated label values would be other regions."""
    files = [*case["label"][:2], save(tmp_path, "large.png", np.ones((6, 7)))]
    with pytest.raises(InputError, match="resample it onto the image's grid"):
        LoadCased("label", resample=True)({"label": files})


def test_readers_maps_on_another_grid_than_the_image_are_refused(case: dict, tmp_path: Path) -> None:
    image = save(tmp_path, "small.png", np.arange(30).reshape(5, 6))
    loaded = LoadCased(["image", "label"])({**case, "image": image})
    with pytest.raises(InputError, match="give a label on the image's grid"):
        LabelToRegionsd("label", EYE, several_readers=True)(loaded)
