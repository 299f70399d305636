# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from typing import Any

import torch

from medsegdiff_monai.networks.schedulers.linear_step import LinearStepScheduler

__all__ = ["DDIMSubsequenceScheduler", "DDPMSubsequenceScheduler", "DPMSolverScheduler"]


class DDIMSubsequenceScheduler(LinearStepScheduler):
    """DDIM on any subsequence of the trained timesteps.

    Eqs. 12 and 16 of Song et al., "Denoising Diffusion Implicit Models", https://arxiv.org/abs/2010.02502. MONAI's
    ``DDIMScheduler`` spreads its timesteps in one way and steps in another; here each step goes from a member of the
    chain to the next, whatever the chain.

    Args:
        args: positional arguments of :class:`LinearStepScheduler`.
        eta: share of fresh noise: 0 is deterministic, 1 is ancestral sampling.
        kwargs: keyword arguments of :class:`LinearStepScheduler`.

    Raises:
        ValueError: when ``eta`` is not within [0, 1].
    """

    def __init__(self, *args: Any, eta: float = 0.0, **kwargs: Any) -> None:
        if not 0.0 <= eta <= 1.0:
            raise ValueError(f"eta must be within 0 and 1, got {eta}.")
        self.eta = eta
        super().__init__(*args, **kwargs)

    def _coefficients(self, alpha: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        alpha_s, alpha_t, sigma_s, sigma_t = alpha[:-1], alpha[1:], sigma[:-1], sigma[1:]
        # Eq. 16: the standard deviation of the noise, eta times that of the posterior q(x_t | x_s, x_0).
        deviation = self.eta * sigma_t / sigma_s * (1.0 - (alpha_s / alpha_t) ** 2).clamp(min=0.0).sqrt()
        # Eq. 12 with eps = (x_s - alpha_s x_0) / sigma_s.
        direction = (sigma_t**2 - deviation**2).clamp(min=0.0).sqrt() / sigma_s
        zero = torch.zeros_like(direction)
        return torch.stack([direction, alpha_t - direction * alpha_s, zero, deviation], dim=1)


class DDPMSubsequenceScheduler(DDIMSubsequenceScheduler):
    """Ancestral sampling (Ho et al. 2020, https://arxiv.org/abs/2006.11239) on any subsequence of the timesteps.

    The posterior ``q(x_t | x_s, x_0)`` between two members of the chain is that of the schedule with the members'
    ``abar`` (Nichol and Dhariwal, https://arxiv.org/abs/2102.09672, Section 4): DDIM's step at ``eta = 1``.

    Args:
        args: positional arguments of :class:`LinearStepScheduler`.
        kwargs: keyword arguments of :class:`LinearStepScheduler`.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, eta=1.0, **kwargs)


class DPMSolverScheduler(LinearStepScheduler):
    """DPM-Solver++(2M): a deterministic second-order multistep solver of the diffusion ODE.

    Algorithm 2 of Lu et al., "DPM-Solver++: Fast Solver for Guided Sampling of Diffusion Probabilistic Models",
    https://arxiv.org/abs/2211.01095. It needs one network evaluation a step; ten to twenty steps do what hundreds of
    ancestral ones do. The first step and the last one, which ends at ``sigma = 0``, are of first order.

    See :class:`LinearStepScheduler` for the arguments.

    Example:
        >>> scheduler = DPMSolverScheduler(num_train_timesteps=1000, prediction_type="sample")
        >>> scheduler.spread(4)
        [999, 603, 73, 0]
        >>> scheduler.step_coefficients([999, 0]).shape  # of each step, four numbers
        torch.Size([2, 4])
    """

    def _coefficients(self, alpha: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        log_snr = torch.log(alpha[:-1]) - torch.log(sigma[:-1])  # lambda; the end, sigma = 0, is at infinity
        h = log_snr.diff()
        table = torch.zeros(len(alpha) - 1, 4, dtype=torch.float64)
        table[-1, 1] = 1.0  # x = x_0, the limit of the first-order step for h to infinity
        for i in range(len(h)):
            # x_t = sigma_t / sigma_s x_s - alpha_t (exp(-h) - 1) D
            table[i, 0] = sigma[i + 1] / sigma[i]
            weight = -alpha[i + 1] * torch.expm1(-h[i])
            # D = (1 + 1 / 2r) x_0 - 1 / 2r x_0_previous with r = h_previous / h
            extrapolation = 0.5 * h[i] / h[i - 1] if i > 0 else torch.tensor(0.0)
            table[i, 1] = weight * (1.0 + extrapolation)
            table[i, 2] = -weight * extrapolation
        return table
