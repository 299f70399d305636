# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

import itertools
from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from monai.networks.schedulers import Scheduler
from monai.networks.schedulers.ddpm import DDPMPredictionType

from medsegdiff_monai.networks.schedulers.prediction import predicted_original
from medsegdiff_monai.utils import InputError

__all__ = ["LinearStepScheduler", "linear_step", "log_snr_timesteps"]

SPACINGS = ("log_snr", "uniform")


def linear_step(
    coefficients: list[float],
    sample: torch.Tensor,
    original: torch.Tensor,
    previous_original: torch.Tensor,
    noise: torch.Tensor | None,
) -> torch.Tensor:
    """One step of any of our samplers: ``c0 x + c1 x0 + c2 x0_previous + c3 noise``.

    Args:
        coefficients: ``(c0, c1, c2, c3)`` of the step.
        sample: ``x``, of any shape.
        original: estimate of ``x_0`` at this step.
        previous_original: estimate of ``x_0`` at the step before (unused where ``c2`` is 0).
        noise: Gaussian noise of the same shape; None where ``c3`` is 0.
    """
    result = coefficients[1] * original
    if coefficients[0] != 0.0:
        result = torch.add(result, sample, alpha=coefficients[0])
    if coefficients[2] != 0.0:
        result = torch.add(result, previous_original, alpha=coefficients[2])
    if noise is not None:
        result = torch.add(result, noise, alpha=coefficients[3])
    return result


def log_snr_timesteps(alphas_cumprod: torch.Tensor, num_steps: int) -> list[int]:
    """Timesteps that are as near to uniform in log-SNR as distinct integers can be, from the last one down to 0.

    With many steps, neighbours would round to the same timestep, over which a step has no length; they are moved to
    the nearest free one.

    Args:
        alphas_cumprod: ``abar_t``, of shape ``(T,)``.
        num_steps: number of timesteps, 1 to T.
    """
    last = len(alphas_cumprod) - 1
    abar = alphas_cumprod.double()
    log_snr = torch.log(abar) - torch.log1p(-abar)
    wanted = torch.linspace(float(log_snr[last]), float(log_snr[0]), num_steps, dtype=torch.float64)
    steps = [int(torch.argmin((log_snr - value).abs())) for value in wanted]
    steps[0] = last
    for i in range(1, num_steps):
        steps[i] = min(steps[i], steps[i - 1] - 1)
    return [max(t, num_steps - 1 - i) for i, t in enumerate(steps)]


