# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0


from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from medsegdiff_monai.networks.blocks import FFParser, resample_spectrum

forms = pytest.mark.parametrize("form", [lambda m: m, torch.jit.script], ids=["eager", "scripted"])


def random_map(parser: FFParser, seed: int = 0) -> FFParser:
    generator = torch.Generator().manual_seed(seed)
    parser.weight.data = torch.randn(parser.weight.shape, generator=generator)
    return parser


def set_map(parser: FFParser, transfer) -> FFParser:
    """Give every channel the map ``transfer(f_1, ..., f_d)`` of the frequencies in cycles per sample."""
    *rest, last = parser.spatial_size
    frequencies = np.meshgrid(*[np.fft.fftfreq(n) for n in rest], np.fft.rfftfreq(last), indexing="ij")
    values = transfer(*frequencies) + 0j
    parser.weight.data = torch.from_numpy(np.stack([values.real, values.imag], -1)).float().expand_as(parser.weight)
    return parser


def hermitian_extension(half: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """Full-spectrum map ``(C, *size)`` of the real filter whose half spectrum is ``half``.

    ``A(-k)`` is the conjugate of ``A(k)``. Where the half spectrum states both of them, a real filter has their mean.
    """
    axes = tuple(range(1, 1 + len(size)))
    bins = half.shape[-1]
    stated = np.zeros((*half.shape[:-1], size[-1]), dtype=complex)
    stated[..., :bins] = half
    count = np.zeros(stated.shape)
    count[..., :bins] = 1.0

    def mirror(a):
        return np.roll(np.flip(a, axes), 1, axes)

    return (stated + mirror(stated).conj()) / (count + mirror(count))


@forms
@pytest.mark.parametrize(
    "size",
    [(8, 8), (7, 9), (6, 11), (9, 4), (1, 6), (5, 4, 6), (7, 6, 5), (4, 4, 4)],
    ids=lambda s: "x".join(map(str, s)),
)
def test_equals_the_formula_over_the_full_complex_spectrum(size, form):
    parser = random_map(FFParser(3, size, len(size)))
    x = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(1))

    axes = tuple(range(2, 2 + len(size)))
    weight = parser.weight.detach().double().numpy()
    full = hermitian_extension(weight[..., 0] + 1j * weight[..., 1], size)
    expected = np.fft.ifftn(full * np.fft.fftn(x.double().numpy(), axes=axes), axes=axes)

    assert np.abs(expected.imag).max() < 1e-12
    with torch.no_grad():
        actual = form(parser)(x)
    np.testing.assert_allclose(actual.numpy(), expected.real, atol=2e-5)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.data())
def test_is_all_pass_at_construction_at_any_size(data):
    dims = data.draw(st.sampled_from([2, 3]))
    sizes = st.lists(st.integers(1, 13), min_size=dims, max_size=dims)
    native, size = data.draw(sizes), data.draw(sizes)
    x = torch.randn(2, 2, *size, generator=torch.Generator().manual_seed(0))
    y = FFParser(2, native, dims)(x)
    assert y.shape == x.shape
    torch.testing.assert_close(y, x, atol=1e-5, rtol=0)


