# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from monai.data import save_net_with_metadata

from medsegdiff_monai.networks.nets import MedSegDiff

__all__ = ["export_torchscript"]


def export_torchscript(
    network: MedSegDiff,
    path: Path,
    metadata: Mapping[str, Any] | None = None,
    configs: Mapping[str, Any] | None = None,
) -> None:
    """Write a network as a TorchScript file, which ``torch.jit.load`` runs without this package.

    Called with an image of shape ``(B, context_channels, *spatial)`` and, where it matters, the members' noise of shape
    ``(B, N, C, *spatial)``, the file gives the fused probability ``(B, C, *spatial)``. It holds what MONAI's
    ``ckpt_export`` adds, so MONAI Deploy takes it as a bundle.

    Args:
        network: the network, which is put into evaluation mode.
        path: file to write.
        metadata: the bundle's metadata.
        configs: the bundle's configurations by their names without ending.
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
