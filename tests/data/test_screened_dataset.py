# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import DataLoader
from monai.transforms import Compose, MapTransform, RandGaussianNoised, ScaleIntensityd
from PIL import Image

from medsegdiff_monai.data import ScreenedDataset
from medsegdiff_monai.transforms import CheckImaged, LabelToRegionsd, LoadCased
from medsegdiff_monai.utils import InputError

SIZE = (16, 12)


def png(path: Path, array: np.ndarray) -> str:
    Image.fromarray(array.astype(np.uint8)).save(path)
    return str(path)


def nifti(path: Path, array: np.ndarray) -> str:
    nib.save(nib.Nifti1Image(array.astype(np.float32), np.eye(4)), path)
    return str(path)


def usable(folder: Path, name: str, seed: int = 0) -> dict[str, str]:
    generator = np.random.default_rng(seed)
    image = png(folder / f"{name}.png", generator.integers(0, 255, SIZE))
    return {"image": image, "label": png(folder / f"{name}_label.png", generator.integers(0, 2, SIZE))}


class DivideByMinimum(MapTransform):
    def __call__(self, data: Any) -> Any:
        return {key: value * (1 / int(value.amin())) for key, value in data.items()}


def transforms(*further: Any) -> Compose:
    checks = [CheckImaged("image", 1, 2), LabelToRegionsd("label", {"nodule": [1]}, allow_missing_keys=True)]
    return Compose([LoadCased(["image", "label"], allow_missing_keys=True), *checks, *further])


def screened(cases: list[dict[str, Any]], *further: Any, **settings: Any) -> ScreenedDataset:
    return ScreenedDataset(cases, transforms(*further), **{"progress": False, **settings})


def bad_case(folder: Path, kind: str) -> tuple[dict[str, Any], str]:
    """A case that cannot be used, and the file that is to blame."""
    case = usable(folder, "bad")
    path = Path(case["image"])
    noise = np.random.default_rng(1).integers(0, 255, SIZE)
    if kind == "truncated":
        png(path, np.random.default_rng(1).integers(0, 255, (90, 80)))
        path.write_bytes(path.read_bytes()[:3000])
    elif kind == "text":
        path.write_text("no image")
    elif kind == "missing":
        path.unlink()
    elif kind == "nan":
        case["image"] = nifti(folder / "bad.nii.gz", np.where(noise == noise.max(), np.nan, noise))
    elif kind == "truncated nifti":
        path = Path(nifti(folder / "bad.nii.gz", noise))
        path.write_bytes(path.read_bytes()[:300])
        case["image"] = str(path)
    elif kind == "constant":
        png(path, np.full(SIZE, 7))
    elif kind == "channels":
        png(path, np.random.default_rng(1).integers(0, 255, (*SIZE, 3)))
    elif kind == "undeclared":
        png(Path(case["label"]), noise % 3)
    elif kind == "size":
        png(Path(case["label"]), noise[:-1] % 2)
    elif kind == "no label":
        Path(case["label"]).unlink()
    return case, case["label" if kind in ("undeclared", "size", "no label") else "image"]


KINDS = (
    "truncated",
    "text",
    "missing",
    "nan",
    "truncated nifti",
    "constant",
    "channels",
    "undeclared",
    "size",
    "no label",
)


