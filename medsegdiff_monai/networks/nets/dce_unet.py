# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from monai.networks.nets.diffusion_model_unet import get_timestep_embedding
from torch import nn

from medsegdiff_monai.networks.blocks import (
    Decoder,
    DynamicConditionalFusion,
    Encoder,
    NoFusion,
    PredictionHeads,
    conv,
    initialise_convolutions,
    per_level,
    space_to_patches,
)

__all__ = ["VARIANTS", "DCEUNet"]

# Number of down-samplings after Table 1 of the paper; blocks per stage as in ResNet34 (3, 4, 6, 3) below a one-block
# stage at full resolution. The paper states no widths: these are ours.
VARIANTS: dict[str, dict[str, tuple]] = {
    "S": {"channels": (32, 64, 128, 256, 256), "num_res_blocks": (1, 3, 4, 6, 3)},
    "B": {"channels": (32, 64, 128, 256, 256, 512), "num_res_blocks": (1, 3, 4, 6, 3, 3)},
    "L": {"channels": (32, 64, 128, 256, 256, 512, 512), "num_res_blocks": (1, 3, 4, 6, 3, 3, 3)},
    "++": {"channels": (64, 128, 256, 384, 512, 512, 512), "num_res_blocks": (1, 3, 4, 6, 3, 3, 3)},
}


def _check_settings(spatial_dims: int, levels: int, settings: Mapping[str, tuple], patch: Sequence[int]) -> None:
    """Refuse settings that do not fit together; each of ``settings`` is one number a level."""
    if spatial_dims not in (2, 3):
        raise ValueError(f"spatial_dims must be 2 or 3, got {spatial_dims}.")
    for name, values in settings.items():
        least = 1 if name.endswith("channels") else 0
        if len(values) != levels:
            raise ValueError(
                f"{name} must have one entry for each entry of channels, got {name}={values} for "
                f"channels={settings['channels']}."
            )
        if min(values) < least:
            raise ValueError(f"{name} must not be less than {least}, got {values}.")
    if len(patch) != spatial_dims or min(patch) < 1:
        raise ValueError(
            f"subpixel_factor must be at least 1, one number or one for each of {spatial_dims} axes, got {patch}."
        )


