# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import torch

from medsegdiff_monai.utils import InputError

__all__ = ["member_disagreement"]


def member_disagreement(members: torch.Tensor) -> float:
    """How much the members of an ensemble disagree about an image: 1 minus the mean Dice of all pairs of members.

    Overlap between samples tells the quality of a whole segmentation (Roy et al., MICCAI 2018, arXiv 1804.07046) and,
    unlike a mean over pixels, does not depend on how large the object is in the image. Members are masks at 0.5; two
    empty ones agree. The regions count alike.

    Args:
        members: probability of each member, of shape ``(N, C, *spatial)`` and in [0, 1].

    Returns:
        0 where all members are the same, 1 where none overlaps another.

    Raises:
        InputError: when there are less than two members.
    """
    if members.shape[0] < 2:
        raise InputError(f"At least 2 members are needed to tell how much they disagree, got {members.shape[0]}.")
    masks = (members > 0.5).flatten(2).transpose(0, 1).float()  # (C, N, V)
    volumes = masks.sum(-1)
    total = volumes[:, :, None] + volumes[:, None, :]
    overlap = masks @ masks.transpose(1, 2)
    dice = torch.where(total > 0, 2.0 * overlap / total.clamp(min=1.0), torch.ones_like(total))
    first, second = torch.triu_indices(masks.shape[1], masks.shape[1], offset=1).unbind()
    return 1.0 - float(dice[:, first, second].mean())
