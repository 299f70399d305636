# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnxruntime.capi.onnxruntime_pybind11_state import InvalidArgument, RuntimeException

from medsegdiff_monai.apps.export import OnnxNetwork, export_onnx
from medsegdiff_monai.inferers import DiffusionSegmentationInferer
from medsegdiff_monai.networks.schedulers import DPMSolverScheduler

pytestmark = pytest.mark.slow

# What the bundles set: patches of two voxels, a narrow encoder of the mask, skips that are added.
AS_BUNDLES: dict[str, Any] = {"subpixel_factor": 2, "additive_skips": True, "mask_channels": (4, 4)}
SETTINGS: dict[str, tuple[int, dict[str, Any]]] = {
    "2d": (2, {**AS_BUNDLES, "fusion_residual": True}),
    "2d_plain": (2, {"steps": 1, "fusion": "majority", "attention_levels": (False, True)}),
    "3d": (3, {**AS_BUNDLES, "steps": 1}),
}
SIZES = {2: [(12, 12), (24, 12), (16, 28)], 3: [(12, 12, 12), (8, 16, 20)]}

Made = tuple[Any, Path]


@pytest.fixture(scope="module")
def made(tiny_network: Any, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Made]:
    """A network and its ONNX file, by the name of its settings."""
    files: dict[str, Made] = {}

    def get(name: str) -> Made:
        if name not in files:
            dims, settings = SETTINGS[name]
            network = tiny_network(dims, **settings)
            path = tmp_path_factory.mktemp("onnx") / f"{name}.onnx"
            export_onnx(network, path, 1, dims)
            files[name] = (network, path)
        return files[name]

    return get


@pytest.mark.parametrize("name", list(SETTINGS))
def test_equals_the_inferer_from_the_same_noise_at_any_size_and_batch(name: str, made: Any, noise_of: Any) -> None:
    network, path = made(name)
    dims = network.denoiser.spatial_dims
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    for batch, size in enumerate(SIZES[dims], 1):
        inferer = DiffusionSegmentationInferer(
            DPMSolverScheduler(prediction_type="sample"),
            len(network.timesteps),
            2 + batch,
            network.fusion,
            signal_scale=network.mask_scale.scale,
            seed=batch,
        )
        image = torch.randn(batch, 1, *size, generator=torch.Generator().manual_seed(batch))
        expected, noise = noise_of(inferer, image, network)
        (actual,) = session.run(None, {"image": image.numpy(), "noise": noise.numpy()})
        assert expected.std() > 0.01
        if network.fusion == "mean":
            np.testing.assert_allclose(actual, expected.numpy(), atol=1e-4)
        else:  # a vote turns where a member's probability is one half to the last digit
            assert np.mean(np.abs(actual - expected.numpy()) > 1e-4) < 1e-3


def test_noise_is_drawn_from_the_normal_distribution_where_it_is_not_given(made: Any, tmp_path: Path) -> None:
    network, path = made("2d")
    drawn = onnx.helper.make_tensor_value_info("inputs/noise", onnx.TensorProto.FLOAT, None)
    model = onnx.load(path)
    model.graph.output.append(drawn)
    onnx.save(model, tmp_path / "shows_noise.onnx")
    session = onnxruntime.InferenceSession(str(tmp_path / "shows_noise.onnx"), providers=["CPUExecutionProvider"])
    image = torch.randn(3, 1, 32, 24, generator=torch.Generator().manual_seed(0))
    probability, noise = session.run(None, {"image": image.numpy()})
    assert noise.shape == (3, network.num_ensemble, 2, 32, 24)
    assert abs(noise.mean()) < 5 / np.sqrt(noise.size)
    assert abs(noise.std() - 1.0) < 5 / np.sqrt(2 * noise.size)
    with torch.no_grad():
        expected = network(image, torch.from_numpy(noise)).numpy()
    np.testing.assert_allclose(probability, expected, atol=1e-4)
    assert not np.array_equal(session.run(None, {"image": image.numpy()})[1], noise)


def test_states_its_inputs_and_needs_no_operators_but_onnxs_own(made: Any) -> None:
    model = onnx.load(made("3d")[1])
    onnx.checker.check_model(model, full_check=True)
    inputs = {i.name: [d.dim_param or d.dim_value for d in i.type.tensor_type.shape.dim] for i in model.graph.input}
    assert inputs == {
        "image": ["batch", 1, "height", "width", "depth"],
        "noise": ["batch", "members", 2, "height", "width", "depth"],
    }
    assert [o.name for o in model.graph.output] == ["probability"]
    assert {(o.domain, o.version) for o in model.opset_import} == {("", 20)}
    assert not {"DFT", "STFT"} & {node.op_type for node in model.graph.node}


@pytest.mark.parametrize(
    ("image", "noise", "message"),
    [
        ((1, 1, 18, 16), None, "the spatial size of the image must be divisible by 4: pad or resize it"),
        ((1, 1, 16, 1), None, "the spatial size of the image must be divisible by 4: pad or resize it"),
        ((2, 1, 8, 8), (1, 2, 2, 8, 8), "the noise must have the batch and the spatial size of the image"),
        ((2, 1, 8, 8), (2, 2, 2, 8, 12), "the noise must have the batch and the spatial size of the image"),
        ((1, 3, 8, 8), None, "Got: 3 Expected: 1"),
    ],
)
def test_inputs_that_do_not_fit_end_the_run_with_a_reason(
    image: tuple[int, ...], noise: tuple[int, ...] | None, message: str, made: Any
) -> None:
    network = OnnxNetwork(made("2d")[1])
    with pytest.raises((RuntimeException, InvalidArgument)) as failure:
        network(torch.zeros(image), None if noise is None else torch.zeros(noise))
    assert message in str(failure.value)


def test_onnx_network_is_called_as_the_network(made: Any, image_and_noise: Any) -> None:
    network, path = made("2d")
    exported = OnnxNetwork(path)
    image, noise = image_and_noise(network, 2, 5, (8, 16))
    with torch.no_grad():
        torch.testing.assert_close(exported(image, noise), network(image, noise), atol=1e-4, rtol=0)
    assert exported(image).shape == (2, 2, 8, 16)


@pytest.mark.parametrize("opset", [18, 21])
def test_the_lowest_and_the_highest_opset(opset: int, tiny_network: Any, image_and_noise: Any, tmp_path: Path) -> None:
    network = tiny_network(2, steps=1)
    export_onnx(network, tmp_path / "model.onnx", 1, 2, opset)
    assert [o.version for o in onnx.load(tmp_path / "model.onnx").opset_import] == [opset]
    image, noise = image_and_noise(network, 1, 2, (14, 6))
    with torch.no_grad():
        expected = network(image, noise)
    torch.testing.assert_close(OnnxNetwork(tmp_path / "model.onnx")(image, noise), expected, atol=1e-4, rtol=0)