class DCEUNet(nn.Module):
    """Denoising U-Net with dynamic conditional encoding, the network of MedSegDiff.

    Image and noisy mask have two separate residual encoders. At the fusion levels the image features are re-weighted
    by the features of the noisy mask (:class:`DynamicConditionalFusion`), so that the condition follows the current
    estimate; the two encodings are added and decoded by a U-Net decoder: ``D((E_I + E_x, t), t)`` (Section 3 of
    Wu et al., MIDL 2023, https://arxiv.org/abs/2211.00611). Ours is the strength at which the mask's encoding is added:
    a gain for each channel that follows the time, since how much the noisy mask can tell depends on how noisy it is.

    The image encoder does not see ``x`` or the time above its first fusion, so that part is computed once an image:
    ``forward(x, t, image)`` is ``denoise(x, t, encode_image(image))``, and a sampler calls the two separately. The
    calling convention of ``forward`` is that of MONAI's ``DiffusionModelUNet``.

    Args:
        spatial_dims: number of spatial dimensions, 2 or 3.
        in_channels: number of channels of the noisy mask ``x``.
        out_channels: number of channels of the prediction.
        context_channels: number of channels of the conditioning image.
        channels: number of channels at each resolution, the finest first; each further one halves it.
        num_res_blocks: number of residual blocks at each resolution of the encoders, one number for all or a tuple.
            0 leaves only the stem, or the strided convolution, which is a saving at full resolution.
        mask_channels: number of channels of the mask's encoder at each resolution, ``channels`` by default. A noisy
            mask holds less than an image: with fewer, its features are projected to the image's width where they meet.
        mask_num_res_blocks: number of residual blocks of the mask's encoder, ``num_res_blocks`` by default.
        fusion_levels: whether the encodings are fused at each resolution. The paper fuses at the middle stages.
        attention_levels: whether the decoder has self-attention at each resolution; nowhere by default.
        additive_skips: whether the decoder adds the encodings to its own features in place of concatenating them,
            which halves the work of its widest convolutions.
        subpixel_factor: edge of the patches of voxels that enter the encoders as channels and leave the head as such,
            one number for all axes or one for each: the network works at a fraction of the resolution, without losing
            a voxel of its input.
        deep_supervision: number of coarser resolutions of the decoder that predict as well. In training mode the
            prediction then has shape ``(B, 1 + deep_supervision, out_channels, *spatial)``, the finest first.
        spatial_size: image size for which the FF-Parsers' maps are exact; they are resampled at any other.
        use_ff_parser: whether the fusion filters the mask features.
        fusion_residual: whether the fusion returns ``m_I + A`` in place of the paper's ``A``.

    Raises:
        ValueError: when ``spatial_dims`` is not 2 or 3, the per-resolution tuples differ in length, or a number is too
            small or too large.

    Example:
        >>> net = DCEUNet(2, in_channels=1, out_channels=1, context_channels=3, channels=(8, 16, 16),
        ...               num_res_blocks=1, fusion_levels=(False, True, False), spatial_size=64)
        >>> net(torch.rand(2, 1, 64, 96), timesteps=torch.tensor([999, 10]), context=torch.rand(2, 3, 64, 96)).shape
        torch.Size([2, 1, 64, 96])
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        out_channels: int,
        context_channels: int,
        channels: Sequence[int] = (32, 64, 128, 256),
        num_res_blocks: Sequence[int] | int = 2,
        fusion_levels: Sequence[bool] = (False, True, True, False),
        attention_levels: Sequence[bool] | None = None,
        spatial_size: Sequence[int] | int = 128,
        use_ff_parser: bool = True,
        fusion_residual: bool = False,
        mask_channels: Sequence[int] | None = None,
        mask_num_res_blocks: Sequence[int] | int | None = None,
        additive_skips: bool = False,
        subpixel_factor: Sequence[int] | int = 1,
        deep_supervision: int = 0,
    ) -> None:
        super().__init__()
        levels = len(channels)
        blocks = per_level(num_res_blocks, levels)
        mask_blocks = blocks if mask_num_res_blocks is None else per_level(mask_num_res_blocks, levels)
        mask_widths = tuple(channels) if mask_channels is None else tuple(mask_channels)
        attention = (False,) * levels if attention_levels is None else tuple(attention_levels)
        patch = per_level(subpixel_factor, spatial_dims)
        widths = {"channels": tuple(channels), "mask_channels": mask_widths}
        counts = {"num_res_blocks": blocks, "mask_num_res_blocks": mask_blocks}
        switches = {"fusion_levels": tuple(fusion_levels), "attention_levels": attention}
        _check_settings(spatial_dims, levels, {**widths, **counts, **switches}, patch)
        self.spatial_dims = spatial_dims
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.context_channels = context_channels
        self.subpixel_factor: list[int] = list(patch)
        self.divisor = max(patch) * 2 ** (levels - 1)
        self.embedding_channels = channels[0]
        self.first_fusion = tuple(fusion_levels).index(True) if any(fusion_levels) else levels - 1

        voxels = math.prod(patch)
        time_channels = 4 * channels[0]
        self.time_embedding = nn.Sequential(nn.Linear(self.embedding_channels, time_channels), nn.SiLU())
        times = [None if i <= self.first_fusion else time_channels for i in range(levels)]
        self.image_encoder = Encoder(spatial_dims, voxels * context_channels, channels, blocks, times)
        times = [time_channels] * levels
        self.mask_encoder = Encoder(spatial_dims, voxels * in_channels, mask_widths, mask_blocks, times)
        self.mask_projections = nn.ModuleList(
            [nn.Identity() if m == c else conv(spatial_dims, m, c, 1) for m, c in zip(mask_widths, channels)]
        )
        self.fusions = nn.ModuleList()
        size = [s // p for s, p in zip(per_level(spatial_size, spatial_dims), patch)]
        for i, (c, fused) in enumerate(zip(channels, fusion_levels)):
            of_level = (c, [max(s >> i, 1) for s in size], spatial_dims, use_ff_parser, fusion_residual)
            self.fusions.append(DynamicConditionalFusion(*of_level) if fused else NoFusion())
        self.mask_gains = nn.ModuleList([nn.Linear(time_channels, c) for c in channels])
        self.decoder = Decoder(spatial_dims, channels, time_channels, attention, additive_skips)
        self.heads = PredictionHeads(spatial_dims, channels, out_channels, patch, deep_supervision)
        initialise_convolutions(self)
        self._let_the_image_lead()

    def _let_the_image_lead(self) -> None:
        """Start near a plain U-Net on the image: at ``t = T``, where sampling starts, the noisy mask holds no signal.

        With both encodings added at equal strength, training first has to unlearn the noise. The mask's gains start at
        a tenth. Eq. 3 beside the image's features starts near zero, where it still has a gradient; in their place it
        starts with an attention (the normalised mask features) of one plus a tenth of its value.
        """
        for gain in self.mask_gains:
            if isinstance(gain, nn.Linear):
                nn.init.normal_(gain.weight, std=1e-3)
                nn.init.constant_(gain.bias, 0.1)
        for fusion in self.fusions:
            if isinstance(fusion, DynamicConditionalFusion):
                nn.init.constant_(fusion.norm_mask.weight, 0.01 if fusion.residual else 0.1)
                nn.init.constant_(fusion.norm_mask.bias, 0.0 if fusion.residual else 1.0)

    @classmethod
    def from_variant(
        cls,
        name: str,
        spatial_dims: int,
        in_channels: int,
        out_channels: int,
        context_channels: int,
        **settings: Any,
    ) -> DCEUNet:
        """Build the paper's variant ``"S"``, ``"B"``, ``"L"`` or ``"++"`` (4, 5, 6 and 6 down-samplings).

        Args:
            name: name of the variant.
            spatial_dims: number of spatial dimensions, 2 or 3.
            in_channels: number of channels of the noisy mask.
            out_channels: number of channels of the prediction.
            context_channels: number of channels of the conditioning image.
            settings: further arguments of the constructor; they take precedence over the variant's.

        Raises:
            ValueError: when there is no variant of that name.
        """
        if name not in VARIANTS:
            raise ValueError(f"There is no variant {name!r}; choose one of {', '.join(VARIANTS)}.")
        levels = len(VARIANTS[name]["channels"])
        middle = tuple(0 < i < levels - 1 and abs(2 * i - levels + 1) <= 2 for i in range(levels))
        return cls(
            spatial_dims,
            in_channels,
            out_channels,
            context_channels,
            **{**VARIANTS[name], "fusion_levels": middle, **settings},
        )

    @torch.jit.export
    def encode_image(self, context: torch.Tensor) -> list[torch.Tensor]:
        """Features of the image that depend neither on the noisy mask nor on the time.

        Args:
            context: image of shape ``(B, context_channels, *spatial)``.

        Returns:
            Feature maps from full resolution down to the first fusion level.

        Raises:
            ValueError: when the image has other dimensions or channels, or a size not divisible by the total stride.
        """
        self._check_input(context, self.context_channels, "image")
        h = self.image_encoder.stem(space_to_patches(context, self.subpixel_factor))
        features: list[torch.Tensor] = []
        for i, (down, stage) in enumerate(zip(self.image_encoder.downs, self.image_encoder.stages)):
            if i <= self.first_fusion:
                h = stage(down(h), None)
                features.append(h)
        return features

    @torch.jit.export
    def denoise(self, x: torch.Tensor, timesteps: torch.Tensor, features: list[torch.Tensor]) -> torch.Tensor:
        """The prediction from a noisy mask and the features of its image.

        Args:
            x: noisy mask of shape ``(B, in_channels, *spatial)``.
            timesteps: time of each case, of shape ``(B,)``, or ``(1,)`` for one time for all.
            features: what :meth:`encode_image` gave for the image.

        Returns:
            Prediction of shape ``(B, out_channels, *spatial)``: noise, velocity or mask logits, as it was trained;
            those of all supervised resolutions, finest first and at full size, in training under deep supervision.
        """
        self._check_input(x, self.in_channels, "noisy mask")
        embedding = self.time_embedding(get_timestep_embedding(timesteps, self.embedding_channels).to(x.dtype))
        embedding = embedding.expand(x.shape[0], -1)
        mask = self.mask_encoder.stem(space_to_patches(x, self.subpixel_factor))
        image = features[0]
        skips: list[torch.Tensor] = []
        for i, (mask_down, mask_stage, mask_projection, image_down, image_stage, fusion, mask_gain) in enumerate(
            zip(
                self.mask_encoder.downs,
                self.mask_encoder.stages,
                self.mask_projections,
                self.image_encoder.downs,
                self.image_encoder.stages,
                self.fusions,
                self.mask_gains,
            )
        ):
            mask = mask_stage(mask_down(mask), embedding)
            image = features[i] if i <= self.first_fusion else image_stage(image_down(image), embedding)
            encoded = mask_projection(mask)
            image = fusion(image, encoded)
            gain = mask_gain(embedding)
            skips.append(image + gain.reshape(list(gain.shape) + [1] * self.spatial_dims) * encoded)
        return self.heads(self.decoder(skips, embedding))

    def forward(self, x: torch.Tensor, timesteps: torch.Tensor, context: torch.Tensor | None = None) -> torch.Tensor:
        """
        Args:
            x: noisy mask of shape ``(B, in_channels, *spatial)``.
            timesteps: time of each case, of shape ``(B,)``, or ``(1,)`` for one time for all.
            context: image of shape ``(B, context_channels, *spatial)``.

        Returns:
            Prediction of shape ``(B, out_channels, *spatial)``.
        """
        if context is None:
            raise ValueError("DCEUNet needs the image: give it as context.")
        return self.denoise(x, timesteps, self.encode_image(context))

    def _check_input(self, x: torch.Tensor, channels: int, name: str) -> None:
        if x.dim() != self.spatial_dims + 2:
            raise ValueError(f"The {name} must have {self.spatial_dims + 2} dimensions, got {x.dim()}.")
        if x.shape[1] != channels:
            raise ValueError(f"The {name} must have {channels} channels, got {x.shape[1]}.")
        for size in x.shape[2:]:
            if size % self.divisor != 0:
                raise ValueError(
                    f"The spatial size of the {name} must be divisible by {self.divisor}, got {x.shape[2:]}; "
                    "pad or resize it."
                )
