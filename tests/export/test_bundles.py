# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

"""The committed weights as files, by MONAI's commands and by ours."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
import pytest
import torch
from monai.bundle import ConfigParser

from medsegdiff_monai.apps.export import OnnxNetwork, export_bundle
from medsegdiff_monai.handlers import load_weights

pytestmark = pytest.mark.slow

TRAINED = ["thyroid_ultrasound_medsegdiff", "fundus_optic_medsegdiff"]


@pytest.fixture(params=TRAINED, ids=lambda name: name.split("_")[0])
def trained(request: pytest.FixtureRequest, thyroid_bundle: Path) -> Path:
    """Folder of a bundle with its committed weights."""
    return thyroid_bundle.parent / request.param


def parse(bundle: Path, **overrides: Any) -> ConfigParser:
    parser = ConfigParser()
    parser.read_config(str(bundle / "configs" / "inference.json"))
    parser.update({"bundle_root": str(bundle), **overrides})
    return parser


def answer_of_the_inferer(
    bundle: Path, noise_of: Any, batch: int, size: tuple[int, ...], **overrides: Any
) -> tuple[torch.Tensor, ...]:
    """Image, noise and the inferer's answer, with a bundle's committed weights."""
    parser = parse(bundle, **overrides)
    network = parser.get_parsed_content("network_def").eval()
    load_weights(network, bundle / "models" / "model.pt")
    image = torch.randn(batch, network.denoiser.context_channels, *size, generator=torch.Generator().manual_seed(1))
    image = torch.nn.functional.avg_pool2d(image, 9, 1, 4) * 3  # smooth, as an image is
    probability, noise = noise_of(parser.get_parsed_content("inferer"), image, network)
    assert noise.shape[1] == 5
    assert probability.std() > 1e-3
    return image, noise, probability


def monai_bundle(command: str, bundle: Path, out: Path, *arguments: str) -> None:
    places = {
        "filepath": out,
        "ckpt_file": bundle / "models" / "model.pt",
        "meta_file": bundle / "configs" / "metadata.json",
        "config_file": bundle / "configs" / "inference.json",
        "bundle_root": bundle,
    }
    given = [text for key, value in places.items() for text in (f"--{key}", str(value))]
    line = [sys.executable, "-m", "monai.bundle", command, "network_def", *given, *arguments]
    result = subprocess.run(line, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_torchscript_file_of_monais_command(trained: Path, noise_of: Any, ask_a_stranger: Any, tmp_path: Path) -> None:
    monai_bundle("ckpt_export", trained, tmp_path / "model.ts")
    image, noise, expected = answer_of_the_inferer(trained, noise_of, 2, (64, 48))
    (answer,) = ask_a_stranger(tmp_path / "model.ts", [(image, noise)])
    torch.testing.assert_close(answer, expected, atol=1e-4, rtol=0)


def test_torchscript_file_of_our_command(
    thyroid_bundle: Path, noise_of: Any, ask_a_stranger: Any, tmp_path: Path
) -> None:
    export_bundle(str(thyroid_bundle), str(tmp_path / "model.ts"))
    image, noise, expected = answer_of_the_inferer(thyroid_bundle, noise_of, 1, (96, 96))
    (answer,) = ask_a_stranger(tmp_path / "model.ts", [(image, noise)])
    torch.testing.assert_close(answer, expected, atol=1e-4, rtol=0)
    files = {"metadata.json": "", "inference.json": ""}
    torch.jit.load(str(tmp_path / "model.ts"), _extra_files=files)
    assert json.loads(files["metadata.json"])["pred_classes"] == "one channel, probability of thyroid nodule"
    assert json.loads(files["inference.json"])["bundle_root"] == "."


def test_onnx_file_of_our_command_with_all_steps(thyroid_bundle: Path, noise_of: Any, tmp_path: Path) -> None:
    assert export_bundle(str(thyroid_bundle), str(tmp_path / "model.onnx")) == tmp_path / "model.onnx"
    exported = OnnxNetwork(tmp_path / "model.onnx")
    for batch, size in ((1, (96, 96)), (2, (64, 112))):
        image, noise, expected = answer_of_the_inferer(thyroid_bundle, noise_of, batch, size)
        torch.testing.assert_close(exported(image, noise), expected, atol=1e-4, rtol=0)


def test_onnx_file_of_our_command_with_other_steps(thyroid_bundle: Path, noise_of: Any, tmp_path: Path) -> None:
    fundus = thyroid_bundle.parent / "fundus_optic_medsegdiff"
    export_bundle(str(fundus), str(tmp_path / "model.onnx"), steps=1, members=2)
    exported = OnnxNetwork(tmp_path / "model.onnx")
    image, noise, expected = answer_of_the_inferer(fundus, noise_of, 2, (192, 64), num_inference_steps=1)
    torch.testing.assert_close(exported(image, noise), expected, atol=1e-4, rtol=0)
    assert exported(image[:1]).shape == (1, 2, 192, 64)


def test_onnx_file_of_monais_command(thyroid_bundle: Path, tmp_path: Path) -> None:
    axes = "{'image': {0: 'batch', 2: 'height', 3: 'width'}}"
    options = f"{{'dynamic_axes': {axes}, 'input_names': ['image'], 'output_names': ['probability']}}"
    monai_bundle(
        "onnx_export",
        thyroid_bundle,
        tmp_path / "model.onnx",
        *("--converter_kwargs", options, "--num_inference_steps", "2", "--num_ensemble", "3"),
    )
    model = onnx.load(tmp_path / "model.onnx")
    assert [i.name for i in model.graph.input] == ["image"]
    (noise_name,) = [n.output[0] for n in model.graph.node if n.op_type.startswith("RandomNormal")]
    model.graph.output.append(onnx.helper.make_tensor_value_info(noise_name, onnx.TensorProto.FLOAT, None))
    onnx.save(model, tmp_path / "shows_noise.onnx")

    session = onnxruntime.InferenceSession(str(tmp_path / "shows_noise.onnx"), providers=["CPUExecutionProvider"])
    network = parse(thyroid_bundle, num_inference_steps=2, num_ensemble=3).get_parsed_content("network_def").eval()
    load_weights(network, thyroid_bundle / "models" / "model.pt")
    for shape in ((1, 1, 96, 96), (2, 1, 48, 80)):
        image = torch.randn(shape, generator=torch.Generator().manual_seed(2))
        probability, noise = session.run(None, {"image": image.numpy()})
        assert noise.shape == (shape[0], 3, 1, *shape[2:])
        with torch.no_grad():
            expected = network(image, torch.from_numpy(noise))
        torch.testing.assert_close(torch.from_numpy(probability), expected, atol=1e-4, rtol=0)
