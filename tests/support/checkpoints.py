# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

"""What the tests of checkpoints share."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn


def network(seed: int = 0, width: int = 3) -> nn.Sequential:
    """A small network with seeded weights."""
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, width), nn.Dropout(0.5), nn.Linear(width, 1))


def copied(module: nn.Module) -> dict[str, torch.Tensor]:
    """The weights as they are now."""
    return {k: v.clone() for k, v in module.state_dict().items()}


def equal(a: Any, b: Any) -> bool:
    """Whether two contents of a checkpoint are the same, to the last bit."""
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(equal, a, b))
    return torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b
