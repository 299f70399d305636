# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

import os

import torch
import torch.distributed as dist


def process_rank() -> int:
    """Number of this process among those that work together; 0 where it works alone."""
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    """Number of processes that work together; 1 where this one works alone."""
    return dist.get_world_size() if dist.is_initialized() else 1


def is_main_process() -> bool:
    """Whether this is the process that reports and writes files."""
    return process_rank() == 0


def default_device() -> torch.device:
    """This process's GPU under ``torchrun``, else the first GPU, else the CPU."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))


def start_distributed(backend: str | None = None) -> None:
    """Join the processes that ``torchrun`` started, by ``"nccl"`` on GPUs and ``"gloo"`` elsewhere unless stated."""
    if torch.cuda.is_available():
        torch.cuda.set_device(default_device())
    if not dist.is_initialized():
        dist.init_process_group(backend or ("nccl" if torch.cuda.is_available() else "gloo"))


def stop_distributed() -> None:
    """Leave the group of processes, where there is one."""
    if dist.is_initialized():
        dist.destroy_process_group()


def shared_mean(value: torch.Tensor) -> torch.Tensor:
    """Mean over all processes of a number that each has on its device; no gradient flows through it."""
    mean = value.detach().clone()
    if world_size() > 1:
        dist.all_reduce(mean)
    return mean / world_size()


def shared_draw(shape: list[int], device: torch.device, normal: bool = True) -> torch.Tensor:
    """This process's share, of a shape with its number of cases first, of random numbers that all draw together.

    Every process draws the numbers of the whole batch from equally seeded generators. It keeps those of the cases that
    a ``DistributedSampler`` deals to it: two processes with batches of 4 train as one with batches of 8 does. Numbers
    that are not ``normal`` are uniform in [0, 1), in double precision.
    """
    whole = [shape[0] * world_size(), *shape[1:]]
    numbers = torch.randn(whole, device=device) if normal else torch.rand(whole, device=device, dtype=torch.float64)
    return numbers[process_rank() :: world_size()]
