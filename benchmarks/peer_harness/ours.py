# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0


"""This project's own work: a bundle's network and inferer, in PyTorch or as a file for ONNX Runtime."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.bundle import ConfigParser

from medsegdiff_monai.apps.bundle import read_config
from medsegdiff_monai.data.phantoms import make_phantom
from medsegdiff_monai.handlers import load_weights
from medsegdiff_monai.utils import InputError

from .meter import EACH, ONCE, Meter
from .rows import CASES, Row
from .workload import Workload

__all__ = ["bundle_config", "image_of", "medsegdiff", "onnx", "parameters_of"]


def bundle_config(row: Row) -> ConfigParser:
    """The bundle's configuration of inference with the row's settings.

    Args:
        row: the row.
    """
    names = ["inference.json", *row.settings.get("overlays", [])]
    common = {"device": torch.device(row.device), "inferer#progress": False}
    parser = read_config(CASES[row.case].folder, names, **common)
    parser.update(row.settings.get("config", {}))
    if "window" in row.settings and not parser["slices"]:
        parser["patch_size"] = [row.settings["window"]] * 3
    return parser


def image_of(row: Row) -> torch.Tensor:
    """The image of a row: a phantom of zero mean and unit variance, of shape ``(1, context_channels, *spatial)``.

    It is the same for all methods, and has no background whose windows could be spared.
    """
    drawn = make_phantom(CASES[row.case].phantom, np.random.default_rng(0), row.size)[0].astype(np.float32)
    image = torch.from_numpy((drawn - drawn.mean()) / drawn.std())
    channels_last = image if image.dim() > len(row.size) else image[..., None]
    return channels_last.movedim(-1, 0)[None].contiguous().to(row.device)


def parameters_of(network: Any) -> int:
    """Number of a network's parameters."""
    return sum(p.numel() for p in network.parameters())


def _shorten(parser: ConfigParser, partial_steps: int | None) -> dict[str, Any]:
    """Let the inferer run a part of its steps and of its batches of members; what the whole are, as in ``Workload``."""
    if partial_steps is None:
        return {}
    whole = [parser["num_inference_steps"], parser["num_ensemble"]]
    part = [min(whole[0], partial_steps), min(whole[1], parser["member_batch_size"])]
    parser["num_inference_steps"], parser["num_ensemble"] = part
    return {"scale": math.prod(whole) / math.prod(part), "batches": math.ceil(whole[1] / part[1])}


def _in_slices(parser: ConfigParser, image: torch.Tensor) -> tuple[torch.Tensor, int]:
    """One slice of a volume and their number, for a network that takes volumes by slices; else the image and 1."""
    if not parser.get("slices", False):
        return image, 1
    parser["patch_size"] = [*image.shape[2:4], 1]
    middle = image.shape[4] // 2
    return image[..., middle : middle + 1], image.shape[4]


def _network(parser: ConfigParser, row: Row) -> Any:
    torch.manual_seed(0)
    network = parser.get_parsed_content("network_def").eval().to(row.device)
    if not row.settings.get("overlays"):  # an overlay is another network
        load_weights(network, parser.get_parsed_content("checkpoint"))
    return network


def medsegdiff(row: Row) -> Workload:
    """A bundle's answer with its uncertainty map, by its own inferer.

    Args:
        row: its settings are ``config`` (what is changed in the bundle's configuration), ``overlays`` (further files of
            its folder ``configs``), ``dtype`` (of autocast) and ``window`` (side of the windows of volumes).
    """
    parser = bundle_config(row)
    whole = _shorten(parser, row.partial_steps)
    image, parts = _in_slices(parser, image_of(row))
    network = _network(parser, row)
    inferer = parser.get_parsed_content("inferer")
    common: dict[str, Any] = {"parameters": parameters_of(network), "parts": parts, "device": row.device, **whole}
    meter = Meter(device=row.device)
    meter.watch(network.denoiser, "encode_image", ONCE)
    meter.watch(network.denoiser, "denoise", EACH)
    meter.watch_chain(inferer, "_chain")
    dtype = row.settings.get("dtype", "float32")

    def run() -> Any:
        with torch.autocast(torch.device(row.device).type, getattr(torch, dtype), enabled=dtype != "float32"):
            return inferer.predict(image, network).uncertainty

    return Workload(run, meter=meter, dtype=dtype, **common)


def onnx(row: Row) -> Workload:
    """A bundle's network as a file, sampler included, under ONNX Runtime.

    The file's first input is the image, its first output the probability; another input is the members' noise of shape
    ``(B, N, C, *spatial)``, which is drawn anew for each run as the inferer does.

    Args:
        row: its setting ``file`` is the file.

    Raises:
        InputError: when there is no file or no ONNX Runtime.
    """
    if not row.settings["file"] or not Path(row.settings["file"]).is_file():
        raise InputError("There is no file for ONNX Runtime: export the bundle's network_def and give it as --onnx.")
    try:
        import onnxruntime
    except ModuleNotFoundError as e:
        raise InputError("ONNX Runtime is not installed: pip install onnxruntime.") from e
    parser = bundle_config(row)
    network = parser.get_parsed_content("network_def").eval()
    inferer, image = parser.get_parsed_content("inferer"), image_of(row)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = row.threads
    session = onnxruntime.InferenceSession(row.settings["file"], options, providers=["CPUExecutionProvider"])
    # The noise is an input that need not be given, which ONNX Runtime lists apart.
    names = [i.name for i in (*session.get_inputs(), *session.get_overridable_initializers())]
    shape = (1, parser["num_ensemble"], parser["denoiser"]["in_channels"], *row.size)

    def run() -> Any:
        noise = {name: torch.randn(shape).numpy() for name in names[1:]}
        return session.run(None, {names[0]: image.numpy(), **noise})

    return Workload(
        run,
        parameters_of(network),
        evaluations=parser["num_inference_steps"] * parser["num_ensemble"],
        count=lambda: inferer.predict(image, network),
    )
