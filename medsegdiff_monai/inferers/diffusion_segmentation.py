# Copyright (c) MedSegDiff-MONAI contributors
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#     http://www.apache.org/licenses/LICENSE-2.0
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from monai.inferers import Inferer, sliding_window_inference
from monai.utils import convert_to_dst_type
from torch import nn
from tqdm import tqdm

from medsegdiff_monai.networks.fusion import FUSIONS, fuse_members
from medsegdiff_monai.networks.nets import ContextDenoiser, MedSegDiff
from medsegdiff_monai.networks.schedulers import LinearStepScheduler
from medsegdiff_monai.utils import InputError

__all__ = ["DiffusionSegmentationInferer", "SegmentationPrediction", "predictive_entropy"]


class SegmentationPrediction(NamedTuple):
    """What an ensemble of samples says about an image.

    Attributes:
        probability: fused probability of shape ``(B, C, *spatial)`` in [0, 1].
        uncertainty: entropy of the mean probability, of shape ``(B, C, *spatial)``, in bits: 0 is certain, 1 is not.
        members: probability of each member, of shape ``(B, N, C, *spatial)``.
    """

    probability: torch.Tensor
    uncertainty: torch.Tensor
    members: torch.Tensor


def predictive_entropy(members: torch.Tensor) -> torch.Tensor:
    """Entropy in bits of the members' mean, of shape ``(B, C, *spatial)``, from members ``(B, N, C, *spatial)``."""
    p = members.mean(1)
    return (torch.special.entr(p) + torch.special.entr(1.0 - p)) / torch.log(torch.tensor(2.0))


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

    Raises:
        InputError: when a number is out of range or the fusion is unknown.
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
    ) -> None:
        super().__init__()
        if fusion not in FUSIONS:
            raise InputError(f"fusion must be one of {', '.join(FUSIONS)}, got {fusion!r}.")
        for name, value in (("num_ensemble", num_ensemble), ("member_batch_size", member_batch_size)):
            if value is not None and value < 1:
                raise InputError(f"{name} must be at least 1, got {value}.")
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

    def __call__(self, inputs: torch.Tensor, network: Callable, *args: Any, **kwargs: Any) -> torch.Tensor:
        """Fused probability of shape ``(B, C, *spatial)`` for images of shape ``(B, context_channels, *spatial)``."""
        probability = fuse_members(self.sample(inputs, network), self.fusion)
        return convert_to_dst_type(probability, inputs, dtype=probability.dtype)[0]

    def predict(self, inputs: torch.Tensor, network: Callable) -> SegmentationPrediction:
        """Probability, uncertainty and members together, see :class:`SegmentationPrediction`.

        Args:
            inputs: images of shape ``(B, context_channels, *spatial)``.
            network: ``MedSegDiff``, its scripted form or a bare denoiser.
        """
        members = self.sample(inputs, network)
        maps = (fuse_members(members, self.fusion), predictive_entropy(members))
        probability, uncertainty = (convert_to_dst_type(m, inputs, dtype=m.dtype)[0] for m in maps)
        return SegmentationPrediction(probability, uncertainty, members)

    @torch.no_grad()
    def sample(self, inputs: torch.Tensor, network: Callable) -> torch.Tensor:
        """The members, of shape ``(B, N, C, *spatial)`` and each in [0, 1].

        Args:
            inputs: images of shape ``(B, context_channels, *spatial)``.
            network: ``MedSegDiff``, its scripted form or a bare denoiser.

        Raises:
            ValueError: when the network was built for another schedule, prediction type or signal scale.
        """
        model = self._model(network)
        image = inputs.as_tensor() if hasattr(inputs, "as_tensor") else inputs
        spatial = image.shape[2:]
        divisors = [model.divisor] * len(spatial) if not self.slices else [model.divisor, model.divisor, 1]
        size = [self._padded(s, r, d) for s, r, d in zip(spatial, self._roi(len(spatial)), divisors)]
        padding = [p for s, t in zip(reversed(spatial), reversed(size)) for p in (0, t - s)]
        image = nn.functional.pad(image, padding, mode="replicate") if any(padding) else image
        noise = self._noise([model.mask_channels, *size], 0).to(image.device)
        noise = noise.expand(image.shape[0], *noise.shape)
        if self.roi_size is None:
            members = self._sample_members(model, image, noise)
        else:
            members = self._sample_windows(model, image, noise)
        crop: tuple[Any, ...] = (..., *(slice(0, s) for s in spatial))
        return members[crop]

    def _roi(self, dims: int) -> list[int]:
        if self.roi_size is None:
            return [0] * dims
        return [self.roi_size] * dims if isinstance(self.roi_size, int) else list(self.roi_size)

    @staticmethod
    def _padded(size: int, roi: int, divisor: int) -> int:
        return max(-(-size // divisor) * divisor, roi)

    def _model(self, network: Any) -> Any:
        """The network as a ``MedSegDiff``, checked to be of this inferer's diffusion."""
        network = getattr(network, "module", network)  # as DistributedDataParallel holds it
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

    def _noise(self, shape: Sequence[int], step: int) -> torch.Tensor:
        """Noise of each member, of shape ``(N, *shape)``: the start (step 0) or that of a sampler's later step.

        It is drawn on the CPU, member by member, so that a seed means the same on every device and for any number of
        members.
        """
        members = []
        for m in range(self.num_ensemble):
            generator = torch.Generator()
            if self.seed is None:
                generator.seed()
            else:
                generator.manual_seed((self.seed * 1_000_003 + m) * 1_009 + step)
            members.append(torch.randn(*shape, generator=generator))
        return torch.stack(members)

    def _sample_windows(self, model: Any, image: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """Members of shape ``(B, N, C, *spatial)``, window by window, blended member by member."""
        context = image.shape[1]

        def predictor(windows: torch.Tensor) -> torch.Tensor:
            flat = windows.squeeze(-1) if self.slices else windows
            start = flat[:, context:].unflatten(1, noise.shape[1:3])
            members = self._sample_members(model, flat[:, :context], start).flatten(1, 2)
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
        return blended.unflatten(1, noise.shape[1:3])

    def _sample_members(self, model: Any, image: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """Members of shape ``(B, N, C, *spatial)`` from their noise, of the same shape."""
        features = model.encode_image(image)
        chunks = range(0, self.num_ensemble, self.member_batch_size)
        shown = self.progress and self.roi_size is None  # the bar of a volume counts its windows
        bar = tqdm(total=len(chunks) * len(self.timesteps), disable=not shown, leave=False, unit="step")
        members = []
        with bar:
            for first in chunks:
                start = noise[:, first : first + self.member_batch_size]
                shared = [f.repeat_interleave(start.shape[1], 0) for f in features]
                x = start.flatten(0, 1)
                previous = x
                for i, (timestep, coefficients) in enumerate(zip(self.timesteps, self.coefficients)):
                    fresh = self._step_noise(start, first, i + 1) if coefficients[3] != 0.0 else None
                    x, previous = model.step(x, previous, timestep, coefficients, shared, fresh)
                    bar.update()
                members.append(model.decode(x).unflatten(0, start.shape[:2]))
        return torch.cat(members, dim=1)

    def _step_noise(self, start: torch.Tensor, first: int, step: int) -> torch.Tensor:
        noise = self._noise(start.shape[2:], step)[first : first + start.shape[1]].to(start)
        return noise.expand(start.shape[0], *noise.shape).flatten(0, 1)
