# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

import logging
from typing import Any

import torch
from monai.inferers import DiffusionInferer

from medsegdiff_monai.networks.schedulers import LinearStepScheduler, MaskScale
from medsegdiff_monai.utils import shared_draw

__all__ = ["DiffusionTrainingInferer"]

logger = logging.getLogger(__name__)


class DiffusionTrainingInferer(DiffusionInferer):
    """MONAI's diffusion forward pass for training, with recycling of the network's own estimates.

    A network that has only seen ``x_t`` made from true masks loses accuracy at each sampler step, where ``x_t`` is
    made from its own estimates. With a given probability, ``x_t`` of a batch is therefore built from the network's
    estimate at ``t = T`` from pure noise, while the target stays the true mask (compare the second pass of
    self-conditioning, Chen et al., https://arxiv.org/abs/2208.04202). Its timesteps are drawn anew, from all alike: an
    ``x_t`` that shows an estimate is worth training on at low noise as well, where the truth would leave nothing to do.

    Args:
        scheduler: noise schedule and prediction type; its ``"sample"`` stands for mask logits.
        signal_scale: magnitude of the diffused mask.
        recycling_probability: share of the batches that are recycled; 0 is plain diffusion training. It needs the
            prediction type ``"sample"``, whose target does not depend on what ``x_t`` was made from.
        amp_dtype: where given, forward passes on a CPU run under autocast to this type ("bfloat16"), except those
            that PyTorch gets wrong. On a GPU the trainer's own ``amp`` does this.

    Raises:
        ValueError: when the probability is not within [0, 1], or the prediction type does not allow recycling.
    """

    def __init__(
        self,
        scheduler: LinearStepScheduler,
        signal_scale: float = 1.0,
        recycling_probability: float = 0.0,
        amp_dtype: str | None = None,
    ) -> None:
        super().__init__(scheduler)
        self.prediction_type = scheduler.prediction_type
        if not 0.0 <= recycling_probability <= 1.0:
            raise ValueError(f"recycling_probability must be within 0 and 1, got {recycling_probability}.")
        if recycling_probability > 0 and self.prediction_type != "sample":
            raise ValueError(
                f"recycling_probability must be 0 with prediction type {self.prediction_type}: recycling needs sample."
            )
        self.mask_scale = MaskScale(signal_scale)
        self.recycling_probability = recycling_probability
        self.amp_dtype = None if amp_dtype is None else getattr(torch, amp_dtype)
        self.warned = False

    def __call__(  # type: ignore[override]
        self,
        inputs: torch.Tensor,
        diffusion_model: Any,
        noise: torch.Tensor,
        timesteps: torch.Tensor,
        condition: torch.Tensor,
        **kwargs: Any,
    ) -> torch.Tensor:
        """
        Args:
            inputs: diffused variable ``x_0`` of shape ``(B, C, *spatial)``.
            diffusion_model: denoiser, called as ``diffusion_model(x, timesteps=t, context=condition)``.
            noise: Gaussian noise of the shape of ``inputs``.
            timesteps: timestep of each case, of shape ``(B,)``.
            condition: image of shape ``(B, context_channels, *spatial)``.
            kwargs: further arguments of MONAI's ``DiffusionInferer``.

        Returns:
            The prediction in float32, of shape ``(B, C, *spatial)``; ``(B, K, C, *spatial)`` under deep supervision.
        """
        enabled = self.amp_dtype is not None and inputs.device.type == "cpu" and self._is_right(inputs, diffusion_model)
        autocast = torch.autocast("cpu", self.amp_dtype, enabled=enabled)
        with autocast:
            if self.recycling_probability > 0 and float(torch.rand(())) < self.recycling_probability:
                inputs = self._own_estimate(inputs, diffusion_model, condition)
                share = shared_draw([len(inputs)], inputs.device, normal=False)
                timesteps = (share * self.scheduler.num_train_timesteps).long()
            return super().__call__(inputs, diffusion_model, noise, timesteps, condition, **kwargs).float()

    def _is_right(self, inputs: torch.Tensor, model: Any) -> bool:
        """Whether the CPU's reduced precision can be relied on for the network's feature maps.

        PyTorch 2.13 leaves the weights' gradient of a 3D convolution of width 3 in bfloat16 unset, that is random
        memory, where the feature map is 2 voxels deep (its first spatial axis).
        """
        if inputs.dim() != 5:
            return True
        divisor = int(getattr(getattr(model, "module", model), "divisor", 1))
        depths = [inputs.shape[2] // 2**level for level in range(divisor.bit_length())]
        if 2 in depths and not self.warned:
            logger.warning("Training in float32: bfloat16 is not right for patches of %d voxels.", inputs.shape[2])
            self.warned = True
        return 2 not in depths

    @torch.no_grad()
    def _own_estimate(self, inputs: torch.Tensor, model: Any, condition: torch.Tensor) -> torch.Tensor:
        last = self.scheduler.num_train_timesteps - 1
        x = shared_draw(list(inputs.shape), inputs.device).to(inputs.dtype)
        timesteps = torch.full((inputs.shape[0],), last, device=inputs.device)
        logits = model(x=x, timesteps=timesteps, context=condition).float()
        finest = logits if logits.dim() == inputs.dim() else logits[:, 0]  # of several under deep supervision
        return self.mask_scale.from_logits(finest)
