# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from harness.grid import DATASETS, Cell, Dataset, read_configs
from harness.methods import MAIN_METHODS, METHODS
from harness.networks import ConcatenationDenoiser, DropoutDenoiser
from monai.bundle import ConfigParser
from monai.losses import DeepSupervisionLoss

from medsegdiff_monai.networks.blocks import DynamicConditionalFusion, FFParser
from medsegdiff_monai.networks.nets import ImageOnlyDenoiser
from medsegdiff_monai.utils import InputError

MASKS = {"thyroid_ultrasound_medsegdiff": 1, "fundus_optic_medsegdiff": 2, "brats_mri_medsegdiff": 1}  # lgg: WT alone
CONTRASTS = {"thyroid_ultrasound_medsegdiff": 1, "fundus_optic_medsegdiff": 3, "brats_mri_medsegdiff": 3}
OWN_SETS = ["ultrasound_ddti", "ultrasound_busi", "fundus_palm", "brain_lgg"]


def parse(cell: Cell, file: str, **settings: Any) -> ConfigParser:
    """A bundle's configuration with the overlays of a cell."""
    dataset = DATASETS[cell.dataset]
    return read_configs(dataset, file, **{**cell.settings(), "device": torch.device("cpu"), **settings})


def denoiser_of(cell: Cell, file: str = "train.json") -> Any:
    torch.manual_seed(0)
    return parse(cell, file).get_parsed_content("denoiser")


def small(size: tuple[int, ...]) -> tuple[int, ...]:
    return (32, 32, 16)[: len(size)]


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dataset", DATASETS)
def test_training_and_inference_declare_the_same_model(dataset: str, method: str) -> None:
    cell = Cell(dataset, method, 0, 1.0)
    train, inference = (parse(cell, file) for file in ("train.json", "inference.json"))
    for key in ("denoiser", "scheduler", "signal_scale", "fusion", "region_values", "image_size", "patch_size"):
        assert train.get().get(key) == inference.get().get(key), key
    size = DATASETS[dataset].size
    assert train["image_size" if len(size) == 2 else "patch_size"] == list(size)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dataset", OWN_SETS)
def test_denoiser_predicts_the_masks_of_the_data_set(dataset: str, method: str) -> None:
    bundle, size = DATASETS[dataset].bundle, DATASETS[dataset].size
    parser = parse(Cell(dataset, method, 0, 1.0), "inference.json")
    denoiser = parser.get_parsed_content("denoiser").eval()
    assert denoiser.in_channels == MASKS[bundle] == len(parser["region_values"])
    assert all(n % denoiser.divisor == 0 for n in size)
    x, image = noise(1, MASKS[bundle], *small(size)), noise(1, CONTRASTS[bundle], *small(size))
    with torch.no_grad():
        torch.manual_seed(0)  # dropout that stays on
        output = denoiser(x, torch.tensor([500]), image)
        torch.manual_seed(0)
        again = denoiser.denoise(x, torch.tensor([500]), denoiser.encode_image(image))
    assert output.shape == x.shape
    assert output.isfinite().all()
    torch.testing.assert_close(output, again)
    assert isinstance(denoiser, (ImageOnlyDenoiser, DropoutDenoiser)) == METHODS[method].plain


@pytest.mark.parametrize(("dataset", "method"), [*(("ultrasound_ddti", m) for m in METHODS), ("brain_lgg", "dynunet")])
def test_every_method_trains_a_step(dataset: str, method: str) -> None:
    torch.manual_seed(0)
    size = small(DATASETS[dataset].size)
    parser = parse(Cell(dataset, method, 0, 1.0), "train.json", cpu_autocast=None)
    denoiser = parser.get_parsed_content("network_def").denoiser.train()
    image = noise(2, CONTRASTS[DATASETS[dataset].bundle], *size)
    batch = {"image": image, "label": (image[:, :1] > 0).float()}
    inputs, target, _, kwargs = parser.get_parsed_content("train#prepare_batch")(batch)
    loss = parser.get_parsed_content("loss")(
        parser.get_parsed_content("train#inferer")(inputs, denoiser, **kwargs), target
    )
    loss.backward()
    assert loss.isfinite()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in denoiser.parameters())


def test_stacked_predictions_count_as_in_deep_supervision() -> None:
    """What ``DynUNet`` gives in training: the finest counts 1, each coarser one half as much as the one before."""
    loss = parse(Cell("ultrasound_ddti", "dynunet", 0, 1.0), "train.json").get_parsed_content("loss")
    stacked, target = noise(2, 3, 1, 8, 8), (noise(2, 1, 8, 8) > 0).float()
    one, two, three = (loss(logits, target) for logits in stacked.unbind(1))
    torch.testing.assert_close(loss(stacked, target), (one + two / 2 + three / 4) / 1.75)
    monais = DeepSupervisionLoss(loss, weight_mode="exp")(list(stacked.unbind(1)), target)
    torch.testing.assert_close(loss(stacked, target), monais / 1.75)


