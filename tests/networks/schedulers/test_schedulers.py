# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0


from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from monai.networks.schedulers import DDIMScheduler, DDPMScheduler

from medsegdiff_monai.networks.schedulers import (
    DDIMSubsequenceScheduler,
    DDPMSubsequenceScheduler,
    DPMSolverScheduler,
)

MEAN, STD = 0.5, 0.2
PREDICTIONS = ["epsilon", "v_prediction", "sample"]
SCHEDULERS = [DPMSolverScheduler, DDIMSubsequenceScheduler, DDPMSubsequenceScheduler]
ABAR = np.cumprod(1.0 - np.linspace(1e-4, 2e-2, 1000))

all_predictions = pytest.mark.parametrize("prediction_type", PREDICTIONS)


def gaussian_denoiser(x: torch.Tensor, abar: float, prediction_type: str = "sample") -> torch.Tensor:
    """What a perfect network predicts where ``x_0`` is ``N(MEAN, STD^2)``: from the posterior mean of ``x_0``."""
    alpha, sigma = abar**0.5, (1.0 - abar) ** 0.5
    original = MEAN + alpha * STD**2 / (abar * STD**2 + sigma**2) * (x - alpha * MEAN)
    noise = (x - alpha * original) / sigma
    return {"epsilon": noise, "v_prediction": alpha * noise - sigma * original, "sample": original}[prediction_type]


def sampled_mean_and_std(scheduler, prediction_type: str) -> tuple[float, float]:
    """Moments of the samples that a deterministic sampler grows from ``N(0, 1)``.

    With the denoiser of a Gaussian the chain is an affine function of its start: where 0 and 1 end says it all.
    """
    x = torch.tensor([0.0, 1.0], dtype=torch.float64)
    for t in scheduler.timesteps:
        output = gaussian_denoiser(x, float(scheduler.alphas_cumprod[t]), prediction_type)
        x, _ = scheduler.step(output, t, x)
    return float(x[0]), float(x[1] - x[0])


