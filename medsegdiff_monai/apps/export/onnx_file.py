# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from monai.utils import optional_import

from medsegdiff_monai.apps.export.optional_noise import make_noise_optional
from medsegdiff_monai.networks.nets import MedSegDiff
from medsegdiff_monai.utils import InputError

__all__ = ["OPSETS", "OnnxNetwork", "export_onnx", "refuse_onnx"]

OPSETS = (18, 19, 20, 21)  # below, the exporter does not write them; above, ONNX Runtime draws no noise
_AXES = ("height", "width", "depth")
_MEMBERS = 3  # of the example that is traced; any number may be given later


def refuse_onnx(network: MedSegDiff, opset: int) -> None:
    """Refuse what an ONNX file cannot hold, before time is spent on it.

    Args:
        network: the network.
        opset: version of ONNX's operators.

    Raises:
        InputError: when a package is missing, the opset is not supported, or the network's fusion or sampler is one
            that an ONNX file cannot hold.
    """
    missing = [name for name in ("onnx", "onnxscript", "onnxruntime") if not optional_import(name)[1]]
    if missing:
        raise InputError(f"ONNX files need {', '.join(missing)}: pip install 'medsegdiff_monai[export]'.")
    if opset not in OPSETS:
        raise InputError(f"opset must be from {OPSETS[0]} to {OPSETS[-1]}, got {opset}.")
    network.check_for_onnx()


def export_onnx(network: MedSegDiff, path: Path, image_channels: int, spatial_dims: int, opset: int = 20) -> None:
    """Write a network as an ONNX file with its sampler and fusion inside.

    The inputs are ``image``, of shape ``(B, image_channels, *spatial)``, and ``noise``, of shape
    ``(B, N, C, *spatial)``, which may be left out: the file then draws it for the network's own number of members. The
    output is ``probability``, of shape ``(B, C, *spatial)``. B, N and the spatial size are free.

    Args:
        network: the network, which is put into evaluation mode.
        path: file to write.
        image_channels: number of channels of the image.
        spatial_dims: number of spatial dimensions, 2 or 3.
        opset: version of ONNX's operators, one of ``OPSETS``.

    Raises:
        InputError: see :func:`refuse_onnx`.
    """
    refuse_onnx(network, opset)
    import onnx

    model = _traced(network.eval(), image_channels, spatial_dims, opset)
    make_noise_optional(model, network.num_ensemble, network.mask_channels, network.divisor)
    del model.graph.value_info[:]  # sizes of what lies between are inferred by who needs them
    model.doc_string = (
        f"Image to probability of {network.mask_channels} masks: {len(network.timesteps)} steps of diffusion, "
        f"{network.num_ensemble} members where no noise is given. Spatial sizes are divisible by {network.divisor}."
    )
    onnx.checker.check_model(model)
    onnx.save(model, str(path))


def _traced(network: MedSegDiff, image_channels: int, spatial_dims: int, opset: int) -> Any:
    """The network as an ONNX model of image and noise."""
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
        network,
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
    return program.model_proto


class OnnxNetwork:
    """An ONNX file under ONNX Runtime, called as the network is that it was made from.

    Args:
        path: the file.
        threads: number of threads; None leaves it to ONNX Runtime.

    Raises:
        InputError: when ONNX Runtime is not installed.
    """

    def __init__(self, path: Path, threads: int | None = None) -> None:
        onnxruntime, found = optional_import("onnxruntime")
        if not found:
            raise InputError("ONNX files are run by onnxruntime: pip install 'medsegdiff_monai[export]'.")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or 0
        options.log_severity_level = 4  # an error is raised, and need not be logged as well
        self.session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def __call__(self, image: torch.Tensor, noise: torch.Tensor | None = None) -> torch.Tensor:
        """Fused probability of shape ``(B, C, *spatial)``.

        Args:
            image: image of shape ``(B, context_channels, *spatial)``.
            noise: start of each member, of shape ``(B, N, C, *spatial)``; drawn by the file where it is not given.
        """
        feed = {"image": image.cpu().numpy()}
        if noise is not None:
            feed["noise"] = noise.cpu().numpy()
        return torch.from_numpy(self.session.run(["probability"], feed)[0])