@pytest.mark.parametrize("method", [m for m in METHODS if METHODS[m].plain])
def test_plain_methods_answer_in_one_evaluation(method: str) -> None:
    assert METHODS[method].tests(2) == METHODS[method].tests(3) == ((1, 1),)
    parser = parse(Cell("ultrasound_ddti", method, 0, 1.0), "train.json")
    assert parser["val_inference_steps"] == 1
    assert parser.get_parsed_content("train#inferer").recycling_probability == 0
    assert parser.get_parsed_content("scheduler").prediction_type == "sample"


def test_default_method_is_the_bundles_own_recipe() -> None:
    for dataset in OWN_SETS:
        cell = Cell(dataset, "medsegdiff", 0, 1.0)
        settings = cell.settings()
        inference = parse(cell, "inference.json")
        assert cell.tests[0] == (inference["num_inference_steps"], inference["num_ensemble"])
        denoiser = read_configs(DATASETS[dataset], "train.json")["denoiser"]
        own = {k: v for k, v in denoiser.items() if k != "spatial_size"}
        ours = settings.pop("denoiser")
        assert {k: ours[k] for k in own} == own
        left = {"subpixel_factor": 1, "additive_skips": False, "deep_supervision": 0}  # as DCEUNet has them by default
        left |= {"mask_channels": own["channels"], "mask_num_res_blocks": own["num_res_blocks"]}
        assert all(value == {**left, **own}[key] for key, value in ours.items() if key != "spatial_size")
        assert set(settings) <= {"image_size", "patch_size", *DATASETS[dataset].settings}


def fusions_of(denoiser: torch.nn.Module) -> list[DynamicConditionalFusion]:
    return [m for m in denoiser.modules() if isinstance(m, DynamicConditionalFusion)]


@pytest.mark.parametrize("dataset", OWN_SETS)
def test_ablations_lack_what_their_names_say_and_nothing_else(dataset: str) -> None:
    names = ("medsegdiff", "without_dynamic_encoding", "without_ff_parser", "concatenation")
    own, no_fusion, no_parser, concatenated = (denoiser_of(Cell(dataset, name, 0, 1.0)) for name in names)
    assert len(fusions_of(own)) == len(fusions_of(no_parser)) > 0
    assert all(isinstance(f.ff_parser, FFParser) for f in fusions_of(own))
    assert all(isinstance(f.ff_parser, torch.nn.Identity) for f in fusions_of(no_parser))
    assert not fusions_of(no_fusion)
    shapes = {k: v.shape for k, v in own.state_dict().items()}
    without = {k: v.shape for k, v in no_parser.state_dict().items()}
    assert without == {k: v for k, v in shapes.items() if "ff_parser" not in k} != shapes
    common = {k: v.shape for k, v in no_fusion.state_dict().items() if k in shapes}
    assert common == {k: shapes[k] for k in common}
    assert {k for k in shapes if k.startswith(("mask_encoder", "decoder", "head"))} <= set(common)
    assert isinstance(concatenated, ConcatenationDenoiser)
    assert not fusions_of(concatenated)
    assert (concatenated.in_channels, concatenated.divisor) == (own.in_channels, own.divisor)
    network = Cell(dataset, "concatenation", 0, 1.0).settings()["denoiser"]["network"]
    assert network["in_channels"] == own.in_channels + own.context_channels


@pytest.mark.parametrize("dataset", OWN_SETS)
def test_same_blocks_without_diffusion_are_those_of_the_concatenation(dataset: str) -> None:
    with_diffusion, plain = (denoiser_of(Cell(dataset, m, 0, 1.0)) for m in ("concatenation", "same_blocks_unet"))
    shapes = [{k.replace("network.", ""): v.shape for k, v in d.state_dict().items()} for d in (with_diffusion, plain)]
    stem = "encoder.stem.weight"
    voxels = math.prod(plain.network.network.subpixel_factor)
    assert shapes[0].pop(stem)[1] - shapes[1].pop(stem)[1] == voxels * with_diffusion.in_channels
    assert shapes[0] == shapes[1]
    assert (plain.in_channels, plain.divisor) == (with_diffusion.in_channels, with_diffusion.divisor)


def test_main_methods_in_the_order_of_the_tables() -> None:
    assert MAIN_METHODS.index("same_blocks_unet") == MAIN_METHODS.index("segresnet") + 1
    assert list(METHODS)[: len(MAIN_METHODS)] == list(MAIN_METHODS)


def test_other_data_sets_are_test_images_all() -> None:
    assert Cell("fundus_palm", "paper", 0, 1.0).tested_sets == ("fundus_palm", "fundus_idrid")
    assert Cell("fundus_palm", "paper", 0, 1.0, section="validation").tested_sets == ("fundus_palm",)


