# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

import torch
from monai.losses import DiceLoss
from torch import nn

from medsegdiff_monai.utils import shared_mean, world_size

__all__ = ["MaskDenoisingLoss"]


class MaskDenoisingLoss(nn.Module):
    """Dice plus binary cross-entropy of predicted mask logits: the loss of the default recipe.

    With a region loss the very first denoising step already gives a segmentation network's answer. (The paper's
    recipe, Eq. 7, predicts the noise under ``torch.nn.MSELoss``.) Channels are independent regions, which may overlap.
    Under deep supervision the prediction of each coarser resolution counts half as much as the one before.
    The Dice loss is a mean over those cases and channels whose mask is not empty: an empty one has no overlap to
    gain, and is left to the cross-entropy.

    Args:
        dice_weight: weight of the soft Dice loss, computed over each case and channel; that of the cross-entropy is 1.

    Raises:
        ValueError: when the weight is negative.
    """

    def __init__(self, dice_weight: float = 1.0) -> None:
        super().__init__()
        if dice_weight < 0:
            raise ValueError(f"dice_weight must not be negative, got {dice_weight}.")
        self.dice_weight = dice_weight
        self.dice = DiceLoss(sigmoid=True, reduction="none")

    def forward(self, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """
        Args:
            logits: mask logits of shape ``(B, C, *spatial)``; ``(B, K, C, *spatial)`` under deep supervision.
            target: mask of shape ``(B, C, *spatial)`` in [0, 1].

        Returns:
            Scalar loss.
        """
        if logits.dim() == target.dim():
            return self._of_one(logits, target)
        count = logits.shape[1]
        losses = [self._of_one(logits[:, k], target) * 0.5**k for k in range(count)]
        return torch.stack(losses).sum() / (2.0 - 0.5 ** (count - 1))

    def _of_one(self, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        present = (target.flatten(2).amax(-1) > 0).to(logits.dtype)
        count = present.sum().clamp(min=1.0)
        if not torch.jit.is_scripting():
            # Over the masks of all processes, whose gradients are averaged: each divides by its share of them.
            count = shared_mean(present.sum()).clamp(min=1.0 / world_size())
        dice = (self.dice(logits, target).flatten(1) * present).sum() / count
        return self.dice_weight * dice + nn.functional.binary_cross_entropy_with_logits(logits, target)
