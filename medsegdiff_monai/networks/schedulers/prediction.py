# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

import torch

__all__ = ["MaskScale", "predicted_original"]


def predicted_original(
    model_output: torch.Tensor, sample: torch.Tensor, alpha: float, sigma: float, prediction_type: str
) -> torch.Tensor:
    """The estimate of ``x_0`` that a prediction of noise, velocity or ``x_0`` amounts to.

    With ``x_t = alpha x_0 + sigma eps``: ``eps`` (Ho et al. 2020) gives ``x_0 = (x_t - sigma eps) / alpha``; the
    velocity ``v = alpha eps - sigma x_0`` (Salimans and Ho 2022) gives ``x_0 = alpha x_t - sigma v``.

    Args:
        model_output: prediction, of the shape of ``sample``.
        sample: ``x_t``, of any shape.
        alpha: ``sqrt(abar_t)``.
        sigma: ``sqrt(1 - abar_t)``.
        prediction_type: ``"epsilon"``, ``"v_prediction"`` or ``"sample"``.

    Raises:
        ValueError: when there is no such prediction type.
    """
    if prediction_type == "epsilon":
        return (sample - sigma * model_output) / alpha
    if prediction_type == "v_prediction":
        return alpha * sample - sigma * model_output
    if prediction_type == "sample":
        return model_output
    raise ValueError(f"prediction_type must be 'epsilon', 'v_prediction' or 'sample', got {prediction_type}.")


class MaskScale(torch.nn.Module):
    """The one place where masks in [0, 1] become the diffused variable in [-scale, scale], and back.

    A binary mask is so redundant that at a usual schedule most timesteps leave it in plain sight. A scale below 1
    lowers the signal-to-noise ratio of every timestep alike (Chen et al., https://arxiv.org/abs/2210.06366 and
    https://arxiv.org/abs/2301.10972).

    Args:
        scale: magnitude of the diffused variable, positive.

    Raises:
        ValueError: when ``scale`` is not positive.
    """

    def __init__(self, scale: float) -> None:
        super().__init__()
        if not scale > 0:
            raise ValueError(f"The signal scale must be positive, got {scale}.")
        self.scale = float(scale)

    def encode(self, mask: torch.Tensor) -> torch.Tensor:
        """Mask in [0, 1], of any shape, to the diffused variable."""
        return mask * (2.0 * self.scale) - self.scale

    def decode(self, original: torch.Tensor) -> torch.Tensor:
        """Diffused variable, of any shape, to a mask in [0, 1]."""
        return (0.5 * original / self.scale + 0.5).clamp(0.0, 1.0)

    def from_logits(self, logits: torch.Tensor) -> torch.Tensor:
        """Logits of the mask, of any shape, to the diffused variable."""
        return self.encode(torch.sigmoid(logits))