def test_paper_method_is_the_papers_objective() -> None:
    for dataset in OWN_SETS:
        parser = parse(Cell(dataset, "paper", 0, 1.0), "train.json")
        assert parser.get_parsed_content("scheduler").prediction_type == "epsilon"
        assert isinstance(parser.get_parsed_content("loss"), torch.nn.MSELoss)
        assert (parser["signal_scale"], parser["fusion"]) == (1.0, "staple")
        assert not [key for key in parser["denoiser"] if key.startswith("mask_")]  # two encoders of one kind
        fusions = fusions_of(parser.get_parsed_content("denoiser"))
        assert fusions
        assert not any(f.residual for f in fusions)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        # 96 -> 48 -> 24 -> 12 -> 6 and 16 -> 8 -> 4: an axis is not halved below 4.
        ((96, 96, 16), [[1, 1, 1], [2, 2, 2], [2, 2, 2], [2, 2, 1], [2, 2, 1]]),
        ((96, 96), [[1, 1], [2, 2], [2, 2], [2, 2], [2, 2]]),
        ((32, 32), [[1, 1], [2, 2], [2, 2], [2, 2], [1, 1]]),
    ],
    ids=str,
)
def test_strides_of_dynunet_by_hand(size: tuple[int, ...], expected: list[list[int]]) -> None:
    dataset = "brain_lgg" if len(size) == 3 else "ultrasound_ddti"
    network = Cell(dataset, "dynunet", 0, 1.0, size=size).settings()["denoiser"]["network"]
    assert network["strides"] == expected
    assert network["upsample_kernel_size"] == expected[1:]
    assert all(n % math.prod(s[axis] for s in expected) == 0 for axis, n in enumerate(size))


def test_size_takes_the_place_of_the_data_sets() -> None:
    settings = Cell("ultrasound_ddti", "medsegdiff", 0, 1.0, size=(48, 64)).settings()
    assert settings["image_size"] == settings["denoiser"]["spatial_size"] == [48, 64]
    settings = Cell("brain_lgg", "medsegdiff", 0, 1.0, size=(32, 32, 32)).settings()
    assert settings["patch_size"] == settings["denoiser"]["spatial_size"] == [32, 32, 32]
    assert settings["batch_size"] == 2


def test_cells_have_folders_of_their_own() -> None:
    cells = [Cell(d, m, s, 1.0) for d in DATASETS for m in METHODS for s in (0, 1, 10)]
    assert len({c.name for c in cells}) == len(cells)
    assert Cell("fundus_palm", "paper", 2, 1.0).name == "fundus_palm/paper/seed_2"


def cases_in(root: Path, count: int) -> Dataset:
    """A data set that draws 5 of some cases."""
    (root / "some").mkdir(exist_ok=True)
    cases = [{"image": f"images/{i}.png", "label": f"labels/{i}.png"} for i in range(count)]
    (root / "some" / "datalist.json").write_text(json.dumps({"training": cases, "test": [{"image": "t.png"}]}))
    return Dataset("some", "thyroid_ultrasound_medsegdiff", (32, 32), training_cases=5)


def test_training_cases_are_drawn_by_the_seed(tmp_path: Path) -> None:
    dataset = cases_in(tmp_path, 20)
    everything = dataclasses.replace(dataset, training_cases=None).training(tmp_path, 3)
    assert [Path(c["image"]).name for c in everything] == [f"{i}.png" for i in range(20)]
    drawn = {seed: dataset.training(tmp_path, seed) for seed in range(3)}
    for cases in drawn.values():
        assert len({c["image"] for c in cases}) == 5
        assert all(c in everything for c in cases)
        assert all(Path(c["image"]).stem == Path(c["label"]).stem for c in cases)
    assert dataset.training(tmp_path, 1) == drawn[1]
    names = [{c["image"] for c in cases} for cases in drawn.values()]
    assert names[0] != names[1] != names[2] != names[0]


def test_more_training_cases_than_there_are_are_refused(tmp_path: Path) -> None:
    assert len(cases_in(tmp_path, 5).training(tmp_path, 0)) == 5
    with pytest.raises(InputError) as refused:
        cases_in(tmp_path, 4).training(tmp_path, 0)
    assert str(refused.value) == "some has 4 training cases, 5 were asked for."


@pytest.mark.parametrize("count", [25, 60])
def test_few_cases_are_those_of_the_whole_set(tmp_path: Path, count: int) -> None:
    few, whole = DATASETS[f"ultrasound_ddti_{count}"], DATASETS["ultrasound_ddti"]
    assert dataclasses.replace(few, training_cases=None) == whole
    cases_in(tmp_path, 80)
    (tmp_path / "some").rename(tmp_path / few.folder)
    assert len(few.training(tmp_path, 0)) == count
