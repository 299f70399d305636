# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import torch

from medsegdiff_monai.utils.errors import InputError

__all__ = ["checked_device", "fast_cpu_dtype", "has_gpu"]


def checked_device(name: str) -> torch.device:
    """A device that a user has named.

    Args:
        name: such as ``"cpu"`` or ``"cuda:0"``.

    Raises:
        InputError: when there is no such device on this machine.
    """
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (AssertionError, RuntimeError) as e:  # the first where PyTorch was built without that kind of device
        raise InputError(f"There is no device {name} on this machine: choose another --device, such as cpu.") from e
    return device


def fast_cpu_dtype() -> str | None:
    """``"bfloat16"`` where the processor multiplies in it natively (AVX512-BF16 or AMX), else None.

    Training under autocast is faster on such a processor and far slower on any other.
    """
    has_bf16 = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return "bfloat16" if has_bf16 else None


def has_gpu(device: torch.device) -> bool:
    """Whether a device is a GPU, on which training runs in mixed precision."""
    return torch.device(device).type == "cuda"
