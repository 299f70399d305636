# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

"""What holds for the configurations of all three bundles."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.bundle import ConfigWorkflow
from monai.bundle.scripts import ckpt_export, verify_net_in_out

from medsegdiff_monai.handlers import load_weights

PAPER = {"thyroid": 1, "fundus": 3, "brats": 4}
SHARED = ("datalist", "regions", "region_values", "scheduler", "denoiser", "network_def", "signal_scale", "fusion")


def kind_of(bundle: Path) -> str:
    return bundle.name.split("_")[0]


@pytest.mark.parametrize(
    ("configs", "kind"),
    [
        (("train.json",), "train"),
        (("inference.json",), "infer"),
        (("inference.json", "evaluate.json"), "infer"),
    ],
    ids=["train", "inference", "evaluate"],
)
def test_properties_are_complete(
    bundle: Path, phantoms_of: Any, tmp_path: Path, configs: tuple[str, ...], kind: str
) -> None:
    workflow = ConfigWorkflow(
        [str(bundle / "configs" / c) for c in configs],
        workflow_type=kind,
        logging_file=False,
        initialize=[],
        bundle_root=str(bundle),
        dataset_dir=str(phantoms_of(bundle)),
        output_dir=str(tmp_path),
        ckpt_dir=str(tmp_path),
    )
    workflow.initialize()
    assert not workflow.check_properties()


@pytest.mark.parametrize("overlay", ["", "disc", "lgg", "paper"])
def test_training_and_inference_declare_the_same_model(bundle: Path, parse: Any, overlay: str) -> None:
    files = [f"{overlay}.json"] if overlay else []
    if files and not (bundle / "configs" / files[0]).is_file():
        pytest.skip(f"this bundle has no {files[0]}")
    train, inference = (parse(bundle, f"{name}.json", *files).get() for name in ("train", "inference"))
    assert inference["network_def"].pop("temperature") == "@temperature"  # fitted when training is over
    inference["network_def"].pop("channels_last", None)  # how it lies in memory is not what it is
    for key in (*SHARED, "image_size", "patch_size", "contrasts", "spacing", "slices"):
        assert train.get(key) == inference.get(key), key


@pytest.mark.parametrize("overlay", ["disc.json", "lgg.json", "paper.json"])
def test_overlays_build_a_trainer_and_an_evaluator(
    bundle: Path, parse: Any, phantoms_of: Any, tmp_path: Path, overlay: str
) -> None:
    if not (bundle / "configs" / overlay).is_file():
        pytest.skip(f"this bundle has no {overlay}")
    places = {"dataset_dir": str(phantoms_of(bundle)), "ckpt_dir": str(tmp_path), "output_dir": str(tmp_path)}
    levels = 5 if overlay == "paper.json" else 4
    narrow = {"denoiser#channels": (8,) * levels, "denoiser#num_res_blocks": 1, "spacing": [6.0] * 3}
    narrow |= {"image_size": [32, 32]}
    settings: dict[str, Any] = {**places, **narrow}
    if overlay == "lgg.json":  # the phantoms have a contrast more, and regions within the whole tumour
        settings |= {"contrasts": ["FLAIR", "T1w", "T1gd", "T2w"], "denoiser#context_channels": 4}
        settings |= {"region_values": {"WT": [1, 2, 4]}}
    assert parse(bundle, "train.json", overlay, **settings).get_parsed_content("train#trainer")
    assert parse(bundle, "inference.json", "evaluate.json", overlay, **settings).get_parsed_content("evaluator")


def test_overlays_are_short_and_hold_no_program(bundle: Path) -> None:
    limits = {"multi_gpu_train": 20, "multi_gpu_evaluate": 20, "evaluate": 50, "disc": 10, "lgg": 15, "paper": 70}
    limits |= {
        "details": 30,
        "readers": 10,
        "readers_train": 35,
        "readers_evaluate": 60,
        "inference": 280,
        "train": 430,
    }
    for file in (bundle / "configs").glob("*.json"):
        text = file.read_text()
        assert len(text.splitlines()) <= limits.get(file.stem, 200), file
        expressions = [value for value in strings(json.loads(text)) if value.startswith("$")]
        # What is left are paths, and attributes and methods of one object.
        assert all(len(e) < 60 and " if " not in e and "lambda" not in e for e in expressions), expressions


def test_what_only_an_overlay_needs_is_in_no_base_file(bundle: Path, parse: Any) -> None:
    gone = {"details", "several_readers", "better", "val_key_metric", "member_postprocessing", "switches"}
    for base in ("train.json", "inference.json"):
        text = (bundle / "configs" / base).read_text()
        assert "_disabled_" not in text
        assert not [key for key in gone if f'"{key}"' in text]
        assert parse(bundle, base).get_parsed_content("load")


def strings(content: Any) -> list[str]:
    if isinstance(content, str):
        return [content]
    values = content.values() if isinstance(content, dict) else content if isinstance(content, list) else []
    return [s for value in values for s in strings(value)]


def test_committed_weights_load_strictly_and_are_small(bundle: Path, parse: Any) -> None:
    path = bundle / "models" / "model.pt"
    assert path.stat().st_size <= 25e6
    network = parse(bundle, "inference.json").get_parsed_content("network_def")
    before = {k: v.clone() for k, v in network.state_dict().items()}
    load_weights(network, path)
    trained = [k for k in before if k.endswith("conv1.weight")]
    assert trained
    assert all(not torch.equal(before[k], network.state_dict()[k]) for k in trained)


def test_zoo_checks_input_and_output(bundle: Path) -> None:
    verify_net_in_out(
        net_id="network_def",
        meta_file=str(bundle / "configs" / "metadata.json"),
        config_file=str(bundle / "configs" / "inference.json"),
        device="cpu",
        n=2,
        bundle_root=str(bundle),
    )


def test_exported_network_gives_the_same_probabilities(bundle: Path, parse: Any, tmp_path: Path) -> None:
    exported = tmp_path / "model.ts"
    ckpt_export(
        net_id="network_def",
        filepath=str(exported),
        ckpt_file=str(bundle / "models" / "model.pt"),
        meta_file=str(bundle / "configs" / "metadata.json"),
        config_file=str(bundle / "configs" / "inference.json"),
        bundle_root=str(bundle),
    )
    parser = parse(bundle, "inference.json")
    network = parser.get_parsed_content("network_def").eval()
    load_weights(network, bundle / "models" / "model.pt")
    scripted = torch.jit.load(str(exported)).eval()
    size = [32] * network.denoiser.spatial_dims
    image = torch.randn(1, network.denoiser.context_channels, *size, generator=torch.Generator().manual_seed(1))
    noise = torch.randn(1, 3, network.mask_channels, *size, generator=torch.Generator().manual_seed(2))
    inferer = parser.get_parsed_content("inferer")
    inferer.roi_size = None
    with torch.no_grad():
        expected = network(image, noise)
        torch.testing.assert_close(scripted(image, noise), expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(inferer(image, scripted), inferer(image, network), atol=1e-5, rtol=0)
    assert expected.std() > 1e-4


def test_paper_overlay_is_the_papers_recipe(bundle: Path, parse: Any) -> None:
    parser = parse(bundle, "train.json", "paper.json")
    assert parser.get_parsed_content("scheduler").prediction_type == "epsilon"
    assert isinstance(parser.get_parsed_content("loss"), torch.nn.MSELoss)
    inferer = parse(bundle, "inference.json", "paper.json").get_parsed_content("inferer")
    assert (len(inferer.timesteps), inferer.num_ensemble, inferer.fusion) == (100, 25, "staple")
    denoiser = parser.get_parsed_content("denoiser")
    assert (denoiser.divisor, denoiser.spatial_dims, denoiser.context_channels) == (2**4, 2, PAPER[kind_of(bundle)])
    settings = parser.get()
    assert (settings["batch_size"], settings["learning_rate"]) == (32, 1e-4)
    assert (settings.get("image_size") or settings["patch_size"])[:2] == [256, 256]


@pytest.mark.parametrize("overlay", ["paper.json", "disc.json", "lgg.json", "unet.json", "small.json"])
def test_overlays_train_a_step_and_sample(bundle: Path, parse: Any, phantoms_of: Any, overlay: str) -> None:
    if not (bundle / "configs" / overlay).is_file():
        pytest.skip(f"this bundle has no {overlay}")
    torch.manual_seed(0)
    overrides: dict[str, Any] = {"dataset_dir": str(phantoms_of(bundle))}
    if overlay == "paper.json":  # the paper's network and size would take minutes
        overrides |= {"denoiser#channels": (8, 8, 8, 8, 8), "denoiser#num_res_blocks": 1}
    parser = parse(bundle, "train.json", overlay, **overrides)
    network = parser.get_parsed_content("network_def")
    denoiser = network.denoiser
    size = [32] * getattr(denoiser, "spatial_dims", 2)
    context = getattr(denoiser, "context_channels", 1)
    batch = {
        "image": torch.randn(2, context, *size),
        "label": (torch.rand(2, network.mask_channels, *size) > 0.5).float(),
    }
    inputs, target, _, kwargs = parser.get_parsed_content("train#prepare_batch")(batch)
    prediction = parser.get_parsed_content("train#inferer")(inputs, denoiser, **kwargs)
    loss = parser.get_parsed_content("loss")(prediction, target)
    loss.backward()
    assert torch.isfinite(loss)
    assert all(p.grad is not None for p in denoiser.parameters())

    sampling = {**overrides, "num_inference_steps": 2, "num_ensemble": 2, "overlap": 0.0}
    if "patch_size" in parser.get():
        sampling["patch_size"] = [32, 32, 1] if overlay == "paper.json" else [32, 32, 32]
        volume = torch.randn(1, context, 32, 32, 3 if overlay == "paper.json" else 32)
    else:
        volume = batch["image"]
    inferer = parse(bundle, "inference.json", overlay, **sampling).get_parsed_content("inferer")
    probability = inferer(volume, network.eval())
    assert probability.shape == (len(volume), network.mask_channels, *volume.shape[2:])
    assert 0.0 <= float(probability.min()) <= float(probability.max()) <= 1.0
