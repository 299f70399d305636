# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

"""What MONAI's own tools make of the bundles: its Python functions and its command line."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from monai.bundle import create_workflow
from monai.bundle import load as load_bundle

from medsegdiff_monai.handlers import load_weights


def monai_bundle(*arguments: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "monai.bundle", *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


def test_load_gives_the_network_with_the_committed_weights(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(bundle)
    network = load_bundle(bundle.name, bundle_dir=str(bundle.parent), source="monaihosting", device="cpu")
    committed = torch.load(bundle / "models" / "model.pt", weights_only=True)
    assert network.state_dict().keys() == committed.keys()
    for name, value in network.state_dict().items():
        assert torch.equal(value, committed[name]), name


def test_create_workflow_runs_an_inference(
    bundle: Path, phantoms_of: Any, small_of: Any, untrained_of: Any, tmp_path: Path
) -> None:
    workflow = create_workflow(
        config_file=str(bundle / "configs" / "inference.json"),
        workflow_type="infer",
        logging_file=False,
        bundle_root=str(bundle),
        dataset_dir=str(phantoms_of(bundle)),
        output_dir=str(tmp_path / "out"),
        checkpoint=str(untrained_of(bundle)),
        num_inference_steps=1,
        num_ensemble=2,
        **small_of(bundle),
    )
    workflow.run()
    workflow.finalize()
    assert len(list((tmp_path / "out").glob("*_seg.*"))) == 3


def test_run_workflow_on_the_command_line(
    bundle: Path, phantoms_of: Any, small_of: Any, untrained_of: Any, tmp_path: Path
) -> None:
    settings = {
        "workflow_type": "infer",
        "bundle_root": bundle,
        "dataset_dir": phantoms_of(bundle),
        "output_dir": tmp_path / "out",
        "checkpoint": untrained_of(bundle),
        "num_inference_steps": 1,
        "num_ensemble": 2,
        **small_of(bundle),
    }
    arguments = [text for key, value in settings.items() for text in (f"--{key}", value)]
    result = monai_bundle("run_workflow", "--config_file", bundle / "configs" / "inference.json", *arguments)
    assert result.returncode == 0, result.stdout + result.stderr
    assert len(list((tmp_path / "out").glob("*_seg.*"))) == 3


@pytest.mark.slow
def test_verify_commands(bundle: Path, tmp_path: Path) -> None:
    network = (
        "--config_file",
        bundle / "configs" / "inference.json",
        "--meta_file",
        bundle / "configs" / "metadata.json",
    )
    options = ("--net_id", "network_def", "--bundle_root", bundle, "--device", "cpu")
    result = monai_bundle("verify_net_in_out", *options, *network)
    assert result.returncode == 0, result.stdout + result.stderr
    default = bundle.parents[2] / "shared" / "schema"
    schema = Path(os.environ.get("MEDSEGDIFF_SCHEMA", default)) / "meta_schema_20240725.json"
    if not schema.is_file():
        pytest.skip(f"no copy of the zoo's schema at {schema}: set MEDSEGDIFF_SCHEMA to its folder")
    shutil.copy(schema, tmp_path / "schema.json")
    result = monai_bundle(
        "verify_metadata", "--meta_file", bundle / "configs" / "metadata.json", "--filepath", tmp_path / "schema.json"
    )
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.slow
def test_exports_segment_without_the_package(bundle: Path, parse: Any, tmp_path: Path) -> None:
    """TorchScript and ONNX files of the committed weights, with one step and member, against the Python network."""
    short = {"num_inference_steps": 1, "num_ensemble": 1}
    network = parse(bundle, "inference.json", **short).get_parsed_content("network_def").eval()
    load_weights(network, bundle / "models" / "model.pt")
    size = [32] * network.denoiser.spatial_dims
    common = {
        "net_id": "network_def",
        "ckpt_file": bundle / "models" / "model.pt",
        "meta_file": bundle / "configs" / "metadata.json",
        "config_file": bundle / "configs" / "inference.json",
        "bundle_root": bundle,
        "input_shape": [1, network.denoiser.context_channels, *size],
        **short,
    }
    options = [text for key, value in common.items() for text in (f"--{key}", value)]
    for command, file in (("ckpt_export", "model.ts"), ("onnx_export", "model.onnx")):
        result = monai_bundle(command, *options, "--filepath", tmp_path / file)
        assert result.returncode == 0, result.stdout + result.stderr
    image = torch.randn(1, network.denoiser.context_channels, *size, generator=torch.Generator().manual_seed(0))
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"), providers=["CPUExecutionProvider"])
    answers = [session.run(None, {session.get_inputs()[0].name: image.numpy()})[0]]
    check = (
        "import sys, torch\n"
        "sys.modules['medsegdiff_monai'] = None\n"
        f"image = torch.randn({list(image.shape)}, generator=torch.Generator().manual_seed(0))\n"
        "torch.save(torch.jit.load(sys.argv[1])(image), sys.argv[2])\n"
    )
    subprocess.run([sys.executable, "-c", check, tmp_path / "model.ts", tmp_path / "answer.pt"], check=True)
    answers.append(torch.load(tmp_path / "answer.pt", weights_only=True).detach().numpy())
    with torch.no_grad():
        samples = np.stack([network(image).numpy() for _ in range(4)])
    # Each draws its own noise, to which a single early estimate is nearly blind: they agree as two samples do.
    spread = np.abs(samples[1:] - samples[0]).mean()
    for answer in answers:
        assert answer.shape == samples[0].shape
        assert np.abs(answer - samples.mean(0)).mean() <= 3 * spread + 1e-4
