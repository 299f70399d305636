# Copyright (c) MedSegDiff-MONAI contributors
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#     http://www.apache.org/licenses/LICENSE-2.0
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import torch
from monai.bundle import ConfigParser, ConfigWorkflow
from monai.bundle.scripts import ckpt_export, verify_net_in_out
from torch.utils.flop_counter import FlopCounterMode

from medsegdiff_monai.data import load_cases
from medsegdiff_monai.handlers import load_weights

REQUIRED_METADATA = [
    "schema",
    "version",
    "monai_version",
    "pytorch_version",
    "numpy_version",
    "required_packages_version",
    "task",
    "description",
    "authors",
    "copyright",
    "network_data_format",
]


def parse(bundle: Path, *configs: str, **overrides: Any) -> ConfigParser:
    parser = ConfigParser()
    parser.read_config([str(bundle / "configs" / c) for c in configs])
    parser.update({"bundle_root": str(bundle), "device": "$torch.device('cpu')", **overrides})
    return parser


def test_metadata_has_what_the_zoo_requires(thyroid_bundle: Path) -> None:
    metadata = json.loads((thyroid_bundle / "configs" / "metadata.json").read_text())
    assert [key for key in REQUIRED_METADATA if key not in metadata] == []
    assert metadata["version"] in metadata["changelog"]
    schema = Path(__file__).resolve().parents[3] / "shared" / "schema" / "meta_schema_20240725.json"
    if schema.is_file():
        jsonschema.validate(metadata, json.loads(schema.read_text()))


@pytest.mark.parametrize(
    ("configs", "kind"),
    [
        (("train.json",), "train"),
        (("inference.json",), "infer"),
        (("inference.json", "evaluate.json"), "infer"),
        (("train.json", "small.json"), "train"),
    ],
)
def test_properties_are_complete(
    thyroid_bundle: Path, tiny_phantoms: Path, tmp_path: Path, configs: tuple[str, ...], kind: str
) -> None:
    workflow = ConfigWorkflow(
        [str(thyroid_bundle / "configs" / c) for c in configs],
        workflow_type=kind,
        logging_file=False,
        initialize=[],
        bundle_root=str(thyroid_bundle),
        dataset_dir=str(tiny_phantoms),
        output_dir=str(tmp_path),
        ckpt_dir=str(tmp_path),
    )
    workflow.initialize()
    assert not workflow.check_properties()


def test_training_and_inference_declare_the_same_model(thyroid_bundle: Path) -> None:
    train, inference = (parse(thyroid_bundle, f"{name}.json").get() for name in ("train", "inference"))
    for key in ("image_size", "regions", "scheduler", "denoiser", "network_def", "signal_scale"):
        assert train[key] == inference[key], key


def test_network_is_within_its_limits_of_size_and_work(thyroid_bundle: Path) -> None:
    denoiser = parse(thyroid_bundle, "inference.json").get_parsed_content("denoiser")
    assert sum(p.numel() for p in denoiser.parameters()) <= 10e6
    image = torch.zeros(1, 1, 256, 256)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        denoiser(image, torch.tensor([500]), image)
    assert counter.get_total_flops() <= 20e9


def test_committed_weights_load_strictly_and_are_small(thyroid_bundle: Path) -> None:
    path = thyroid_bundle / "models" / "model.pt"
    assert path.stat().st_size <= 25e6
    network = parse(thyroid_bundle, "inference.json").get_parsed_content("network_def")
    before = {k: v.clone() for k, v in network.state_dict().items()}
    load_weights(network, path)
    assert all(not torch.equal(before[k], v) for k, v in network.state_dict().items() if k.endswith("conv1.weight"))


def test_zoo_checks_input_and_output(thyroid_bundle: Path) -> None:
    verify_net_in_out(
        net_id="network_def",
        meta_file=str(thyroid_bundle / "configs" / "metadata.json"),
        config_file=str(thyroid_bundle / "configs" / "inference.json"),
        device="cpu",
        n=2,
        bundle_root=str(thyroid_bundle),
    )


