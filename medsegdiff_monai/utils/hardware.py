# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

import ctypes
import sys
from contextlib import suppress
from pathlib import Path

import psutil
import torch

from medsegdiff_monai.utils.errors import InputError

if sys.platform == "linux":
    import resource

_BYTES_A_VALUE = 6 * 4  # an image with its reading, preparing and results takes at most six of 32-bit numbers
_GROUP = Path("/sys/fs/cgroup")
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # of glibc's malloc.h
_KEPT_BYTES = 2**31 - 4096


def checked_device(name: str) -> torch.device:
    """A device that a user has named, such as ``"cuda:0"``; an ``InputError`` where this machine has none."""
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (AssertionError, RuntimeError) as e:  # the first where PyTorch was built without that kind of device
        raise InputError(f"There is no device {name} on this machine: choose another --device, such as cpu.") from e
    return device


def fast_cpu_dtype() -> str | None:
    """``"bfloat16"`` where the processor multiplies in it natively (AVX512-BF16 or AMX), as else it is far slower."""
    has_bf16 = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return "bfloat16" if has_bf16 else None


def has_gpu(device: torch.device) -> bool:
    """Whether a device is a GPU, on which training runs in mixed precision."""
    return torch.device(device).type == "cuda"


def keep_freed_memory() -> bool:
    """Let this process keep up to 2 GiB of the memory of freed tensors; False where the C library is not glibc.

    glibc else maps each block of more than 32 MiB anew, and the kernel fills its pages with zeros at each layer.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and bool(mallopt(_M_MMAP_MAX, 0)) and bool(mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES))


def return_freed_memory() -> None:
    """Give kept memory back to the system: after large images it lies in pieces that no other large tensor fits."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def free_memory() -> int:
    """Bytes that this process can still take: what the machine, its container and its own limit leave."""
    free = [int(psutil.virtual_memory().available)]
    with suppress(OSError, ValueError, KeyError):  # without a container, or with the word "max" for its limit
        limit, used = (int((_GROUP / f"memory.{name}").read_text(encoding="ascii")) for name in ("max", "current"))
        stated = dict(line.split() for line in (_GROUP / "memory.stat").read_text(encoding="ascii").splitlines())
        free.append(limit - used + int(stated["inactive_file"]))  # what caches files is given back when it is needed
    if sys.platform == "linux" and (limit := resource.getrlimit(resource.RLIMIT_AS)[0]) != resource.RLIM_INFINITY:
        free.append(limit - taken_memory())
    return max(0, min(free))


def taken_memory() -> int:
    """Bytes of address space that this process has."""
    return int(psutil.Process().memory_info().vms)


def check_memory(which: str, elements: int) -> None:
    """Refuse an image of so many elements, in all channels, whose results would not fit into the memory.

    ``which`` begins the sentence. It takes six 32-bit numbers an element.
    """
    needed, free = _BYTES_A_VALUE * elements, free_memory()
    if needed > free:
        raise InputError(
            f"{which} is too large for this machine: segmenting it takes up to {needed / 1e9:.1f} GB of memory beside "
            f"the network, and {free / 1e9:.1f} GB are free; free memory or resample it to fewer pixels."
        )
