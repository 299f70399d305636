# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0


from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from monai.data import load_decathlon_datalist
from PIL import Image
from scipy import ndimage

from medsegdiff_monai.data.phantoms import PHANTOM_KINDS, ReadScan, draw_readings, make_phantom, write_phantoms
from medsegdiff_monai.utils import InputError

SIZE = {"ultrasound": 64, "fundus": 64, "brain": 24}


def phantoms(kind: str, count: int, size: int | tuple[int, ...] | None = None) -> list[tuple[np.ndarray, np.ndarray]]:
    return [make_phantom(kind, np.random.default_rng([5, i]), size or SIZE[kind]) for i in range(count)]


def best_threshold_dice(image: np.ndarray, label: np.ndarray) -> float:
    """Dice of the best of all global thresholds, of either side, with the reference at hand."""
    best = 0.0
    for threshold in np.unique(image)[::3]:
        for mask in (image >= threshold, image < threshold):
            best = max(best, 2.0 * (mask & label).sum() / (mask.sum() + label.sum()))
    return best


def written(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.mark.parametrize("kind", PHANTOM_KINDS)
def test_one_state_of_the_generator_gives_one_case(kind: str) -> None:
    first, again, other = (make_phantom(kind, np.random.default_rng(seed), SIZE[kind]) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first[0], again[0])
    np.testing.assert_array_equal(first[1], again[1])
    assert (first[0] != other[0]).mean() > 0.1
    assert (first[1] != other[1]).any()


@pytest.mark.parametrize(
    ("kind", "size", "image_shape", "dtype", "values"),
    [
        ("ultrasound", 32, (32, 32), np.uint8, {0, 1}),
        ("ultrasound", 65, (65, 65), np.uint8, {0, 1}),
        ("ultrasound", (48, 80), (48, 80), np.uint8, {0, 1}),
        ("ultrasound", [96, 33], (96, 33), np.uint8, {0, 1}),
        ("fundus", 32, (32, 32, 3), np.uint8, {0, 1, 2}),
        ("fundus", (40, 50), (40, 50, 3), np.uint8, {0, 1, 2}),
        ("brain", 16, (16, 16, 16, 4), np.int16, {0, 1, 2, 4}),
        ("brain", (32, 28, 16), (32, 28, 16, 4), np.int16, {0, 1, 2, 4}),
    ],
)
def test_shape_type_and_label_values(kind, size, image_shape, dtype, values) -> None:
    for image, label in phantoms(kind, 4, size):
        assert image.shape == image_shape
        assert image.dtype == dtype
        assert label.shape == image_shape[: label.ndim]
        assert label.dtype == np.uint8
        assert set(np.unique(label).tolist()) == values
        assert image.std() > 5.0


def test_small_phantoms_are_fine_ones_made_small() -> None:
    small, large = (make_phantom("ultrasound", np.random.default_rng(1), size) for size in (56, 224))
    reduced = large[0].reshape(56, 4, 56, 4).mean(axis=(1, 3))
    assert np.abs(reduced - small[0]).mean() < 1.0
    assert (ndimage.zoom(large[1], 0.25, order=0) == small[1]).mean() > 0.97


def test_nodules_vary_in_size_place_and_brightness() -> None:
    cases = phantoms("ultrasound", 24)
    fractions = [label.mean() for _, label in cases]
    assert min(fractions) > 0.03
    assert max(fractions) < 0.4
    assert max(fractions) > 2.0 * min(fractions)
    centres = np.array([ndimage.center_of_mass(label) for _, label in cases])
    assert (centres.std(axis=0) > 4.0).all()
    assert (np.ptp(centres, axis=0) > 16.0).all()
    assert all(ndimage.label(label)[1] == 1 for _, label in cases)
    contrast = np.array([image[label > 0].mean() - image[label == 0].mean() for image, label in cases])
    assert (contrast < -10.0).sum() >= 5
    assert (contrast > 5.0).sum() >= 3


def test_nodule_borders_are_irregular() -> None:
    roundness = []
    for _, label in phantoms("ultrasound", 12, 128):
        rows, columns = np.nonzero(label)
        covariance = np.cov(np.stack([rows, columns]))
        roundness.append(label.sum() / (4 * np.pi * np.sqrt(np.linalg.det(covariance))))  # 1 for any ellipse
    assert min(roundness) < 0.985
    assert max(roundness) < 1.01


def test_ultrasound_has_speckle_that_is_wider_than_deep() -> None:
    axial, lateral = [], []
    for image, label in phantoms("ultrasound", 8, 256):
        fine = image - ndimage.uniform_filter(image.astype(float), 25)
        assert fine[label > 0].std() > 4.0
        axial.append(np.corrcoef(fine[:-3].ravel(), fine[3:].ravel())[0, 1])
        lateral.append(np.corrcoef(fine[:, :-3].ravel(), fine[:, 3:].ravel())[0, 1])
    assert np.mean(lateral) > np.mean(axial) + 0.1


def test_no_global_threshold_finds_the_nodule() -> None:
    scores = [best_threshold_dice(image, label > 0) for image, label in phantoms("ultrasound", 20)]
    assert np.mean(scores) < 0.8


def test_no_global_threshold_finds_the_disc() -> None:
    scores = [best_threshold_dice(image[..., c], label > 0) for image, label in phantoms("fundus", 10) for c in (0, 1)]
    assert np.mean(scores) < 0.8


def test_the_cup_is_inside_the_disc_and_brighter_than_it() -> None:
    brighter = 0
    for image, label in phantoms("fundus", 8, 128):
        disc, cup, rim = label > 0, label == 2, label == 1
        assert 0.015 < disc.mean() < 0.12
        assert 0.1 < cup.sum() / disc.sum() < 0.75
        assert not (ndimage.binary_dilation(cup) & ~disc).any()  # the rim goes all the way round
        np.testing.assert_array_equal(ndimage.binary_fill_holes(disc), disc)
        brighter += image[cup].mean() > image[rim].mean()
    assert brighter >= 6


def test_the_tumour_is_nested() -> None:
    for image, label in phantoms("brain", 6, 40):
        whole, core, necrosis = label > 0, np.isin(label, (1, 4)), label == 1
        brain = image.any(axis=-1)
        assert 0.005 < whole.mean() < 0.15
        assert not (whole & ~brain).any()
        assert necrosis.sum() < core.sum() < whole.sum()
        # What touches the necrosis, and what touches the core, is mostly the next region outwards.
        for inner, outer in ((necrosis, core), (core, whole | ~brain)):
            shell = ndimage.binary_dilation(inner) & ~inner
            assert (shell & outer).sum() / shell.sum() > 0.8


def test_contrasts_show_what_radiologists_expect() -> None:
    for image, label in phantoms("brain", 4, 40):
        flair, _, t1gd, t2 = np.moveaxis(image, -1, 0)
        healthy = (label == 0) & image.any(axis=-1)
        assert flair[label == 2].mean() > 1.2 * flair[healthy].mean()
        assert t1gd[label == 4].mean() > 1.2 * t1gd[healthy].mean()
        assert t1gd[label == 4].mean() > 1.5 * t1gd[label == 1].mean()
        assert t2[label > 0].mean() > 1.2 * t2[healthy].mean()


@pytest.mark.parametrize("kind", PHANTOM_KINDS)
def test_the_datalist_names_readable_files_in_disjoint_sections(kind: str, tmp_path: Path) -> None:
    datalist = write_phantoms(tmp_path / "new" / kind, kind, 3, 1, 2, 32 if kind != "brain" else 16, seed=1)
    content = json.loads(datalist.read_text())
    sections = {name: content[name] for name in ("training", "validation", "test")}
    assert {name: len(cases) for name, cases in sections.items()} == {"training": 3, "validation": 1, "test": 2}
    assert (content["numTraining"], content["numValidation"], content["numTest"]) == (3, 1, 2)
    cases = [case for section in sections.values() for case in section]
    assert len({case["image"] for case in cases}) == len({case["label"] for case in cases}) == 6
    images = []
    for case in cases:
        assert case["image"].startswith("images/")
        assert case["label"].startswith("labels/")
        read = (lambda p: np.asarray(nib.load(p).dataobj)) if kind == "brain" else (lambda p: np.asarray(Image.open(p)))
        image, label = read(datalist.parent / case["image"]), read(datalist.parent / case["label"])
        assert set(np.unique(label).astype(str)) == set(content["labels"])
        channels = 1 if image.ndim == label.ndim else image.shape[-1]
        assert channels == (3 if kind == "fundus" else len(content["modality"]))
        images.append(image.tobytes())
    assert len(set(images)) == 6
    assert len(load_decathlon_datalist(str(datalist), data_list_key="test")) == 2
    assert not list(datalist.parent.glob("*.part"))


def test_brain_volumes_know_where_they_are(tmp_path: Path) -> None:
    datalist = write_phantoms(tmp_path, "brain", 1, 0, 0, (24, 16, 20))
    case = json.loads(datalist.read_text())["training"][0]
    image, label = (nib.load(tmp_path / case[part]) for part in ("image", "label"))
    np.testing.assert_array_equal(image.affine, label.affine)
    assert nib.aff2axcodes(image.affine) == ("R", "A", "S")
    np.testing.assert_allclose(image.header.get_zooms()[:3], [8.0, 12.0, 9.6])
    np.testing.assert_allclose(image.affine @ [11.5, 7.5, 9.5, 1.0], [0.0, 0.0, 0.0, 1.0], atol=1e-4)
    assert image.get_data_dtype() == np.int16


@pytest.mark.parametrize("kind", PHANTOM_KINDS)
def test_one_seed_gives_one_dataset(kind: str, tmp_path: Path) -> None:
    size = 32 if kind != "brain" else 16
    for name, seed in (("a", 7), ("b", 7), ("c", 8)):
        write_phantoms(tmp_path / name, kind, 2, 1, 1, size, seed)
    first, again, other = (written(tmp_path / name) for name in "abc")
    assert first == again
    assert first.keys() == other.keys()
    assert not [p for p in first if p.startswith("images/") and first[p] == other[p]]


def test_more_cases_in_one_section_change_no_others(tmp_path: Path) -> None:
    write_phantoms(tmp_path / "few", num_training=1, num_validation=2, num_test=2, size=32)
    write_phantoms(tmp_path / "more", num_training=4, num_validation=3, num_test=2, size=32)
    few, more = written(tmp_path / "few"), written(tmp_path / "more")
    few.pop("datalist.json")
    assert len(few) == 10
    assert all(more[path] == content for path, content in few.items())


def test_an_earlier_phantom_dataset_is_replaced(tmp_path: Path) -> None:
    write_phantoms(tmp_path, num_training=1, num_validation=0, num_test=0, size=32)
    datalist = write_phantoms(tmp_path, "fundus", num_training=2, num_validation=0, num_test=0, size=32)
    content = json.loads(datalist.read_text())
    assert len(content["training"]) == 2
    assert "optic disc" in content["name"]


def test_a_broken_run_leaves_no_datalist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_phantoms(tmp_path, num_training=1, num_validation=0, num_test=0, size=32)

    def fail(*args: object, **kwargs: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Image.Image, "save", fail)
    with pytest.raises(KeyboardInterrupt):
        write_phantoms(tmp_path, num_training=2, num_validation=0, num_test=0, size=32, seed=1)
    assert not (tmp_path / "datalist.json").exists()


@pytest.mark.parametrize("content", ['{"name": "Real patients", "training": []}', "[]", "not json"])
def test_another_dataset_is_not_overwritten(content: str, tmp_path: Path) -> None:
    (tmp_path / "datalist.json").write_text(content)
    with pytest.raises(InputError, match="another dataset"):
        write_phantoms(tmp_path, num_training=1, num_validation=0, num_test=0, size=32)
    assert written(tmp_path) == {"datalist.json": content.encode()}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kind": "knee"}, "'knee'.*ultrasound, fundus, brain"),
        ({"size": 31}, "at least 32, got 31"),
        ({"size": (64, 64, 64)}, r"or 2 of them.*got \(64, 64, 64\)"),
        ({"size": 64.0}, "whole number"),
        ({"size": "64"}, "whole number"),
        ({"size": ()}, "whole number"),
        ({"kind": "brain", "size": (32, 32)}, "or 3 of them"),
        ({"kind": "brain", "size": 15}, "at least 16, got 15"),
        ({"num_training": -1}, "num_training must be a whole number not below 0, got -1"),
        ({"num_test": 1.5}, "num_test"),
        ({"num_validation": True}, "num_validation"),
        ({"num_training": 0, "num_validation": 0, "num_test": 0}, "at least one"),
        ({"seed": -3}, "seed must be a whole number not below 0, got -3"),
        ({"readers": 0}, "readers must be a whole number from 1 on, got 0"),
        ({"readers": 2.0}, "readers must be a whole number"),
        ({"kind": "fundus", "readers": 2}, "'fundus' have one reader: choose ultrasound"),
    ],
)
def test_bad_arguments_are_refused_before_anything_is_written(arguments: dict, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        write_phantoms(tmp_path / "out", **arguments)
    assert not (tmp_path / "out").exists()


def test_make_phantom_refuses_bad_arguments_too() -> None:
    with pytest.raises(InputError, match="no phantom of kind 'knee'"):
        make_phantom("knee", np.random.default_rng(0), 64)
    with pytest.raises(InputError, match="at least 32"):
        make_phantom("fundus", np.random.default_rng(0), 8)


@pytest.fixture(scope="module")
def much_read() -> list[ReadScan]:
    """Three phantoms, each drawn by many readers."""
    return [draw_readings(np.random.default_rng([9, i]), (56, 56), 150) for i in range(3)]


def test_readers_vary_by_the_rule(much_read: list[ReadScan]) -> None:
    readings = [reading for scan in much_read for reading in scan.readings]
    scales, lobes = np.array([r.scale for r in readings]), np.array([r.lobe for r in readings])
    count = len(readings)
    assert abs(scales.mean() - 1.0) < 3 * 0.1 / np.sqrt(count)
    assert abs(scales.std() - 0.1) < 3 * 0.1 / np.sqrt(2 * count)
    assert abs(lobes.mean() - 0.35) < 3 * np.sqrt(0.35 * 0.65 / count)
    assert abs(np.corrcoef(scales, lobes)[0, 1]) < 3 / np.sqrt(count)
    assert 0.7 <= scales.min() < 0.8
    assert 1.2 < scales.max() <= 1.3


def test_masks_are_what_the_readers_are_said_to_have_drawn(much_read: list[ReadScan]) -> None:
    for scan in much_read:
        lobe = scan.lobe > 0
        assert lobe.sum() >= 5
        plain = [(r.scale, r.label) for r in scan.readings if not r.lobe]
        areas = np.array([label.sum() / scale**2 for scale, label in plain])  # as the area goes with the scale squared
        np.testing.assert_allclose(areas, areas.mean(), rtol=0.04)
        assert not any(label[lobe].any() for _, label in plain)
        assert all(r.label[lobe].all() for r in scan.readings if r.lobe)
        assert all(ndimage.label(r.label)[1] == 1 for r in scan.readings[:40])  # the lobe buds from the nodule


def test_lobe_and_nodule_are_darker_than_the_tissue_around_them() -> None:
    lobes = nodules = 0
    for i in range(20):
        scan = draw_readings(np.random.default_rng([4, i]), (56, 56), 6)
        lobe = scan.lobe > 0
        around = ndimage.binary_dilation(lobe, iterations=5)
        for reading in scan.readings:
            around &= reading.label == 0
        nodule = np.all([reading.label for reading in scan.readings], axis=0)
        beside = ndimage.binary_dilation(nodule, iterations=8)
        for reading in scan.readings:
            beside &= (reading.label == 0) & ~lobe
        lobes += scan.image[lobe].mean() < scan.image[around].mean()
        nodules += scan.image[nodule].mean() < scan.image[beside].mean()
    assert min(lobes, nodules) >= 19


def test_further_readers_change_neither_the_image_nor_those_before_them(tmp_path: Path) -> None:
    for name, readers in (("two", 2), ("three", 3)):
        write_phantoms(tmp_path / name, num_training=2, num_validation=0, num_test=1, size=32, seed=6, readers=readers)
    two, three = written(tmp_path / "two"), written(tmp_path / "three")
    shared = [path for path in two if not path.endswith(".json")]
    assert len(shared) == 3 * (1 + 2 + 1)
    assert all(three[path] == two[path] for path in shared)


def test_the_datalist_names_each_readers_file(tmp_path: Path) -> None:
    datalist = write_phantoms(tmp_path, num_training=1, num_validation=1, num_test=1, size=32, readers=3)
    content, drawn = (json.loads(path.read_text()) for path in (datalist, tmp_path / "readers.json"))
    assert drawn["rule"] == {"scale_deviation": 0.1, "lobe_probability": 0.35}
    for section in ("training", "validation", "test"):
        (case,) = content[section]
        assert case["label"] == [f"labels/{section}_0000_reader{i}.png" for i in (1, 2, 3)]
        truth = drawn["cases"][f"{section}_0000"]
        lobe = np.asarray(Image.open(tmp_path / truth["lobe"])) > 0
        for file, reader in zip(case["label"], truth["readers"], strict=True):
            assert bool(np.asarray(Image.open(tmp_path / file))[lobe].any()) == (reader["lobe"] and bool(lobe.any()))
