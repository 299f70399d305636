# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.utils import optional_import

from medsegdiff_monai.networks.nets import MedSegDiff
from medsegdiff_monai.utils import InputError

__all__ = ["OnnxNetwork", "export_onnx", "refuse_onnx"]

_OPSETS = range(18, 22)  # below, the exporter does not write them; above, ONNX Runtime draws no noise
_AXES = ("height", "width", "depth")
_MEMBERS = 3  # of the example that is traced; any number may be given later

# The nodes before the network's own: they check the image and check or draw the noise.
_FRONT = """
front (float[N] image, float[N] noise) => (FLOATS "inputs/noise") {
    "inputs/image_shape" = Shape (image)
    "inputs/spatial" = Shape <start = 2> (image)
    "inputs/remainders" = Mod ("inputs/spatial", "inputs/divisor")
    "inputs/remainder" = ReduceMax <keepdims = 0> ("inputs/remainders")
    ["the spatial size of the image must be divisible by DIVISOR: pad or resize it"]
    "inputs/image_fits" = Gather ("inputs/allowed", "inputs/remainder")
    "inputs/checked_shape" = Add ("inputs/image_shape", "inputs/image_fits")
    "inputs/image" = Reshape (image, "inputs/checked_shape")
    "inputs/batch" = Shape <end = 1> ("inputs/image")
    "inputs/elements" = Size (noise)
    "inputs/no_noise" = Equal ("inputs/elements", "inputs/none")
    ["draw the noise where it is not given"]
    "inputs/noise" = If ("inputs/no_noise") <
        then_branch = draw () => (FLOATS drawn) {
            drawn_shape = Concat <axis = 0> ("inputs/batch", "inputs/members", "inputs/channels", "inputs/spatial")
            blank = ConstantOfShape (drawn_shape)
            drawn = RandomNormalLike <dtype = 1> (blank)
        },
        else_branch = check () => (FLOATS given) {
            given_shape = Shape (noise)
            given_members = Shape <start = 1, end = 2> (noise)
            expected_shape = Concat <axis = 0> ("inputs/batch", given_members, "inputs/channels", "inputs/spatial")
            differences = Sub (given_shape, expected_shape)
            distances = Abs (differences)
            distance = ReduceMax <keepdims = 0> (distances)
            ["the noise must have the batch and the spatial size of the image"]
            noise_fits = Gather ("inputs/allowed", distance)
            confirmed_shape = Add (given_shape, noise_fits)
            given = Reshape (noise, confirmed_shape)
        }
    >
}
"""


def refuse_onnx(network: MedSegDiff, opset: int) -> None:
    """Refuse what an ONNX file cannot hold: the opset, fusion or sampler; or a package that is missing."""
    missing = [name for name in ("onnx", "onnxscript", "onnxruntime") if not optional_import(name)[1]]
    if missing:
        raise InputError(f"ONNX files need {', '.join(missing)}: pip install 'medsegdiff_monai[export]'.")
    if opset not in _OPSETS:
        raise InputError(f"opset must be from {_OPSETS[0]} to {_OPSETS[-1]}, got {opset}.")
    network.check_for_onnx()


def export_onnx(network: MedSegDiff, path: Path, image_channels: int, spatial_dims: int, opset: int = 20) -> None:
    """Write a network as an ONNX file with its sampler and fusion inside.

    The inputs are ``image``, of shape ``(B, image_channels, *spatial)``, and ``noise``, of shape
    ``(B, N, C, *spatial)``, which may be left out: the file then draws it for the network's own number of members. The
    output is ``probability``, of shape ``(B, C, *spatial)``. B, N and the spatial size are free.

    Raises:
        InputError: see :func:`refuse_onnx`.
    """
    refuse_onnx(network, opset)
    import onnx

    device = next(network.parameters()).device
    spatial = [(i + 2) * network.divisor for i in range(spatial_dims)]
    image = torch.zeros(2, image_channels, *spatial, device=device)
    noise = torch.zeros(2, _MEMBERS, network.mask_channels, *spatial, device=device)
    shared = torch.export.Dim.DYNAMIC  # the axes of the noise that are the image's get their names from it
    shapes = {
        "image": {0: "batch", **{i + 2: _AXES[i] for i in range(spatial_dims)}},
        "noise": {0: shared, 1: "members", **{i + 3: shared for i in range(spatial_dims)}},
    }
    program = torch.onnx.export(
        network.eval(),
        (image, noise),
        input_names=["image", "noise"],
        output_names=["probability"],
        opset_version=opset,
        dynamo=True,
        dynamic_shapes=shapes,
        verbose=False,
    )
    if program is None:
        raise RuntimeError("torch.onnx.export gave no program.")
    model = program.model_proto
    _make_noise_optional(model, network.num_ensemble, network.mask_channels, network.divisor)
    del model.graph.value_info[:]  # sizes of what lies between are inferred by who needs them
    model.doc_string = (
        f"Image to probability of {network.mask_channels} masks: {len(network.timesteps)} steps of diffusion, "
        f"{network.num_ensemble} members where no noise is given. Spatial sizes are divisible by {network.divisor}."
    )
    onnx.checker.check_model(model)
    onnx.save(model, str(path))


def _make_noise_optional(model: Any, members: int, channels: int, divisor: int) -> None:
    """Let a model of image and noise draw noise that is not given, and refuse inputs that do not fit.

    An input that is also an initializer has that as its default: here noise of no elements, and an ``If`` on its size
    draws the noise for it. ONNX has no assertion; a ``Gather`` from a list of one element stands for one, at an index
    that is zero only where all is well. Its name is what a runtime shows in its message.
    """
    import onnx

    graph = model.graph
    rank = next(len(i.type.tensor_type.shape.dim) for i in graph.input if i.name == "image")
    for consumer in graph.node:
        for i, name in enumerate(consumer.input):
            if name in ("image", "noise"):
                consumer.input[i] = f"inputs/{name}"
    noise = f"float[?, ?, {channels}{', ?' * (rank - 2)}]"
    front = onnx.parser.parse_graph(_FRONT.replace("FLOATS", noise).replace("DIVISOR", str(divisor)))
    nodes = [*front.node, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    constants = {"divisor": [divisor], "allowed": [0], "none": 0, "members": [members], "channels": [channels]}
    for name, value in constants.items():
        graph.initializer.append(onnx.numpy_helper.from_array(np.array(value, dtype=np.int64), f"inputs/{name}"))
    no_noise = np.zeros((0, members, channels) + (0,) * (rank - 2), dtype=np.float32)
    graph.initializer.append(onnx.numpy_helper.from_array(no_noise, "noise"))


class OnnxNetwork:
    """An ONNX file under ONNX Runtime, called as the network is that it was made from."""

    def __init__(self, path: Path) -> None:
        onnxruntime, is_installed = optional_import("onnxruntime")
        if not is_installed:
            raise InputError("ONNX files are run by onnxruntime: pip install 'medsegdiff_monai[export]'.")
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4  # an error is raised, and need not be logged as well
        self.session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def __call__(self, image: torch.Tensor, noise: torch.Tensor | None = None) -> torch.Tensor:
        """Fused probability ``(B, C, *spatial)`` of an image ``(B, context_channels, *spatial)``.

        Noise, of shape ``(B, N, C, *spatial)``, is drawn by the file where it is not given.
        """
        feed = {"image": image.cpu().numpy()}
        if noise is not None:
            feed["noise"] = noise.cpu().numpy()
        return torch.from_numpy(self.session.run(["probability"], feed)[0])
