# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from monai.inferers import Inferer, sliding_window_inference
from monai.utils import convert_to_dst_type
from torch import nn

from medsegdiff_monai.inferers.ensemble import EnsembleStatistics
from medsegdiff_monai.inferers.members import MemberSampler, member_noise
from medsegdiff_monai.inferers.prediction import SegmentationPrediction, fuse_statistics
from medsegdiff_monai.inferers.windows import WindowPredictor
from medsegdiff_monai.networks.fusion import FUSIONS, check_temperature, temper
from medsegdiff_monai.networks.nets import CompiledDenoiser, ContextDenoiser, MedSegDiff
from medsegdiff_monai.networks.schedulers import LinearStepScheduler
from medsegdiff_monai.utils import InputError

__all__ = ["DiffusionSegmentationInferer"]


class DiffusionSegmentationInferer(Inferer):
    """Segment images by sampling masks from a diffusion model and fusing them.

    Works on a :class:`MedSegDiff`, on its scripted form (also one loaded from a file), or on a bare denoiser of the
    calling convention ``network(x, timesteps, context)``; the scheduler, the steps and the members are those of this
    inferer. Sizes that the network cannot take are padded and cropped again.

    Args:
        scheduler: sampler and noise schedule that the network was trained with.
        num_inference_steps: number of network evaluations of each member.
        num_ensemble: number of members.
        fusion: ``"mean"``, ``"majority"`` or ``"staple"``, see :func:`fuse_members`.
        roi_size: window size for images that are processed in windows; None takes the image whole. Each window is a
            full sampling of the ensemble, from one field of noise for the whole image.
        signal_scale: magnitude of the diffused mask.
        member_batch_size: number of members that run as one batch; None for all.
        seed: seed of the members. Member ``m`` starts from the same noise for every image and whatever the batch
            sizes; None draws it anew each time.
        progress: whether to show a progress bar over the network evaluations, or over the windows of a volume.
        sw_batch_size: number of windows that run as one batch.
        overlap: share by which neighbouring windows overlap.
        mode: blending of the windows, ``"constant"`` or ``"gaussian"``.
        slices: whether the network is 2D and takes volumes slice by slice; ``roi_size`` is then ``(X, Y, 1)``.
        background_value: value that an image has in all channels where there is nothing to segment: windows of nothing
            else get probability 0 without being looked at. None looks at every window.
        amp_dtype: reduced precision of the network under autocast, as ``"bfloat16"``; None for full precision.
        compile_mode: mode in which the network runs through ``torch.compile``, as ``"default"``, or
            ``"reduce-overhead"`` for CUDA graphs on a GPU; None runs it as it is. The first image then takes minutes.
        shared_start: whether all members take their first step, at which the noisy mask tells nothing, from one
            estimate: ``num_ensemble - 1`` network evaluations less.
        member_tolerance: members are drawn in batches of ``member_batch_size`` until the mask of each has a Dice of at
            least ``1 - member_tolerance`` with the mask of their mean, from two members on; None draws all.
        temperature: by which the logits of each member are divided; 1 leaves them.
        stream_members: whether a volume in windows is gone through anew for each batch of ``member_batch_size``
            members, so that no more of them are in memory; the image's features are then computed as often.
        channels_last: whether the network runs with the channels of its maps last in memory, which 2D convolutions on
            a CPU are faster with. The network keeps that layout.

    Raises:
        InputError: when a number is out of range, the fusion is unknown, members of windows are to end early, or
            members that share their start are to be streamed.
        ValueError: when ``slices`` is asked for without such a ``roi_size``.
    """

    def __init__(
        self,
        scheduler: LinearStepScheduler,
        num_inference_steps: int = 10,
        num_ensemble: int = 5,
        fusion: str = "mean",
        roi_size: Sequence[int] | int | None = None,
        signal_scale: float = 1.0,
        member_batch_size: int | None = None,
        seed: int | None = 0,
        progress: bool = False,
        sw_batch_size: int = 1,
        overlap: float = 0.25,
        mode: str = "gaussian",
        slices: bool = False,
        background_value: float | None = None,
        amp_dtype: str | None = None,
        compile_mode: str | None = None,
        shared_start: bool = False,
        member_tolerance: float | None = None,
        temperature: float = 1.0,
        stream_members: bool = False,
        channels_last: bool = False,
    ) -> None:
        super().__init__()
        if fusion not in FUSIONS:
            raise InputError(f"fusion must be one of {', '.join(FUSIONS)}, got {fusion!r}.")
        for name, value in (("num_ensemble", num_ensemble), ("member_batch_size", member_batch_size)):
            if value is not None and value < 1:
                raise InputError(f"{name} must be at least 1, got {value}.")
        if member_tolerance is not None and not 0.0 <= member_tolerance < 1.0:
            raise InputError(f"member_tolerance must be at least 0 and less than 1, got {member_tolerance}.")
        if member_tolerance is not None and roi_size is not None:
            raise InputError("member_tolerance needs whole images: windows must all have the same number of members.")
        if stream_members and shared_start:
            raise InputError("stream_members draws members one after the other: leave shared_start out.")
        check_temperature(temperature)
        if slices and (not isinstance(roi_size, Sequence) or len(roi_size) != 3 or roi_size[2] != 1):
            raise ValueError(f"slices needs a roi_size of (X, Y, 1), got {roi_size}.")
        self.slices = slices
        self.scheduler = scheduler
        self.timesteps = scheduler.spread(num_inference_steps)
        self.coefficients: list[list[float]] = scheduler.step_coefficients(self.timesteps).tolist()
        self.num_ensemble = num_ensemble
        self.fusion = fusion
        self.roi_size = roi_size
        self.signal_scale = signal_scale
        self.member_batch_size = member_batch_size or num_ensemble
        self.seed = seed
        self.progress = progress
        self.sw_batch_size = sw_batch_size
        self.overlap = overlap
        self.mode = mode
        self.background_value = background_value
        self.amp_dtype = None if amp_dtype is None else getattr(torch, amp_dtype)
        self.compile_mode = compile_mode
        self.temperature = temperature
        self.stream_members = stream_members
        self.channels_last = channels_last
        self.sampler = MemberSampler(
            self.timesteps, self.coefficients, seed, self.member_batch_size, shared_start, member_tolerance
        )
        self._compiled: CompiledDenoiser | None = None

    def __call__(self, inputs: torch.Tensor, network: Callable, *args: Any, **kwargs: Any) -> torch.Tensor:
        """Fused probability of shape ``(B, C, *spatial)`` for images of shape ``(B, context_channels, *spatial)``."""
        return self.predict(inputs, network, keep_members=False).probability

    def predict(
        self,
        inputs: torch.Tensor,
        network: Callable,
        keep_members: bool = True,
        on_members: Callable[[torch.Tensor], None] | None = None,
    ) -> SegmentationPrediction:
        """Probability, uncertainty and members together, see :class:`SegmentationPrediction`.

        Args:
            inputs: images of shape ``(B, context_channels, *spatial)``.
            network: ``MedSegDiff``, its scripted form or a bare denoiser.
            keep_members: whether the prediction has the members.
            on_members: called with each batch of members, ``(B, n, C, *spatial)``, as it has been drawn.
        """
        kept: list[torch.Tensor] = []
        gathered = EnsembleStatistics()
        for batch in self.stream(inputs, network):
            if on_members is not None:
                on_members(batch)
            if keep_members:
                kept.append(batch)
            gathered.update(batch)
        maps = (fuse_statistics(gathered, self.fusion), gathered.entropy)
        probability, uncertainty = (convert_to_dst_type(m, inputs, dtype=m.dtype)[0] for m in maps)
        return SegmentationPrediction(probability, uncertainty, torch.cat(kept, dim=1) if kept else None, gathered)

    def sample(self, inputs: torch.Tensor, network: Callable) -> torch.Tensor:
        """The members, of shape ``(B, N, C, *spatial)`` and each in [0, 1].

        Args:
            inputs: images of shape ``(B, context_channels, *spatial)``.
            network: ``MedSegDiff``, its scripted form or a bare denoiser.

        Raises:
            ValueError: when the network was built for another schedule, prediction type or signal scale.
        """
        return torch.cat(list(self.stream(inputs, network)), dim=1)

    @torch.no_grad()
    def stream(self, inputs: torch.Tensor, network: Callable) -> Iterator[torch.Tensor]:
        """The members batch by batch, each of shape ``(B, n, C, *spatial)``; see :meth:`sample`.

        Batches have ``member_batch_size`` members; those of volumes in windows come all at once unless
        ``stream_members`` is set.
        """
        model, image, noise = self._prepared(inputs, network)
        if self.roi_size is None:
            batches = self.sampler.batches(model, image, noise, self.progress)
        else:
            batches = self._window_batches(model, image, noise)
        while (batch := self._next(batches, image)) is not None:
            yield temper(_cropped(batch, inputs), self.temperature)

    @torch.no_grad()
    def trajectory(self, inputs: torch.Tensor, network: Callable, member: int = 0) -> torch.Tensor:
        """What the mask of a member is estimated to be at each step of the sampler, ``(B, K, C, *spatial)`` in [0, 1].

        The last estimate is the member itself.

        Args:
            inputs: images of shape ``(B, context_channels, *spatial)``.
            network: ``MedSegDiff``, its scripted form or a bare denoiser.
            member: number of the member, from 0.

        Raises:
            InputError: when there is no such member.
        """
        if not 0 <= member < self.num_ensemble:
            raise InputError(f"member must be from 0 to {self.num_ensemble - 1}, got {member}.")
        model, image, noise = self._prepared(inputs, network)
        with self._precision(image):
            if self.roi_size is None:
                steps = self.sampler.trajectory(model, image, noise, member)
            else:
                steps = self._over_windows(
                    image, noise, lambda w, start: self.sampler.trajectory(model, w, start, member), len(self.timesteps)
                )
        return temper(_cropped(steps, inputs), self.temperature)

    def _prepared(self, inputs: torch.Tensor, network: Callable) -> tuple[Any, torch.Tensor, torch.Tensor]:
        """The network as a ``MedSegDiff``, the padded image, and the start of each member, ``(B, N, C, *spatial)``."""
        model = self._model(network)
        image = inputs.as_tensor() if hasattr(inputs, "as_tensor") else inputs
        spatial = image.shape[2:]
        divisors = [model.divisor] * len(spatial) if not self.slices else [model.divisor, model.divisor, 1]
        size = [self._padded(s, r, d) for s, r, d in zip(spatial, self._roi(len(spatial)), divisors)]
        padding = [p for s, t in zip(reversed(spatial), reversed(size)) for p in (0, t - s)]
        image = nn.functional.pad(image, padding, mode="replicate") if any(padding) else image
        if self.channels_last:
            layout = torch.channels_last if len(spatial) == 2 or self.slices else torch.channels_last_3d
            _lay_out(model.denoiser, layout)
            image = image if self.slices else image.contiguous(memory_format=layout)
        noise = member_noise(self.seed, self.num_ensemble, [model.mask_channels, *size], 0).to(image.device)
        return model, image, noise.expand(image.shape[0], *noise.shape)

    def _precision(self, image: torch.Tensor) -> AbstractContextManager[Any]:
        """Autocast to the inferer's own precision; without one, the caller's autocast stays as it is."""
        return nullcontext() if self.amp_dtype is None else torch.autocast(image.device.type, self.amp_dtype)

    def _next(self, batches: Iterator[torch.Tensor], image: torch.Tensor) -> torch.Tensor | None:
        """The next batch, in the inferer's precision, which must not reach what the caller does in between."""
        with self._precision(image):
            return next(batches, None)

    def _roi(self, dims: int) -> list[int]:
        if self.roi_size is None:
            return [0] * dims
        return [self.roi_size] * dims if isinstance(self.roi_size, int) else list(self.roi_size)

    @staticmethod
    def _padded(size: int, roi: int, divisor: int) -> int:
        return max(-(-size // divisor) * divisor, roi)

    def _model(self, network: Any) -> Any:
        """The network as a ``MedSegDiff``, checked to be of this inferer's diffusion, and compiled where asked for."""
        model = self._checked(getattr(network, "module", network))  # as DistributedDataParallel holds it
        if self.compile_mode is None:
            return model
        if isinstance(model, torch.jit.ScriptModule):
            raise InputError(
                "A scripted network cannot be compiled: leave compile_mode out or give the network itself."
            )
        if self._compiled is None or self._compiled.denoiser is not model.denoiser:
            self._compiled = CompiledDenoiser(model.denoiser, self.compile_mode)
        return MedSegDiff(self._compiled, self.scheduler, 1, 1, self.fusion, self.signal_scale)

    def _checked(self, network: Any) -> Any:
        if not hasattr(network, "denoiser"):
            denoiser = network if hasattr(network, "encode_image") else ContextDenoiser(network)
            return MedSegDiff(denoiser, self.scheduler, 1, 1, self.fusion, self.signal_scale)
        ours = (self.scheduler.prediction_type, self.signal_scale, self.scheduler.alphas_cumprod.double().tolist())
        theirs = (network.prediction_type, network.mask_scale.scale, network.alphas_cumprod)
        for name, mine, its in zip(("prediction type", "signal scale", "noise schedule"), ours, theirs):
            if mine != its:
                detail = f": {its} and {mine}" if name != "noise schedule" else ""
                raise ValueError(f"The network and the inferer are set to different values of the {name}{detail}.")
        return network

    def _window_batches(self, model: Any, image: torch.Tensor, noise: torch.Tensor) -> Iterator[torch.Tensor]:
        """Members of a volume, ``(B, n, C, *spatial)``: all at once, or as many as run as one batch."""
        count = self.sampler.batch_size if self.stream_members else noise.shape[1]
        for first in range(0, noise.shape[1], count):
            yield self._sample_windows(model, image, noise[:, first : first + count], first)

    def _sample_windows(self, model: Any, image: torch.Tensor, noise: torch.Tensor, first: int) -> torch.Tensor:
        """Members of shape ``(B, n, C, *spatial)``, window by window, blended member by member."""
        return self._over_windows(
            image, noise, lambda windows, start: self.sampler(model, windows, start, False, first), noise.shape[1]
        )

    def _over_windows(
        self,
        image: torch.Tensor,
        noise: torch.Tensor,
        sample: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
        maps: int,
    ) -> torch.Tensor:
        """What ``sample`` makes of each window and its noise, ``maps`` maps of C channels, blended map by map."""
        context = image.shape[1]
        predict = WindowPredictor(sample, self.background_value, maps)

        def predictor(windows: torch.Tensor) -> torch.Tensor:
            flat = windows.squeeze(-1) if self.slices else windows
            members = predict(flat[:, :context], flat[:, context:].unflatten(1, noise.shape[1:3])).flatten(1, 2)
            return members.unsqueeze(-1) if self.slices else members

        blended: Any = sliding_window_inference(
            torch.cat([image, noise.flatten(1, 2)], dim=1),
            self._roi(image.dim() - 2),
            self.sw_batch_size,
            predictor,
            overlap=self.overlap,
            mode=self.mode,
            progress=self.progress,
        )
        return blended.unflatten(1, (maps, noise.shape[2]))


def _lay_out(network: Any, layout: torch.memory_format) -> None:
    """Turn a network to a memory layout, unless it has it: going over its parameters costs as much as a small image."""
    kernels = [p for p in network.parameters() if p.dim() == (4 if layout == torch.channels_last else 5)]
    if not all(p.is_contiguous(memory_format=layout) for p in kernels):
        network.to(memory_format=layout)


def _cropped(item: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
    """What of ``(..., *padded)`` lies on an image ``(B, C, *spatial)``."""
    crop: Any = (..., *(slice(0, s) for s in image.shape[2:]))
    return item[crop]
