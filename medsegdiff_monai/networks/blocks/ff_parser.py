# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from collections.abc import Sequence

import torch
from monai.utils import ensure_tuple_rep
from torch import nn

from medsegdiff_monai.networks.blocks.dft import filter_by_products

__all__ = ["FFParser", "resample_spectrum"]


def _resample_axis(spectrum: torch.Tensor, axis: int, native: int, size: int, half: bool) -> torch.Tensor:
    """Linear interpolation of one frequency axis at the normalised frequencies ``k / size`` of another length.

    A full axis is periodic in frequency, so its upper bins are the negative frequencies at any length; a half axis,
    which real transforms have, ends at Nyquist.
    """
    bins = size // 2 + 1 if half else size
    position = torch.arange(bins, device=spectrum.device, dtype=torch.float64) * (native / size)
    lower = torch.floor(position)
    fraction = (position - lower).to(spectrum.dtype)
    low = lower.to(torch.int64)
    high = low + 1
    if half:
        last = spectrum.shape[axis] - 1
        low, high = low.clamp(max=last), high.clamp(max=last)
    else:
        low, high = torch.remainder(low, native), torch.remainder(high, native)
    shape = [1] * spectrum.dim()
    shape[axis] = bins
    return torch.lerp(spectrum.index_select(axis, low), spectrum.index_select(axis, high), fraction.reshape(shape))


def resample_spectrum(spectrum: torch.Tensor, native_size: list[int], size: list[int]) -> torch.Tensor:
    """Resample a spectral map to another spatial size on the normalised frequency grid.

    Args:
        spectrum: map of shape ``(C, *half_spectrum, 2)`` as laid out by ``torch.fft.rfftn`` over an image of
            ``native_size``, real and imaginary part on the last axis.
        native_size: spatial size that the map belongs to.
        size: spatial size that is wanted.

    Returns:
        The map of shape ``(C, *half_spectrum of size, 2)``; ``spectrum`` itself where the sizes are equal.
    """
    last = len(size) - 1
    for i in range(len(size)):
        if native_size[i] != size[i]:
            spectrum = _resample_axis(spectrum, i + 1, native_size[i], size[i], i == last)
    return spectrum


class FFParser(nn.Module):
    """Feature-Frequency Parser: a learned filter over the spectrum of a feature map.

    ``M = FFT(m); M' = A * M; m' = IFFT(M')`` with the transforms over the spatial axes and a learned complex map ``A``
    of the spectrum's shape per channel (Eqs. 4-6 of Wu et al., "MedSegDiff: Medical Image Segmentation with Diffusion
    Probabilistic Model", MIDL 2023, https://arxiv.org/abs/2211.00611). Feature maps are real, so ``A`` is held on the
    half spectrum of ``torch.fft.rfftn``; the other half follows from Hermitian symmetry and the output is real.

    The map is the identity (all-pass) at construction. At a spatial size other than ``spatial_size`` it is resampled
    on the normalised frequency grid: the same filter, in cycles per sample.

    Args:
        channels: number of channels of the feature map.
        spatial_size: spatial size at which the map is exact, one number for all axes or one for each.
        spatial_dims: number of spatial dimensions, 2 or 3.

    Raises:
        ValueError: when ``spatial_dims`` is not 2 or 3, or ``channels`` or a ``spatial_size`` is not positive.

    Example:
        >>> parser = FFParser(channels=8, spatial_size=(32, 48), spatial_dims=2)
        >>> x = torch.rand(2, 8, 20, 33)  # any other size
        >>> torch.allclose(parser(x), x, atol=1e-5)  # all-pass at construction
        True
    """

    def __init__(self, channels: int, spatial_size: Sequence[int] | int, spatial_dims: int) -> None:
        super().__init__()
        if spatial_dims not in (2, 3):
            raise ValueError(f"spatial_dims must be 2 or 3, got {spatial_dims}.")
        size = ensure_tuple_rep(spatial_size, spatial_dims)
        if channels < 1 or min(size) < 1:
            raise ValueError(f"channels and spatial_size must be positive, got {channels} and {size}.")
        self.channels = channels
        self.spatial_dims = spatial_dims
        self.spatial_size: list[int] = [int(s) for s in size]
        weight = torch.zeros(channels, *size[:-1], size[-1] // 2 + 1, 2)
        weight[..., 0] = 1.0
        self.weight = nn.Parameter(weight)

    def extra_repr(self) -> str:
        return f"channels={self.channels}, spatial_size={self.spatial_size}"

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """
        Args:
            x: feature map of shape ``(B, C, *spatial)``.

        Returns:
            The filtered map, of the same shape and dtype. The arithmetic is float32 whatever the dtype of ``x``: half
            precision has neither the range for a spectrum's zero frequency nor transforms at every size.
        """
        if not torch.jit.is_scripting():  # noqa: SIM102 (of one condition both parts would be scripted)
            if torch.onnx.is_in_onnx_export():
                return filter_by_products(x.float(), self.weight.float(), self.spatial_size).to(x.dtype)
        size: list[int] = [int(s) for s in x.shape[2:]]
        axes: list[int] = [i + 2 for i in range(self.spatial_dims)]
        weight = torch.view_as_complex(resample_spectrum(self.weight.float(), self.spatial_size, size).contiguous())
        spectrum = torch.fft.rfftn(x.float(), dim=axes)
        return torch.fft.irfftn(spectrum * weight, s=size, dim=axes).to(x.dtype)

    def gain(self) -> torch.Tensor:
        """Magnitude ``|A|`` of the filter, of shape ``(C, *half_spectrum)``: 1 passes, 0 stops."""
        return torch.linalg.vector_norm(self.weight.detach(), dim=-1)
