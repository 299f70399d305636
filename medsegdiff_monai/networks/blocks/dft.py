# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

import math

import torch

__all__ = ["filter_by_products"]


def _rotations(size: int, bins: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosine and sine of ``2 pi j k / size`` for positions j and frequencies k, each of shape ``(size, bins)``."""
    length = torch.scalar_tensor(size, dtype=torch.int64, device=device)
    positions = torch.arange(size, dtype=torch.int64, device=device)
    frequencies = torch.arange(bins, dtype=torch.int64, device=device)
    # Whole turns are left out while the numbers are exact: a float32 angle of many turns would have lost its fraction.
    turns = torch.remainder(positions.unsqueeze(1) * frequencies, length)
    angles = turns.to(torch.float32) * (2.0 * math.pi) / length.to(torch.float32)
    return torch.cos(angles), torch.sin(angles)


def _resampling(native: int, size: int, half: bool, device: torch.device) -> torch.Tensor:
    """Linear interpolation of a frequency axis as a matrix of shape ``(bins of native, bins of size)``.

    The same interpolation as that of ``resample_spectrum``; the identity where the sizes are equal.
    """
    own, bins = (native // 2 + 1, size // 2 + 1) if half else (native, size)
    length = torch.scalar_tensor(size, dtype=torch.float32, device=device)
    position = torch.arange(bins, dtype=torch.float32, device=device) * float(native) / length
    held = torch.arange(own, dtype=torch.float32, device=device).unsqueeze(1)
    if half:  # ends at Nyquist
        return torch.relu(1.0 - (position.clamp(max=float(own - 1)) - held).abs())
    distance = (position - held).abs()
    return torch.relu(1.0 - distance) + torch.relu(1.0 - (float(native) - distance).abs())


def _along(x: torch.Tensor, matrix: torch.Tensor, axis: int) -> torch.Tensor:
    """Product of one axis of ``x`` with the first axis of a matrix, whose second axis takes its place."""
    return torch.matmul(x.transpose(axis, -1), matrix).transpose(axis, -1)


def _resampled(weight: torch.Tensor, native_size: list[int], size: list[int]) -> torch.Tensor:
    """One part, real or imaginary, of a spectral map ``(C, *half_spectrum)`` at another spatial size."""
    last = len(size) - 1
    for i in range(len(size)):
        weight = _along(weight, _resampling(native_size[i], size[i], i == last, weight.device), i + 1)
    return weight


def _turned(
    real: torch.Tensor, imaginary: torch.Tensor, cosine: torch.Tensor, sine: torch.Tensor, axis: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Complex discrete Fourier transform of one axis; with ``-sine`` its inverse, not yet divided by the length."""
    return (
        _along(real, cosine, axis) + _along(imaginary, sine, axis),
        _along(imaginary, cosine, axis) - _along(real, sine, axis),
    )


def _shares(size: list[int], bins: int, device: torch.device) -> torch.Tensor:
    """Share of each bin of a half spectrum in a sample: all but zero and Nyquist stand twice in the whole spectrum."""
    samples = torch.ones((), device=device)
    for n in size:
        samples = samples * torch.scalar_tensor(n, dtype=torch.float32, device=device)
    length = torch.scalar_tensor(size[-1], dtype=torch.int64, device=device)
    twice = 2 * torch.arange(bins, dtype=torch.int64, device=device)
    times = 2.0 - torch.eq(twice, 0).to(torch.float32) - torch.eq(twice, length).to(torch.float32)
    return times / samples


def filter_by_products(x: torch.Tensor, weight: torch.Tensor, native_size: list[int]) -> torch.Tensor:
    """Filter the spectrum of a feature map with nothing but sums and products, for files that other programs run.

    What ``irfftn(rfftn(x) * weight)`` is with the map resampled to the size of ``x``: the discrete Fourier transforms
    are products with their matrices, which every runtime has, on every device and at every size. (Few runtimes have
    ONNX's DFT operator, and fewer its inverse for a half spectrum.) An axis of n costs n products an element in place
    of log n: at the sizes of feature maps no more than a convolution. No size is taken for a constant.

    Args:
        x: feature map of shape ``(B, C, *spatial)`` in float32.
        weight: spectral map of shape ``(C, *half_spectrum, 2)`` of ``native_size``, see ``FFParser``.
        native_size: spatial size that the map belongs to.

    Returns:
        The filtered map, of the shape of ``x``.
    """
    size = list(x.shape[2:])
    bins = size[-1] // 2 + 1
    gain, shift = (_resampled(weight[..., part], native_size, size) for part in (0, 1))
    rotations = [_rotations(n, n, x.device) for n in size[:-1]]
    cosine, sine = _rotations(size[-1], bins, x.device)

    real, imaginary = torch.matmul(x, cosine), -torch.matmul(x, sine)
    for i, (c, s) in enumerate(rotations):
        real, imaginary = _turned(real, imaginary, c, s, i + 2)
    real, imaginary = real * gain - imaginary * shift, real * shift + imaginary * gain
    for i, (c, s) in enumerate(rotations):
        real, imaginary = _turned(real, imaginary, c, -s, i + 2)
    shares = _shares(size, bins, x.device)
    # Of the bins that stand for themselves alone the imaginary part has no share in a real map: their sine is zero.
    return torch.matmul(real * shares, cosine.transpose(0, 1)) - torch.matmul(imaginary * shares, sine.transpose(0, 1))