@forms
@pytest.mark.parametrize(
    ("native", "size"),
    [
        ((64, 48), (64, 48)),
        ((64, 48), (48, 64)),
        ((64, 48), (31, 80)),
        ((64, 48), (97, 33)),
        ((64, 48), (64, 20)),
        ((63, 48), (40, 100)),
        ((48, 32, 32), (20, 32, 41)),
        ((32, 48, 32), (33, 24, 16)),
    ],
)
def test_a_map_that_shifts_by_whole_samples_shifts_at_every_size(native, size, form):
    shifts = (1, -2, 1)[: len(native)]
    parser = set_map(
        FFParser(1, native, len(native)),
        lambda *f: np.exp(-2j * np.pi * sum(s * axis for s, axis in zip(shifts, f))),
    )
    x = torch.randn(1, 1, *size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        y = form(parser)(x)
    expected = torch.roll(x, shifts, dims=tuple(range(2, 2 + len(size))))
    assert (y - expected).square().mean().sqrt() < 0.04


@pytest.mark.parametrize("native", [(64, 64), (63, 65), (40, 72)])
@pytest.mark.parametrize("size", [(64, 64), (50, 90), (81, 37)])
@pytest.mark.parametrize("wave", [(3, 4), (-3, 4), (0, 5), (-6, 0)])
def test_a_fractional_shift_moves_waves_of_positive_and_negative_frequency_alike(native, size, wave):
    shift = (0.75, -1.5)
    parser = set_map(FFParser(1, native, 2), lambda f, g: np.exp(-2j * np.pi * (shift[0] * f + shift[1] * g)))
    rows, columns = np.meshgrid(np.arange(size[0]), np.arange(size[1]), indexing="ij")

    def image(down: float, right: float) -> torch.Tensor:
        phase = wave[0] * (rows - down) / size[0] + wave[1] * (columns - right) / size[1]
        return torch.from_numpy(np.cos(2 * np.pi * phase)).float()[None, None]

    with torch.no_grad():
        y = parser(image(0, 0))
    torch.testing.assert_close(y, image(*shift), atol=0.01, rtol=0)


@pytest.mark.parametrize("size", [(64, 96), (128, 64), (45, 61), (32, 32)])
def test_an_anisotropic_low_pass_is_the_same_filter_at_another_size(size):
    def transfer(f, g):
        return np.exp(-((f + g) ** 2) / 0.02 - (f - g) ** 2 / 0.2) * np.exp(-2j * np.pi * f)

    parser = set_map(FFParser(1, (64, 64), 2), transfer)
    x = torch.randn(1, 1, *size, generator=torch.Generator().manual_seed(0))
    grid = np.meshgrid(np.fft.fftfreq(size[0]), np.fft.fftfreq(size[1]), indexing="ij")
    expected = np.fft.ifft2(transfer(*grid) * np.fft.fft2(x[0, 0].numpy())).real
    with torch.no_grad():
        y = parser(x)[0, 0].numpy()
    assert np.std(y - expected) < 0.02 * np.std(expected)


def test_resampling_to_the_native_size_gives_the_map_itself():
    spectrum = torch.randn(2, 6, 4, 2, generator=torch.Generator().manual_seed(0))
    assert torch.equal(resample_spectrum(spectrum, [6, 7], [6, 7]), spectrum)


@forms
@pytest.mark.parametrize("size", [(8, 8), (7, 13), (8, 6, 5)])
def test_keeps_the_dtype_under_autocast_and_computes_in_float32(size, form):
    parser = random_map(FFParser(2, 8, len(size)))
    x = 1000 * torch.randn(1, 2, *size, generator=torch.Generator().manual_seed(1))
    x = x.bfloat16()
    with torch.no_grad():
        exact = parser(x.float())
        with torch.autocast("cpu", torch.bfloat16):
            y = form(parser)(x)
    assert y.dtype == torch.bfloat16
    torch.testing.assert_close(y, exact.bfloat16())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_module_of_half_precision_filters_at_sizes_without_half_precision_transforms(dtype):
    parser = FFParser(2, 8, 2).to(dtype)
    x = torch.randn(1, 2, 7, 11, generator=torch.Generator().manual_seed(0)).to(dtype)
    y = parser(x)
    assert y.dtype == dtype
    torch.testing.assert_close(y, x, atol=1e-2, rtol=1e-2)


@forms
@pytest.mark.parametrize("size", [(8, 10), (11, 7), (6, 8, 7)])
def test_gradients_reach_the_real_and_the_imaginary_parts(size, form):
    parser = FFParser(2, (8, 10, 8)[: len(size)], len(size))
    x = torch.randn(2, 2, *size, generator=torch.Generator().manual_seed(0), requires_grad=True)
    target = torch.randn(2, 2, *size, generator=torch.Generator().manual_seed(1))
    (form(parser)(x) - target).square().mean().backward()
    assert torch.isfinite(parser.weight.grad).all()
    # The imaginary parts at zero and Nyquist frequency stand for nothing in a real filter.
    inner = parser.weight.grad[..., 1:-1, :].flatten(1, -2)
    assert (inner.abs() > 0).float().mean() > 0.75
    assert inner[..., 0].abs().mean() > 1e-6
    assert inner[..., 1].abs().mean() > 1e-6
    assert x.grad.abs().max() > 0


@pytest.mark.parametrize("size", [(12, 12), (9, 14)])
def test_learns_a_shift_that_takes_both_parts_of_the_map(size):
    generator = torch.Generator().manual_seed(0)
    parser = FFParser(1, 12, 2)
    optimizer = torch.optim.Adam(parser.parameters(), lr=0.1)
    x = torch.randn(32, 1, *size, generator=generator)
    losses = []
    for _ in range(80):
        loss = (parser(x) - torch.roll(x, 1, 2)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[0] > 1.0
    assert losses[-1] < 0.05 * losses[0]


@pytest.mark.parametrize("size", [(8, 8), (11, 6), (6, 7, 8)])
def test_exports(size):
    parser = random_map(FFParser(2, 8, len(size))).eval()
    x = torch.randn(2, 2, *size, generator=torch.Generator().manual_seed(1))
    exported = torch.export.export(parser, (x,))
    other = torch.randn(2, 2, *size, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(exported.module()(other), parser(other))


def test_gain_is_the_magnitude_of_the_map():
    parser = set_map(FFParser(2, (8, 6), 2), lambda f, g: (1 + f) * np.exp(2j * np.pi * g))
    expected = (1 + np.fft.fftfreq(8))[:, None] * np.ones((8, 4))
    np.testing.assert_allclose(parser.gain().numpy(), np.stack([expected] * 2), atol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((4, 8, 1), "spatial_dims must be 2 or 3, got 1"),
        ((4, 8, 4), "spatial_dims must be 2 or 3, got 4"),
        ((0, 8, 2), "must be positive, got 0"),
        ((4, (8, 0), 2), r"must be positive, got 4 and \(8, 0\)"),
    ],
)
def test_refuses_impossible_settings(arguments, message):
    with pytest.raises(ValueError, match=message):
        FFParser(*arguments)