@pytest.mark.parametrize("cache_rate", [0.0, 1.0])
@pytest.mark.parametrize("kind", KINDS)
def test_case_that_cannot_be_used_is_left_out_and_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: str, cache_rate: float
) -> None:
    bad, file = bad_case(tmp_path, kind)
    first, last = usable(tmp_path, "first", 2), usable(tmp_path, "last", 3)
    with caplog.at_level(logging.WARNING, logger="medsegdiff_monai.data.loaders"):
        dataset = screened([first, bad, last], cache_rate=cache_rate)
    assert [Path(c["image"]).name for c in dataset.data] == ["first.png", "last.png"]
    for case, item in zip((first, last), dataset, strict=True):
        np.testing.assert_array_equal(item["image"][0].numpy(), np.asarray(Image.open(case["image"])).T)
        np.testing.assert_array_equal(item["label"][0].numpy(), np.asarray(Image.open(case["label"])).T)

    (name, sentence), *others = dataset.failures.items()
    assert (name, others) == ("bad", [])
    assert file in sentence
    assert sentence.endswith(".")
    assert "\n" not in sentence
    assert [r.getMessage() for r in caplog.records if r.name.startswith("medsegdiff_monai")] == [
        f"Case bad is left out: {sentence}"
    ]
    with pytest.raises(InputError, match=r"1 of 3 cases could not be used \(the others were processed\)") as caught:
        dataset.report()
    assert sentence in str(caught.value)


def test_report_names_every_case_that_was_left_out(tmp_path: Path) -> None:
    folders = [tmp_path / k.replace(" ", "_") for k in KINDS]
    cases = []
    for folder, kind in zip(folders, KINDS):
        folder.mkdir()
        cases.append(bad_case(folder, kind)[0])
    dataset = screened([*cases, usable(tmp_path, "good")])
    assert len(dataset) == 1
    with pytest.raises(InputError, match=f"{len(KINDS)} of {len(KINDS) + 1} cases could not be used") as caught:
        dataset.report()
    assert all(f"{folder}/" in str(caught.value) for folder in folders)


def test_report_is_silent_when_every_case_was_used(tmp_path: Path) -> None:
    dataset = screened([usable(tmp_path, "a"), usable(tmp_path, "b")])
    dataset.report()
    assert dataset.failures == {}


def test_no_usable_case_is_an_error_that_says_why(tmp_path: Path) -> None:
    bad, file = bad_case(tmp_path, "constant")
    with pytest.raises(InputError, match=f"None of the 1 cases can be used. bad: The image {file} is constant"):
        screened([bad])


def test_error_of_any_transform_costs_only_its_case(tmp_path: Path) -> None:
    ramp = np.arange(SIZE[0] * SIZE[1]).reshape(SIZE)
    cases = [{"image": png(tmp_path / f"{name}.png", ramp + offset)} for name, offset in (("dark", 0), ("light", 9))]
    dataset = screened(cases, DivideByMinimum("image"))
    assert [Path(c["image"]).name for c in dataset.data] == ["light.png"]
    assert dataset.failures == {"dark": "ZeroDivisionError: division by zero"}


@pytest.mark.parametrize(("cache_rate", "kept"), [(0.0, 0), (0.5, 2), (1.0, 3)])
def test_cached_items_equal_recomputed_ones(tmp_path: Path, cache_rate: float, kept: int) -> None:
    bad, _ = bad_case(tmp_path, "constant")
    cases = [usable(tmp_path, name, seed) for seed, name in enumerate("abc")]
    dataset = screened([cases[0], bad, *cases[1:]], ScaleIntensityd("image"), cache_rate=cache_rate)
    assert dataset.cache_num == kept
    assert len(dataset) == 3
    chain = transforms(ScaleIntensityd("image"))
    for case, item in zip(cases, dataset, strict=True):
        expected = chain(case)
        for key in ("image", "label"):
            torch.testing.assert_close(item[key].as_tensor(), expected[key].as_tensor(), atol=0, rtol=0)
            assert item[key].meta["filename_or_obj"] == case[key]


def test_files_are_not_read_again_where_items_are_cached(tmp_path: Path) -> None:
    cases = [usable(tmp_path, name, seed) for seed, name in enumerate("ab")]
    dataset = screened(cases, cache_rate=0.5)
    for case in cases:
        Path(case["image"]).unlink()
    assert dataset[0]["image"].shape == (1, *reversed(SIZE))
    with pytest.raises(RuntimeError):
        dataset[1]


