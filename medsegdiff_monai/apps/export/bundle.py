# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from monai.data import save_net_with_metadata
from tqdm import tqdm

from medsegdiff_monai.apps.bundle import Bundle
from medsegdiff_monai.apps.export.onnx_file import OnnxNetwork, export_onnx, refuse_onnx
from medsegdiff_monai.networks.nets import MedSegDiff
from medsegdiff_monai.utils import InputError, locked_folder, replace_atomically

__all__ = ["export_bundle", "export_torchscript"]

_FORMATS = (".onnx", ".ts")
_TOLERANCE = 1e-4  # in probability


def export_bundle(
    bundle: str,
    out: str,
    checkpoint: str | None = None,
    overlay: str | None = None,
    steps: int | None = None,
    members: int | None = None,
    opset: int = 20,
    device: str = "cpu",
) -> Path:
    """Write a bundle's network with its weights, sampler and fusion as one file, as the command does.

    MONAI's ``ckpt_export`` and ``onnx_export`` skip weights whose names do not match; here all must, and a file whose
    answer differs from the network's by more than 1e-4 is not kept.
    """
    path = Path(str(out))
    if path.suffix not in _FORMATS:
        raise InputError(f"The file to write must end in {' or '.join(_FORMATS)}, got {out}.")
    overlays = [overlay] if overlay else []
    opened = Bundle(bundle, overlays, checkpoint, device, num_inference_steps=steps, num_ensemble=members)
    if path.suffix == ".onnx":
        refuse_onnx(opened.get("network_def"), opset)
    network: Any = opened.network
    stated = opened.parser["_meta_"]["network_data_format"]["inputs"]["image"]  # of the bundle without an overlay
    channels = int(getattr(network.denoiser, "context_channels", stated["num_channels"]))
    dims = int(getattr(network.denoiser, "spatial_dims", len(stated["spatial_shape"])))

    def write(temporary: Path) -> None:
        exported: Callable[..., torch.Tensor]
        bar.set_postfix_str("writing the file")
        if path.suffix == ".onnx":
            export_onnx(network, temporary, channels, dims, opset)
            exported = OnnxNetwork(temporary)
        else:
            configs = {file.stem: json.loads(file.read_text(encoding="utf-8")) for file in opened.files}
            export_torchscript(network, temporary, opened.parser["_meta_"], configs)
            exported = torch.jit.load(str(temporary))
        bar.update()
        bar.set_postfix_str("comparing its answer")
        _compare(network, exported, channels, dims)
        bar.update()

    with locked_folder(path.parent), tqdm(total=2, desc="Exporting", unit="step") as bar:
        replace_atomically(path, write)
    return path


def export_torchscript(
    network: MedSegDiff, path: Path, metadata: Mapping[str, Any] | None = None, configs: Mapping[str, Any] | None = None
) -> None:
    """Write a network as a TorchScript file, which ``torch.jit.load`` runs without this package.

    Called with an image of shape ``(B, context_channels, *spatial)`` and, where it matters, the members' noise of shape
    ``(B, N, C, *spatial)``, the file gives the fused probability ``(B, C, *spatial)``. It holds what MONAI's
    ``ckpt_export`` adds, so MONAI Deploy takes it as a bundle; ``configs`` are those of the bundle by name.
    """
    scripted = torch.jit.script(network.eval())
    buffer = io.BytesIO()  # PyTorch's own writer ends the process where the disk is full
    save_net_with_metadata(
        scripted,
        buffer,
        include_config_vals=False,
        append_timestamp=False,
        meta_values=metadata,
        more_extra_files={f"{name}.json": json.dumps(text).encode() for name, text in (configs or {}).items()},
    )
    path.write_bytes(buffer.getbuffer())


def _compare(network: MedSegDiff, exported: Callable[..., torch.Tensor], channels: int, dims: int) -> None:
    """Refuse a file whose answer is not the network's, at a size and a batch that it was not made with."""
    device = next(network.parameters()).device
    generator = torch.Generator().manual_seed(0)
    spatial = [(3 - i % 2) * network.divisor for i in range(dims)]
    image = torch.randn(1, channels, *spatial, generator=generator).to(device)
    noise = torch.randn(1, 2, network.mask_channels, *spatial, generator=generator).to(device)
    answers = []
    for form in (network, exported):
        with torch.random.fork_rng(), torch.no_grad():
            torch.manual_seed(0)  # of samplers that draw noise at every step
            answers.append(form(image, noise).cpu())
    difference = float((answers[0] - answers[1]).abs().max())
    if not difference <= _TOLERANCE:
        raise InputError(
            f"The exported file's probability differs from the network's by {difference:.2g}, so it is not kept: take "
            "another --opset or the other format."
        )