class LinearStepScheduler(Scheduler, ABC):
    """Base of the samplers whose steps are linear in ``x_t``, the estimates of ``x_0`` and fresh noise.

    A step is four numbers that are known before sampling starts (:meth:`step_coefficients`), so the very same numbers
    drive this class's :meth:`step` (MONAI's calling convention), the inferer, and the exported network. Any strictly
    falling subsequence of the trained timesteps is a valid chain: the steps use the schedule's own values at its
    members.

    Args:
        num_train_timesteps: number of timesteps that the network was trained with.
        schedule: name of a noise schedule of MONAI's ``NoiseSchedules``.
        prediction_type: what the network predicts: ``"epsilon"``, ``"v_prediction"`` or ``"sample"``.
        timestep_spacing: ``"log_snr"`` or ``"uniform"``: how :meth:`set_timesteps` spreads the steps.
        clip_sample: whether estimates of ``x_0`` are clipped to ``[clip_sample_min, clip_sample_max]``.
        clip_sample_min: lower end of the clipping.
        clip_sample_max: upper end of the clipping.
        schedule_args: further arguments of the noise schedule, such as ``beta_start`` and ``beta_end``.

    Raises:
        ValueError: when there is no such prediction type or spacing.
    """

    def __init__(
        self,
        num_train_timesteps: int = 1000,
        schedule: str = "linear_beta",
        prediction_type: str = DDPMPredictionType.EPSILON,
        timestep_spacing: str = "log_snr",
        clip_sample: bool = False,
        clip_sample_min: float = -1.0,
        clip_sample_max: float = 1.0,
        **schedule_args: float,
    ) -> None:
        super().__init__(num_train_timesteps, schedule, **schedule_args)
        if prediction_type not in DDPMPredictionType.__members__.values():
            raise ValueError(
                f"prediction_type must be one of {', '.join(DDPMPredictionType)}, got {prediction_type!r}."
            )
        if timestep_spacing not in SPACINGS:
            raise ValueError(f"timestep_spacing must be one of {', '.join(SPACINGS)}, got {timestep_spacing!r}.")
        self.prediction_type = str(prediction_type)
        self.timestep_spacing = timestep_spacing
        self.clip_sample = clip_sample
        self.clip_sample_values = (clip_sample_min, clip_sample_max)
        self.previous_original: torch.Tensor | None = None
        self.set_timesteps(num_train_timesteps)

    def set_timesteps(
        self,
        num_inference_steps: int | None = None,
        device: str | torch.device | None = None,
        timesteps: Sequence[int] | None = None,
    ) -> None:
        """Choose the chain that :meth:`step` walks, and forget the history of the last one.

        Args:
            num_inference_steps: number of steps, spread by the spacing.
            device: device of ``self.timesteps``.
            timesteps: the timesteps themselves, strictly falling, in place of their number.

        Raises:
            ValueError: when there are no steps or more than were trained, or ``timesteps`` do not fall.
        """
        if timesteps is None:
            timesteps = self.spread(self.num_train_timesteps if num_inference_steps is None else num_inference_steps)
        self.timesteps = torch.tensor(list(timesteps), dtype=torch.int64, device=device)
        self.num_inference_steps = len(timesteps)
        self.coefficients: list[list[float]] = self.step_coefficients(timesteps).tolist()
        self._index = {int(t): i for i, t in enumerate(timesteps)}
        self.previous_original = None

    def spread(self, num_steps: int) -> list[int]:
        """``num_steps`` timesteps from the last trained one downwards.

        Raises:
            InputError: when ``num_steps`` is below 1 or above the number of trained timesteps.
        """
        if not 1 <= num_steps <= self.num_train_timesteps:
            raise InputError(
                f"num_inference_steps must be between 1 and the schedule's {self.num_train_timesteps} trained "
                f"timesteps, got {num_steps}."
            )
        if self.timestep_spacing == "log_snr":
            return log_snr_timesteps(self.alphas_cumprod, num_steps)
        last = self.num_train_timesteps - 1
        return [round(last * (1.0 - i / max(num_steps - 1, 1))) for i in range(num_steps)]

    def step_coefficients(self, timesteps: Sequence[int]) -> torch.Tensor:
        """Coefficients of :func:`linear_step` for each step of a chain, computed in double precision.

        Args:
            timesteps: strictly falling timesteps. The last step ends at ``abar = 1``, without noise.

        Returns:
            Tensor of shape ``(len(timesteps), 4)``.

        Raises:
            ValueError: when the timesteps do not fall or are not in the schedule.
        """
        chain = [int(t) for t in timesteps]
        if not chain or any(a <= b for a, b in itertools.pairwise(chain)):
            raise ValueError(f"timesteps must be strictly falling, got {chain}.")
        if chain[0] >= self.num_train_timesteps or chain[-1] < 0:
            raise ValueError(f"timesteps must be within 0 and {self.num_train_timesteps - 1}, got {chain}.")
        abar = torch.cat([self.alphas_cumprod.cpu().double()[chain], torch.ones(1, dtype=torch.float64)])
        return self._coefficients(abar.sqrt(), (1.0 - abar).sqrt())

    @abstractmethod
    def _coefficients(self, alpha: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        """Coefficients ``(n, 4)`` of a chain of ``n`` steps between ``n + 1`` values of alpha and sigma."""

    def add_noise(self, original_samples: torch.Tensor, noise: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor:
        """See MONAI's ``Scheduler``, which would leave the schedule in the dtype of these samples for good."""
        schedule = self.alphas_cumprod
        result = super().add_noise(original_samples, noise, timesteps)
        self.alphas_cumprod = schedule
        return result

    def get_velocity(self, sample: torch.Tensor, noise: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor:
        """See MONAI's ``Scheduler``, which would leave the schedule in the dtype of this sample for good."""
        schedule = self.alphas_cumprod
        result = super().get_velocity(sample, noise, timesteps)
        self.alphas_cumprod = schedule
        return result

    def step(
        self,
        model_output: torch.Tensor,
        timestep: int | torch.Tensor,
        sample: torch.Tensor,
        generator: torch.Generator | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """One step of the chain that :meth:`set_timesteps` chose.

        Args:
            model_output: prediction at ``sample``, of the same shape.
            timestep: timestep of ``sample``.
            sample: ``x_t`` of shape ``(B, C, *spatial)``.
            generator: random generator of the samplers that add noise.

        Returns:
            The sample at the next timestep of the chain and the estimate of ``x_0``, both of the shape of ``sample``.

        Raises:
            ValueError: when the timestep is not in the chain.
        """
        t = int(timestep)
        if t not in self._index:
            raise ValueError(f"Timestep {t} is not in the chain {list(self._index)}: call set_timesteps first.")
        index = self._index[t]
        abar = float(self.alphas_cumprod[t])
        original = predicted_original(model_output, sample, abar**0.5, (1.0 - abar) ** 0.5, self.prediction_type)
        if self.clip_sample:
            original = original.clamp(*self.clip_sample_values)
        previous = self.previous_original if index > 0 and self.previous_original is not None else original
        noise = None
        if self.coefficients[index][3] != 0.0:
            noise = torch.randn(sample.shape, generator=generator, dtype=sample.dtype, device=sample.device)
        self.previous_original = original
        return linear_step(self.coefficients[index], sample, original, previous, noise), original