@pytest.mark.parametrize("cache_rate", [0.0, 1.0])
def test_random_transforms_stay_random_and_seedable(tmp_path: Path, cache_rate: float) -> None:
    dataset = screened([usable(tmp_path, "a")], RandGaussianNoised("image", prob=1.0), cache_rate=cache_rate)
    dataset.transform.set_random_state(seed=5)
    first, second = (dataset[0]["image"].as_tensor() for _ in range(2))
    assert not torch.equal(first, second)
    dataset.transform.set_random_state(seed=5)
    assert torch.equal(dataset[0]["image"].as_tensor(), first)
    clean = torch.from_numpy(np.asarray(Image.open(tmp_path / "a.png")).T.astype(np.float32))
    for noisy in (first, second):
        assert 0 < (noisy[0] - clean).abs().mean() < 1  # noise of one draw on the image, not of two


def noise_of(item: dict[str, Any], case: dict[str, str]) -> list[float]:
    """What the random transform added to an image, which is batched where a loader gave it."""
    clean = torch.from_numpy(np.asarray(Image.open(case["image"])).T.astype(np.float32))
    return (torch.as_tensor(item["image"]).reshape(clean.shape) - clean).flatten().tolist()


@pytest.mark.parametrize("cache_rate", [0.0, 0.5, 1.0])
def test_seeded_case_is_the_same_in_any_order_and_any_process(tmp_path: Path, cache_rate: float) -> None:
    cases = [usable(tmp_path, name, seed) for seed, name in enumerate("abc")]
    dataset = screened(cases, RandGaussianNoised("image", prob=1.0), cache_rate=cache_rate)
    dataset.epoch_seed = 7
    expected = [noise_of(dataset[i], cases[i]) for i in range(3)]
    for i in (2, 0, 0, 1):
        assert noise_of(dataset[i], cases[i]) == expected[i]
    for workers in (0, 1, 2):
        loader = DataLoader(dataset, num_workers=workers, batch_size=1)
        assert [noise_of(item, case) for item, case in zip(loader, cases, strict=True)] == expected
    another = screened(cases, RandGaussianNoised("image", prob=1.0), cache_rate=cache_rate)
    another.epoch_seed = 7
    assert [noise_of(another[i], cases[i]) for i in range(3)] == expected


def test_seeded_cases_differ_from_each_other_and_between_epochs(tmp_path: Path) -> None:
    cases = [usable(tmp_path, name) for name in "abc"]  # three times the same image
    dataset = screened(cases, RandGaussianNoised("image", prob=1.0))
    drawn = []
    for dataset.epoch_seed in (3, 1012, 2**32 - 1):  # the last is followed by 0 and 1
        drawn += [tuple(noise_of(dataset[i], cases[i])) for i in range(3)]
    assert len(set(drawn)) == 9


def test_other_cases_can_be_screened_with_the_same_dataset(tmp_path: Path) -> None:
    bad, _ = bad_case(tmp_path, "constant")
    dataset = screened([bad, usable(tmp_path, "a")])
    dataset.set_data([usable(tmp_path, "b"), usable(tmp_path, "c")])
    assert len(dataset) == 2
    dataset.report()


def test_plain_list_of_transforms_and_list_of_files_are_taken(tmp_path: Path) -> None:
    names = enumerate(["p1_t1.nii.gz", "p1_t2.nii.gz"])
    files = [nifti(tmp_path / name, np.random.default_rng(i).random((4, 5, 6))) for i, name in names]
    cases = [{"image": files}, {"image": [files[0], str(tmp_path / "p1_absent.nii.gz")]}]
    dataset = ScreenedDataset(cases, [LoadCased("image"), CheckImaged("image", 2, 3)], progress=False)
    assert dataset[0]["image"].shape == (2, 4, 5, 6)
    assert list(dataset.failures) == ["p1"]
    assert "p1_absent.nii.gz, does not exist" in dataset.failures["p1"]