def test_exported_network_gives_the_same_probabilities(thyroid_bundle: Path, tmp_path: Path) -> None:
    exported = tmp_path / "model.ts"
    ckpt_export(
        net_id="network_def",
        filepath=str(exported),
        ckpt_file=str(thyroid_bundle / "models" / "model.pt"),
        meta_file=str(thyroid_bundle / "configs" / "metadata.json"),
        config_file=str(thyroid_bundle / "configs" / "inference.json"),
        bundle_root=str(thyroid_bundle),
    )
    parser = parse(thyroid_bundle, "inference.json")
    network = parser.get_parsed_content("network_def").eval()
    load_weights(network, thyroid_bundle / "models" / "model.pt")
    scripted = torch.jit.load(str(exported)).eval()
    image = torch.randn(1, 1, 96, 96, generator=torch.Generator().manual_seed(1))
    noise = torch.randn(1, 3, 1, 96, 96, generator=torch.Generator().manual_seed(2))
    inferer = parser.get_parsed_content("inferer")
    with torch.no_grad():
        expected = network(image, noise)
        torch.testing.assert_close(scripted(image, noise), expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(inferer(image, scripted), inferer(image, network), atol=1e-5, rtol=0)
    assert expected.std() > 0.01


@pytest.mark.parametrize("overlay", ["paper.json", "unet.json", "small.json"])
def test_overlays_train_a_step_and_sample(thyroid_bundle: Path, overlay: str) -> None:
    torch.manual_seed(0)
    parser = parse(thyroid_bundle, "train.json", overlay)
    if overlay == "paper.json":  # the paper's network and size would take minutes
        parser["denoiser"] = parser.get()["denoiser"] | {"channels": (8, 8, 8, 8, 8), "num_res_blocks": 1}
    network = parser.get_parsed_content("network_def")
    batch = {"image": torch.randn(2, 1, 64, 64), "label": (torch.rand(2, 1, 64, 64) > 0.5).float()}
    inputs, target, _, kwargs = parser.get_parsed_content("train#prepare_batch")(batch)
    prediction = parser.get_parsed_content("train#inferer")(inputs, network.denoiser, **kwargs)
    loss = parser.get_parsed_content("loss")(prediction, target)
    loss.backward()
    assert torch.isfinite(loss)
    assert all(p.grad is not None for p in network.denoiser.parameters())

    inference = parse(thyroid_bundle, "inference.json", overlay, num_inference_steps=2, num_ensemble=3)
    inferer = inference.get_parsed_content("inferer")
    assert inferer(batch["image"], network.eval()).shape == (2, 1, 64, 64)


def test_paper_overlay_is_the_papers_recipe(thyroid_bundle: Path) -> None:
    parser = parse(thyroid_bundle, "train.json", "paper.json")
    assert parser.get_parsed_content("scheduler").prediction_type == "epsilon"
    assert isinstance(parser.get_parsed_content("loss"), torch.nn.MSELoss)
    inferer = parse(thyroid_bundle, "inference.json", "paper.json").get_parsed_content("inferer")
    assert (len(inferer.timesteps), inferer.num_ensemble, inferer.fusion) == (100, 25, "staple")
    assert parser.get_parsed_content("denoiser").divisor == 2**4
    settings = parser.get()
    assert (settings["batch_size"], settings["learning_rate"], settings["image_size"]) == (32, 1e-4, [256, 256])


def test_committed_weights_segment_real_images(thyroid_bundle: Path, real_ddti: Path) -> None:
    """One evaluation of one member on real test images, against masks that were not trained on."""
    cases = load_cases(real_ddti, "test")[:20]
    parser = parse(thyroid_bundle, "inference.json", num_inference_steps=1, num_ensemble=1)
    parser["dataset#data"] = cases
    network = parser.get_parsed_content("network_def").eval()
    load_weights(network, thyroid_bundle / "models" / "model.pt")
    inferer = parser.get_parsed_content("inferer")
    scores = []
    for batch in parser.get_parsed_content("dataloader"):
        probability = inferer(batch["image"], network)
        resized = torch.nn.functional.interpolate(probability, size=batch["label"].shape[2:], mode="bilinear")
        mask, truth = resized >= 0.5, batch["label"] > 0.5
        scores.append(float(2 * (mask & truth).sum() / (mask.sum() + truth.sum())))
    assert len(scores) == 20
    assert sum(scores) / 20 > 0.84
