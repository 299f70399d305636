# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import torch

from medsegdiff_monai.networks.schedulers.linear_step import LinearStepScheduler

__all__ = ["DPMSolverScheduler"]


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
