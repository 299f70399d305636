# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from typing import Any

import torch
from torch import nn

from medsegdiff_monai.networks.fusion import FUSIONS, check_temperature, fuse_members, scale_temperature
from medsegdiff_monai.networks.schedulers import LinearStepScheduler, MaskScale, linear_step, predicted_original
from medsegdiff_monai.utils import InputError

__all__ = ["MedSegDiff"]


def _for_each_member(features: list[torch.Tensor], members: int) -> list[torch.Tensor]:
    """Features ``(B, ...)`` of images as those of their members, ``(B * members, ...)``.

    The exporter to ONNX makes ``repeat_interleave`` by a number that is not fixed wrong for batches of several images.
    """
    repeated: list[torch.Tensor] = []
    for f in features:
        shape = [f.shape[0], members] + list(f.shape[1:])  # noqa: RUF005 (scripts)
        repeated.append(f.unsqueeze(1).expand(shape).flatten(0, 1))
    return repeated


class MedSegDiff(nn.Module):
    """Image in, probability out: the denoiser with its sampler and fusion inside, as one network.

    The denoiser is what training optimises; everything else is fixed by the scheduler and has no weights, so one
    state dict serves training, inference and export. The sampler's steps are plain numbers that are known at
    construction: the network scripts, and on an accelerator no step waits for the host.

    Args:
        denoiser: network with ``encode_image``, ``denoise``, ``in_channels`` and ``divisor``, such as ``DCEUNet``.
        scheduler: sampler and noise schedule. With its prediction type ``"sample"`` the denoiser's output is taken
            as mask logits.
        num_inference_steps: number of sampler steps that ``forward`` takes.
        num_ensemble: number of members that ``forward`` fuses.
        fusion: ``"mean"``, ``"majority"`` or ``"staple"``.
        signal_scale: magnitude of the diffused mask, see :class:`MaskScale`.
        temperature: by which the logits of each member are divided before ``forward`` fuses them, see
            :func:`scale_temperature`.
        channels_last: whether the weights lie in memory with the channels last, which 2D convolutions on a CPU are
            faster with.

    Raises:
        InputError: when the fusion is unknown, or the number of steps or members or the temperature is out of range.

    Example:
        >>> from medsegdiff_monai.networks.nets import DCEUNet
        >>> from medsegdiff_monai.networks.schedulers import DPMSolverScheduler
        >>> denoiser = DCEUNet(2, 1, 1, 3, channels=(8, 16), num_res_blocks=1, fusion_levels=(False, True))
        >>> net = MedSegDiff(denoiser, DPMSolverScheduler(prediction_type="sample"), num_inference_steps=2)
        >>> with torch.no_grad():
        ...     net(torch.rand(1, 3, 32, 48)).shape
        torch.Size([1, 1, 32, 48])
    """

    def __init__(
        self,
        denoiser: Any,
        scheduler: LinearStepScheduler,
        num_inference_steps: int = 10,
        num_ensemble: int = 5,
        fusion: str = "mean",
        signal_scale: float = 1.0,
        temperature: float = 1.0,
        channels_last: bool = False,
    ) -> None:
        super().__init__()
        if fusion not in FUSIONS:
            raise InputError(f"fusion must be one of {', '.join(FUSIONS)}, got {fusion!r}.")
        if num_ensemble < 1:
            raise InputError(f"num_ensemble must be at least 1, got {num_ensemble}.")
        check_temperature(temperature)
        self.denoiser = denoiser
        self.mask_scale = MaskScale(signal_scale)
        self.fusion = fusion
        self.num_ensemble = num_ensemble
        self.temperature = float(temperature)
        self.prediction_type = scheduler.prediction_type
        self.divisor = int(denoiser.divisor)
        self.mask_channels = int(denoiser.in_channels)
        self.timesteps: list[int] = scheduler.spread(num_inference_steps)
        self.coefficients: list[list[float]] = scheduler.step_coefficients(self.timesteps).tolist()
        self.alphas_cumprod: list[float] = scheduler.alphas_cumprod.double().tolist()
        if channels_last:
            dims = max(p.dim() for p in self.denoiser.parameters())
            self.denoiser.to(memory_format=torch.channels_last_3d if dims == 5 else torch.channels_last)

    @torch.jit.export
    def encode_image(self, image: torch.Tensor) -> list[torch.Tensor]:
        """Features that all steps and members share, from an image of shape ``(B, context_channels, *spatial)``."""
        return self.denoiser.encode_image(image)

    @torch.jit.export
    def estimate(self, x: torch.Tensor, timestep: int, features: list[torch.Tensor]) -> torch.Tensor:
        """The denoiser's estimate of the diffused variable ``x_0``.

        Args:
            x: noisy mask of shape ``(B, C, *spatial)``.
            timestep: its timestep.
            features: what :meth:`encode_image` gave.
        """
        output = self.denoiser.denoise(x, torch.full((1,), timestep, device=x.device), features).float()
        if output.dim() > x.dim():
            output = output[:, 0]  # the finest of several, in training mode under deep supervision
        if self.prediction_type == "sample":
            return self.mask_scale.from_logits(output)
        abar = self.alphas_cumprod[timestep]
        original = predicted_original(output, x, abar**0.5, (1.0 - abar) ** 0.5, self.prediction_type)
        return original.clamp(-self.mask_scale.scale, self.mask_scale.scale)

    @torch.jit.export
    def step(
        self,
        x: torch.Tensor,
        previous_original: torch.Tensor,
        timestep: int,
        coefficients: list[float],
        features: list[torch.Tensor],
        noise: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """One step of a sampler.

        Args:
            x: noisy mask of shape ``(B, C, *spatial)``.
            previous_original: estimate of ``x_0`` at the step before, of the same shape.
            timestep: timestep of ``x``.
            coefficients: the four numbers of the step, see :func:`linear_step`.
            features: what :meth:`encode_image` gave.
            noise: fresh noise, for samplers that need it.

        Returns:
            The mask at the next timestep and the estimate of ``x_0`` at this one.
        """
        original = self.estimate(x, timestep, features)
        return linear_step(coefficients, x, original, previous_original, noise), original

    @torch.jit.export
    def decode(self, x: torch.Tensor) -> torch.Tensor:
        """Diffused variable, of any shape, to probability in [0, 1]."""
        return self.mask_scale.decode(x)

    def forward(self, image: torch.Tensor, noise: torch.Tensor | None = None) -> torch.Tensor:
        """
        Args:
            image: image of shape ``(B, context_channels, *spatial)``.
            noise: the Gaussian start of each member, of shape ``(B, N, C, *spatial)``; drawn from the global
                generator where it is not given.

        Returns:
            Fused probability of shape ``(B, C, *spatial)`` in [0, 1].

        Raises:
            ValueError: when the image does not fit the network or the noise does not fit the image.
            InputError: when an ONNX file is made that cannot hold the network, see :meth:`check_for_onnx`.
        """
        if not torch.jit.is_scripting():  # noqa: SIM102 (of one condition both parts would be scripted)
            if torch.onnx.is_in_onnx_export():
                self.check_for_onnx()
        if noise is None:
            shape = [image.shape[0], self.num_ensemble, self.mask_channels] + list(image.shape[2:])  # noqa: RUF005 (scripts)
            noise = torch.randn(shape, device=image.device)
        self._check_noise(noise, image)
        members = noise.shape[1]
        features = _for_each_member(self.encode_image(image), members)
        x = noise.flatten(0, 1)
        previous = x
        for timestep, coefficients in zip(self.timesteps, self.coefficients):
            fresh = torch.randn_like(x) if coefficients[3] != 0.0 else None
            x, previous = self.step(x, previous, timestep, coefficients, features, fresh)
        return fuse_members(scale_temperature(self.decode(x), self.temperature).reshape(noise.shape), self.fusion)

    @torch.jit.unused
    def check_for_onnx(self) -> None:
        """Refuse what an ONNX file cannot hold.

        Raises:
            InputError: when the fusion is STAPLE or the sampler draws noise at every step.
        """
        if self.fusion == "staple":
            raise InputError(
                "STAPLE iterates until it converges, which an ONNX file cannot: take the fusion mean or majority, or "
                "export to TorchScript."
            )
        if any(coefficients[3] != 0.0 for coefficients in self.coefficients):
            raise InputError(
                "The sampler draws noise at every step, which no one could give to an ONNX file to check its answer: "
                "take a sampler that draws it once, such as DPMSolverScheduler, or export to TorchScript."
            )

    def _check_noise(self, noise: torch.Tensor, image: torch.Tensor) -> None:
        spatial = list(image.shape[2:])
        fits = noise.dim() == len(spatial) + 3 and noise.shape[0] == image.shape[0]
        if not fits or list(noise.shape[2:]) != [self.mask_channels] + spatial:  # noqa: RUF005 (scripts)
            raise ValueError(
                f"The noise must have shape (batch, members, {self.mask_channels}, *spatial) with the batch and the "
                f"spatial size of the image, got {noise.shape} for an image of {image.shape}."
            )