def ancestral_mean_and_std(scheduler, prediction_type: str) -> tuple[float, float]:
    """Moments of the samples that a stochastic one-step sampler grows from ``N(0, 1)``, step by step."""
    mean, variance = 0.0, 1.0
    for t in scheduler.timesteps:
        x = torch.tensor([mean, mean + 1.0, mean], dtype=torch.float64)
        noise = torch.randn(3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        output = gaussian_denoiser(x, float(scheduler.alphas_cumprod[t]), prediction_type)
        y, _ = scheduler.step(output, t, x, generator=torch.Generator().manual_seed(0))
        noise_weight = float((y[2] - y[0]) / (noise[2] - noise[0]))
        y = y - noise_weight * noise
        mean, variance = float(y[0]), float(y[1] - y[0]) ** 2 * variance + noise_weight**2
    return mean, variance**0.5


@pytest.mark.parametrize("steps", [10, 20, 50, 1000])
@all_predictions
def test_dpm_solver_samples_a_gaussian(prediction_type, steps):
    scheduler = DPMSolverScheduler(prediction_type=prediction_type)
    scheduler.set_timesteps(steps)
    mean, std = sampled_mean_and_std(scheduler, prediction_type)
    assert mean == pytest.approx(MEAN, abs=0.005)
    assert std == pytest.approx(STD, rel=0.02)


@pytest.mark.parametrize(
    ("scheduler_class", "moments", "steps", "tolerance"),
    [
        (DDIMSubsequenceScheduler, sampled_mean_and_std, 100, 0.03),
        (DDIMSubsequenceScheduler, sampled_mean_and_std, 1000, 0.01),
        (DDPMSubsequenceScheduler, ancestral_mean_and_std, 100, 0.05),
        (DDPMSubsequenceScheduler, ancestral_mean_and_std, 1000, 0.02),
    ],
)
@all_predictions
def test_first_order_samplers_of_a_gaussian(prediction_type, scheduler_class, moments, steps, tolerance):
    scheduler = scheduler_class(prediction_type=prediction_type)
    scheduler.set_timesteps(steps)
    mean, std = moments(scheduler, prediction_type)
    assert mean == pytest.approx(MEAN, abs=0.005)
    assert std == pytest.approx(STD, rel=tolerance)


def test_monai_ddim_spreads_its_steps_in_one_way_and_takes_them_in_another():
    """Why the package has samplers of its own: ours is right at ten steps, where MONAI 1.6.1's is 25 % off."""
    ours = DPMSolverScheduler(prediction_type="epsilon")
    theirs = DDIMScheduler(clip_sample=False)
    for scheduler in (ours, theirs):
        scheduler.set_timesteps(10)
    assert sampled_mean_and_std(ours, "epsilon")[1] == pytest.approx(STD, rel=0.02)
    assert sampled_mean_and_std(theirs, "epsilon")[1] == pytest.approx(0.151, abs=0.002)

    x = torch.linspace(-2, 2, 5, dtype=torch.float64)
    first, second = (int(t) for t in theirs.timesteps[-3:-1])
    noise = gaussian_denoiser(x, ABAR[first], "epsilon")
    original = (x - (1 - ABAR[first]) ** 0.5 * noise) / ABAR[first] ** 0.5
    expected = ABAR[second] ** 0.5 * original + (1 - ABAR[second]) ** 0.5 * noise
    same_chain = DDIMSubsequenceScheduler(prediction_type="epsilon")
    same_chain.set_timesteps(timesteps=theirs.timesteps.tolist())
    assert (theirs.step(noise, first, x)[0] - expected).abs().max() > 0.01
    torch.testing.assert_close(same_chain.step(noise, first, x)[0], expected, atol=1e-4, rtol=1e-4)


def test_dpm_solver_takes_the_steps_of_the_paper():
    """Algorithm 2 of Lu et al. (arXiv 2211.01095) with its ``r_i = h_(i-1) / h_i``, on steps of very unequal length."""
    chain = [900, 600, 100, 20, 3]
    scheduler = DPMSolverScheduler(prediction_type="sample")
    scheduler.set_timesteps(timesteps=chain)
    alpha, sigma = ABAR[chain] ** 0.5, (1 - ABAR[chain]) ** 0.5
    h = np.diff(np.log(alpha / sigma))
    rng = np.random.default_rng(0)
    x, originals = rng.normal(size=7), rng.normal(size=(5, 7))
    state = torch.from_numpy(x)
    for i in range(4):
        estimate = originals[i]
        if i > 0:
            r = h[i - 1] / h[i]
            estimate = (1 + 1 / (2 * r)) * originals[i] - 1 / (2 * r) * originals[i - 1]
        x = sigma[i + 1] / sigma[i] * x - alpha[i + 1] * (np.exp(-h[i]) - 1) * estimate
        state, _ = scheduler.step(torch.from_numpy(originals[i]), chain[i], state)
        np.testing.assert_allclose(state.numpy(), x, atol=1e-3, rtol=1e-3)
        state = torch.from_numpy(x)


def ode_solution(x: float, abar_s: float, abar_t: float) -> float:
    """Closed form of the probability flow from time s to time t for ``N(MEAN, STD^2)``: quantiles are kept."""
    spread = ((abar_t * STD**2 + 1 - abar_t) / (abar_s * STD**2 + 1 - abar_s)) ** 0.5
    return MEAN * abar_t**0.5 + (x - MEAN * abar_s**0.5) * spread


def error_at(scheduler, chain: list[int], x: float) -> float:
    """Error of the state at the last timestep of the chain against the closed form."""
    scheduler.set_timesteps(timesteps=chain)
    state = torch.tensor([x], dtype=torch.float64)
    for t in chain[:-1]:
        state, _ = scheduler.step(gaussian_denoiser(state, float(scheduler.alphas_cumprod[t])), t, state)
    abar = scheduler.alphas_cumprod.double()
    return abs(float(state) - ode_solution(x, float(abar[chain[0]]), float(abar[chain[-1]])))


@pytest.mark.parametrize(
    ("scheduler_class", "order"), [(DPMSolverScheduler, 2), (DDIMSubsequenceScheduler, 1)], ids=["dpm_solver", "ddim"]
)
@pytest.mark.parametrize("uneven", [1, 3], ids=["even", "uneven"])
@pytest.mark.parametrize("x", [-1.0, 1.5])
def test_order_of_convergence(scheduler_class, order, x, uneven):
    """Halving the step divides the error by 2 to the power of the order, also where long and short steps alternate."""
    scheduler = scheduler_class(
        20000, beta_start=5e-6, beta_end=1e-3, prediction_type="sample", timestep_spacing="uniform"
    )
    abar = scheduler.alphas_cumprod.double()
    log_snr = torch.log(abar / (1 - abar))
    errors = []
    for steps in (10, 20, 40, 80):
        lengths = torch.tensor([0] + [1, uneven] * (steps // 2), dtype=torch.float64)
        wanted = torch.lerp(log_snr[18000], log_snr[2000], lengths.cumsum(0) / lengths.sum())
        chain = torch.searchsorted(-log_snr, -wanted).tolist()
        errors.append(error_at(scheduler, chain, x))
    for coarse, fine in pairwise(errors):
        assert 0.75 * 2**order < coarse / fine < 1.3 * 2**order


@pytest.mark.parametrize("chain", [[999, 700, 300, 50], [900, 899, 3, 0], [500]], ids=str)
@all_predictions
def test_ddim_equals_the_closed_form_on_any_chain(prediction_type, chain):
    """Eq. 12 of the DDIM paper at eta = 0: the noise that the prediction implies is kept."""
    scheduler = DDIMSubsequenceScheduler(prediction_type=prediction_type)
    scheduler.set_timesteps(timesteps=chain)
    x = torch.linspace(-2, 2, 5, dtype=torch.float64)
    for t, abar, abar_next in zip(chain, ABAR[chain], [*ABAR[chain[1:]], 1.0]):
        output = gaussian_denoiser(x, abar, prediction_type)
        original, noise = gaussian_denoiser(x, abar, "sample"), gaussian_denoiser(x, abar, "epsilon")
        expected = abar_next**0.5 * original + (1 - abar_next) ** 0.5 * noise
        x, estimate = scheduler.step(output, t, x)
        torch.testing.assert_close(estimate, original, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(x, expected, atol=1e-4, rtol=1e-4)
        x = expected


def posterior(abar_s: float, abar_t: float) -> tuple[float, float, float]:
    """Weights of ``x_s`` and ``x_0`` in the mean of ``q(x_t | x_s, x_0)``, and its standard deviation.

    By Bayes' rule from ``q(x_s | x_t) = N(sqrt(a) x_t, 1 - a)``, ``a = abar_s / abar_t``, and ``q(x_t | x_0)``.
    """
    a = abar_s / abar_t
    precision = a / (1 - a) + 1 / (1 - abar_t)
    return a**0.5 / (1 - a) / precision, abar_t**0.5 / (1 - abar_t) / precision, precision**-0.5


@pytest.mark.parametrize("eta", [0.5, 1.0])
@pytest.mark.parametrize("chain", [list(range(990, -1, -30)), [999, 998, 500, 30, 29, 2]], ids=["strided", "irregular"])
def test_stochastic_steps_equal_the_posterior_on_any_chain(chain, eta):
    """At eta = 1 it is the posterior; at any eta the marginal ``q(x_t | x_0)`` is kept (Eqs. 12 and 16 of DDIM)."""
    scheduler = DDIMSubsequenceScheduler(prediction_type="sample", eta=eta)
    if eta == 1.0:
        scheduler = DDPMSubsequenceScheduler(prediction_type="sample")
    scheduler.set_timesteps(timesteps=chain)
    for s, t in pairwise(chain):
        seeded = torch.Generator().manual_seed(s)
        noise = torch.randn(1000, generator=torch.Generator().manual_seed(s), dtype=torch.float64)
        x = torch.linspace(-2, 2, 1000, dtype=torch.float64)
        original = torch.cos(7 * x)
        actual, _ = scheduler.step(original, s, x, generator=seeded)
        columns = torch.stack([x, original, noise], 1)
        weights = torch.linalg.lstsq(columns, actual[:, None]).solution[:, 0]
        torch.testing.assert_close(columns @ weights, actual)

        of_x, of_original, deviation = posterior(ABAR[s], ABAR[t])
        assert weights[2] == pytest.approx(eta * deviation, rel=2e-3)
        if eta == 1.0:
            assert weights[0] == pytest.approx(of_x, rel=2e-3)
            assert weights[1] == pytest.approx(of_original, rel=2e-3)
        assert weights[0] * ABAR[s] ** 0.5 + weights[1] == pytest.approx(ABAR[t] ** 0.5, rel=1e-4)
        assert weights[0] ** 2 * (1 - ABAR[s]) + weights[2] ** 2 == pytest.approx(1 - ABAR[t], rel=2e-3)


@all_predictions
@pytest.mark.parametrize("clip", [False, True], ids=["free", "clipped"])
def test_ancestral_sampling_on_every_timestep_equals_monai(prediction_type, clip):
    arguments = {"num_train_timesteps": 100, "prediction_type": prediction_type, "clip_sample": clip}
    ours, theirs = DDPMSubsequenceScheduler(**arguments), DDPMScheduler(**arguments)
    assert torch.equal(ours.timesteps, theirs.timesteps)
    states = []
    for scheduler in (ours, theirs):
        generator = torch.Generator().manual_seed(0)
        x = torch.randn(2, 1, 4, 4, generator=generator)
        for t in scheduler.timesteps:
            output = gaussian_denoiser(3 * x, float(theirs.alphas_cumprod[t]), prediction_type)
            x, _ = scheduler.step(output, t, x, generator=generator)
        states.append(x)
    torch.testing.assert_close(*states, atol=1e-3, rtol=1e-3)


def test_the_last_step_is_the_estimate_itself():
    for scheduler_class in SCHEDULERS:
        scheduler = scheduler_class(prediction_type="sample")
        scheduler.set_timesteps(7)
        x, original = torch.randn(2, 8, generator=torch.Generator().manual_seed(0))
        for t in scheduler.timesteps:
            x, _ = scheduler.step(original, t, x)
        torch.testing.assert_close(x, original)


@pytest.mark.parametrize("scheduler_class", [DPMSolverScheduler, DDIMSubsequenceScheduler], ids=lambda c: c.__name__)
def test_a_chain_starts_afresh(scheduler_class):
    """No history of one image, or of a chain that was left, enters the next."""
    scheduler = scheduler_class(prediction_type="sample")
    x = torch.randn(4, generator=torch.Generator().manual_seed(0))

    def sample() -> torch.Tensor:
        state = x
        for t in scheduler.timesteps:
            state, _ = scheduler.step(gaussian_denoiser(state, float(scheduler.alphas_cumprod[t])), t, state)
        return state

    scheduler.set_timesteps(5)
    expected = sample()
    assert torch.equal(sample(), expected)
    scheduler.step(100 * x, scheduler.timesteps[0], x)
    assert torch.equal(sample(), expected)
