# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

"""The filter of exported files, against NumPy's transforms and against the network's own."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from medsegdiff_monai.networks.blocks import FFParser
from medsegdiff_monai.networks.blocks.dft import filter_by_products


def map_and_input(native: tuple[int, ...], size: tuple[int, ...]) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    half = (*native[:-1], native[-1] // 2 + 1)
    return torch.randn(3, *half, 2, generator=generator), torch.randn(2, 3, *size, generator=generator)


@pytest.mark.parametrize(
    "size",
    [(8, 8), (7, 9), (6, 11), (9, 4), (1, 6), (6, 1), (5, 4, 6), (7, 6, 5)],
    ids=lambda s: "x".join(map(str, s)),
)
def test_equals_numpys_transforms(size: tuple[int, ...]) -> None:
    weight, x = map_and_input(size, size)
    axes = tuple(range(2, 2 + len(size)))
    held = weight.double().numpy()
    spectrum = np.fft.rfftn(x.double().numpy(), axes=axes) * (held[..., 0] + 1j * held[..., 1])
    expected = np.fft.irfftn(spectrum, s=size, axes=axes)
    np.testing.assert_allclose(filter_by_products(x, weight, list(size)).numpy(), expected, atol=2e-5)


@pytest.mark.parametrize(
    ("native", "size"),
    [
        ((64, 48), (48, 64)),
        ((64, 48), (97, 33)),
        ((63, 47), (40, 100)),
        ((2, 2), (5, 6)),
        ((1, 1), (4, 5)),
        ((9, 8), (1, 1)),
        ((16, 9, 12), (7, 20, 11)),
        ((5, 6, 7), (6, 5, 8)),
    ],
)
def test_equals_the_networks_own_at_other_sizes(native: tuple[int, ...], size: tuple[int, ...]) -> None:
    weight, x = map_and_input(native, size)
    parser = FFParser(3, native, len(native))
    parser.weight.data = weight
    with torch.no_grad():
        expected = parser(x)
    assert (expected - x).abs().max() > 0.1
    torch.testing.assert_close(filter_by_products(x, weight, list(native)), expected, atol=2e-5, rtol=0)


def test_a_shift_by_a_sample_is_a_shift_at_a_large_odd_size() -> None:
    frequency = np.fft.rfftfreq(255)
    shift = np.broadcast_to(np.exp(-2j * np.pi * frequency), (1, 4, len(frequency)))
    weight = torch.from_numpy(np.stack([shift.real, shift.imag], -1).copy()).float()
    x = torch.randn(1, 1, 4, 255, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(filter_by_products(x, weight, [4, 255]), x.roll(1, -1), atol=1e-5, rtol=0)
