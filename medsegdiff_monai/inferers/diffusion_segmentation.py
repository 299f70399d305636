# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from monai.inferers import Inferer, sliding_window_inference
from monai.utils import convert_to_dst_type
from torch import nn
from tqdm import tqdm

from medsegdiff_monai.inferers.ensemble import SegmentationPrediction
from medsegdiff_monai.inferers.windows import WindowPredictor
from medsegdiff_monai.networks.fusion import FUSIONS, check_temperature, scale_temperature
from medsegdiff_monai.networks.nets import ContextDenoiser, MedSegDiff
from medsegdiff_monai.networks.schedulers import LinearStepScheduler
from medsegdiff_monai.utils import InputError

__all__ = ["DiffusionSegmentationInferer", "member_noise"]

# Elements of the members of a volume that are blended at a time (1 GiB in float32, and as much for their noise).
_LARGEST_CHUNK = 2**28


def member_noise(seed: int | None, members: range, shape: Sequence[int], step: int) -> torch.Tensor:
    """Noise of some members, of shape ``(n, *shape)``: the start (step 0) or that of a sampler's later step.

    It is drawn on the CPU, member by member, so that a seed means the same on every device, for any number of members
    and in whichever batches they run.

    Args:
        seed: seed of the members; None draws anew each time.
        members: their numbers in the ensemble.
        shape: shape of one member's noise.
        step: number of the sampler's step, 0 for the start.
    """
    noise = []
    for m in members:
        generator = torch.Generator()
        if seed is None:
            generator.seed()
        else:
            generator.manual_seed((seed * 1_000_003 + m) * 1_009 + step)
        noise.append(torch.randn(*shape, generator=generator))
    return torch.stack(noise)


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
        overlap: share by which neighbouring windows overlap; they are blended by Gaussian weights.
        slices: whether the network is 2D and takes volumes slice by slice; ``roi_size`` is then ``(X, Y, 1)``.
        background_value: value that an image has in all channels where there is nothing to segment: windows of nothing
            else get probability 0 without being looked at. None looks at every window.
        temperature: by which the logits of each member are divided (temperature scaling); 1 leaves them.

    Raises:
        InputError: when a number is out of range or the fusion is unknown.
        ValueError: when ``slices`` is asked for without such a ``roi_size``.

    Example:
        >>> from medsegdiff_monai.networks.nets import DCEUNet, MedSegDiff
        >>> from medsegdiff_monai.networks.schedulers import DPMSolverScheduler
        >>> scheduler = DPMSolverScheduler(prediction_type="sample")
        >>> denoiser = DCEUNet(2, 1, 1, 1, channels=(8, 16), num_res_blocks=(1, 1), fusion_levels=(False, True))
        >>> inferer = DiffusionSegmentationInferer(scheduler, num_inference_steps=2, num_ensemble=3)
        >>> prediction = inferer.predict(torch.rand(1, 1, 30, 44), MedSegDiff(denoiser, scheduler))
        >>> prediction.probability.shape, prediction.members.shape
        (torch.Size([1, 1, 30, 44]), torch.Size([1, 3, 1, 30, 44]))
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
        slices: bool = False,
        background_value: float | None = None,
        temperature: float = 1.0,
    ) -> None:
        super().__init__()
        if fusion not in FUSIONS:
            raise InputError(f"fusion must be one of {', '.join(FUSIONS)}, got {fusion!r}.")
        for name, value in (("num_ensemble", num_ensemble), ("member_batch_size", member_batch_size)):
            if value is not None and value < 1:
                raise InputError(f"{name} must be at least 1, got {value}.")
        check_temperature(temperature)
        if slices and (not isinstance(roi_size, Sequence) or len(roi_size) != 3 or roi_size[2] != 1):
            raise ValueError(f"slices needs a roi_size of (X, Y, 1), got {roi_size}.")
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
        self.slices = slices
        self.background_value = background_value
        self.temperature = temperature

    def __call__(self, inputs: torch.Tensor, network: Callable, *args: Any, **kwargs: Any) -> torch.Tensor:
        """Fused probability of shape ``(B, C, *spatial)`` for images of shape ``(B, context_channels, *spatial)``."""
        return self.predict(inputs, network).probability

    def predict(self, inputs: torch.Tensor, network: Callable) -> SegmentationPrediction:
        """Probability, uncertainty and members together, see :class:`SegmentationPrediction`.

        Args:
            inputs: images of shape ``(B, context_channels, *spatial)``.
            network: ``MedSegDiff``, its scripted form or a bare denoiser.
        """
        prediction = SegmentationPrediction.from_members(self.sample(inputs, network), self.fusion)
        return SegmentationPrediction(convert_to_dst_type(prediction.probability, inputs)[0], prediction.statistics)

    @torch.no_grad()
    def sample(self, inputs: torch.Tensor, network: Callable) -> torch.Tensor:
        """Members of shape ``(B, N, C, *spatial)``, each in [0, 1].

        Args:
            inputs: images of shape ``(B, context_channels, *spatial)``.
            network: ``MedSegDiff``, its scripted form or a bare denoiser.

        Raises:
            ValueError: when the network was built for another schedule, prediction type or signal scale.
        """
        model, image = self._prepared(inputs, network)
        shape = [model.mask_channels, *image.shape[2:]]
        if self.roi_size is None:
            noise = self._noise(range(self.num_ensemble), image, shape)
            members = _cropped(self._members(model, image, noise, 0, self.progress), inputs)
        else:
            members = image.new_empty(image.shape[0], self.num_ensemble, model.mask_channels, *inputs.shape[2:])
            count = max(self.member_batch_size, _LARGEST_CHUNK // members[:, 0].numel())
            for first in range(0, self.num_ensemble, count):
                chunk = range(first, min(first + count, self.num_ensemble))
                members[:, first : chunk.stop] = _cropped(self._in_windows(model, image, shape, chunk), inputs)
        for member in members.unbind(1):
            for p in member.unbind(1):  # one map at a time, as scaling takes several times its memory
                p.copy_(scale_temperature(p, self.temperature))
        return members

    @torch.no_grad()
    def trajectory(self, inputs: torch.Tensor, network: Callable, member: int = 0) -> torch.Tensor:
        """Estimates of the mask of a member at each step of the sampler, ``(B, K, C, *spatial)`` in [0, 1].

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
        model, image = self._prepared(inputs, network)

        def estimates(image: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
            chain = self._chain(model, noise, member, model.encode_image(image))
            return torch.stack([model.decode(original) for original, _ in chain], dim=1)

        noise = self._noise(range(member, member + 1), image, [model.mask_channels, *image.shape[2:]])
        if self.roi_size is None:
            steps = estimates(image, noise)
        else:
            steps = self._over_windows(image, noise, estimates, len(self.timesteps))
        return scale_temperature(_cropped(steps, inputs), self.temperature)

    def _prepared(self, inputs: torch.Tensor, network: Callable) -> tuple[Any, torch.Tensor]:
        """The network as a ``MedSegDiff`` and the image, padded to a size that it takes."""
        model = self._checked(getattr(network, "module", network))  # as DistributedDataParallel holds it
        image = inputs.as_tensor() if hasattr(inputs, "as_tensor") else inputs
        spatial = image.shape[2:]
        divisors = [model.divisor] * len(spatial) if not self.slices else [model.divisor, model.divisor, 1]
        size = [max(-(-s // d) * d, r) for s, r, d in zip(spatial, self._roi(len(spatial)), divisors)]
        padding = [p for s, t in zip(reversed(spatial), reversed(size)) for p in (0, t - s)]
        return model, nn.functional.pad(image, padding, mode="replicate") if any(padding) else image

    def _checked(self, network: Any) -> Any:
        """The network as a ``MedSegDiff`` of this inferer's diffusion."""
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

    def _roi(self, dims: int) -> list[int]:
        if self.roi_size is None:
            return [0] * dims
        return [self.roi_size] * dims if isinstance(self.roi_size, int) else list(self.roi_size)

    def _noise(self, members: range, image: torch.Tensor, shape: Sequence[int], step: int = 0) -> torch.Tensor:
        """Noise of some members, of shape ``(B, n, *shape)``, the same for each image."""
        noise = member_noise(self.seed, members, shape, step).to(image.device)
        return noise.expand(image.shape[0], *noise.shape)

    def _members(
        self, model: Any, image: torch.Tensor, noise: torch.Tensor, first: int, progress: bool = False
    ) -> torch.Tensor:
        """Members ``(B, n, C, *spatial)`` of an image from their start, the first of them having the given number."""
        features = model.encode_image(image)
        members = []
        batches = noise.split(self.member_batch_size, dim=1)
        with tqdm(total=len(batches) * len(self.timesteps), disable=not progress, leave=False, unit="step") as bar:
            for start in batches:
                x = start
                for _, x in self._chain(model, start, first, features):  # noqa: B007
                    bar.update()
                members.append(model.decode(x).unflatten(0, start.shape[:2]))
                first += start.shape[1]
        return torch.cat(members, dim=1)

    def _chain(
        self, model: Any, start: torch.Tensor, first: int, features: list[torch.Tensor]
    ) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Estimate of ``x_0`` and the mask behind it at each step of some members, ``(B * n, C, *spatial)``."""
        count = start.shape[1]
        of_members = [_for_each_member(f, count) for f in features]
        x = previous = start.flatten(0, 1)
        for i, (timestep, coefficients) in enumerate(zip(self.timesteps, self.coefficients), 1):
            fresh = None
            if coefficients[3] != 0.0:
                fresh = self._noise(range(first, first + count), start, start.shape[2:], i).flatten(0, 1)
            x, previous = model.step(x, previous, timestep, coefficients, of_members, fresh)
            yield previous, x

    def _in_windows(self, model: Any, image: torch.Tensor, shape: Sequence[int], members: range) -> torch.Tensor:
        """Members ``(B, n, C, *spatial)`` of a volume, sampled window by window and blended member by member."""

        def sample(windows: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
            return self._members(model, windows, noise, members.start)

        return self._over_windows(image, self._noise(members, image, shape), sample, len(members))

    def _over_windows(
        self,
        image: torch.Tensor,
        noise: torch.Tensor,
        sample: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
        maps: int,
    ) -> torch.Tensor:
        """``maps`` maps of C channels that ``sample`` makes of each window and its noise, blended map by map."""
        predict = WindowPredictor(sample, self.background_value, maps)

        def predictor(windows: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
            start = condition.unflatten(1, noise.shape[1:3])
            if not self.slices:
                return predict(windows, start).flatten(1, 2)
            return predict(windows.squeeze(-1), start.squeeze(-1)).flatten(1, 2).unsqueeze(-1)

        blended: Any = sliding_window_inference(
            image,
            self._roi(image.dim() - 2),
            self.sw_batch_size,
            predictor,
            overlap=self.overlap,
            mode="gaussian",
            progress=self.progress,
            condition=noise.flatten(1, 2),
        )
        return blended.unflatten(1, (maps, noise.shape[2]))


def _for_each_member(features: torch.Tensor, members: int) -> torch.Tensor:
    """Features ``(B, C, *spatial)`` of images as those of their members, ``(B * members, C, *spatial)``.

    Joined, as ``repeat_interleave`` would put the channels first in memory, and so all that is added to them. (The
    network's ``forward`` has a way of its own, which an ONNX file can hold for any batch.)
    """
    return torch.cat([case for case in features.split(1) for _ in range(members)])


def _cropped(item: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
    """The part of ``(..., *padded)`` that lies on an image ``(B, C, *spatial)``."""
    crop: Any = (..., *(slice(0, s) for s in image.shape[2:]))
    return item[crop]
