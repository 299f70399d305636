# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0


from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from medsegdiff_monai.networks.schedulers import (
    DDIMSubsequenceScheduler,
    DDPMSubsequenceScheduler,
    DPMSolverScheduler,
    linear_step,
    log_snr_timesteps,
)

PREDICTIONS = ["epsilon", "v_prediction", "sample"]
SCHEDULERS = [DPMSolverScheduler, DDIMSubsequenceScheduler, DDPMSubsequenceScheduler]
ABAR = np.cumprod(1.0 - np.linspace(1e-4, 2e-2, 1000))
SMALL = {"num_train_timesteps": 20, "beta_start": 1e-3, "beta_end": 0.3}

all_schedulers = pytest.mark.parametrize("scheduler_class", SCHEDULERS, ids=lambda c: c.__name__)
all_predictions = pytest.mark.parametrize("prediction_type", PREDICTIONS)


@all_schedulers
def test_step_coefficients_drive_step(scheduler_class):
    scheduler = scheduler_class(prediction_type="sample")
    scheduler.set_timesteps(6)
    coefficients = scheduler.step_coefficients(scheduler.timesteps.tolist()).tolist()
    generator, same = torch.Generator().manual_seed(0), torch.Generator().manual_seed(0)
    x, previous = torch.ones(3), torch.zeros(3)
    for i, t in enumerate(scheduler.timesteps):
        original = torch.full((3,), 0.1 * (i + 1))
        noise = torch.randn(3, generator=same) if coefficients[i][3] else None
        expected = linear_step(coefficients[i], x, original, previous, noise)
        x, _ = scheduler.step(original, t, x, generator=generator)
        torch.testing.assert_close(x, expected)
        previous = original


@all_predictions
def test_clipping_bounds_the_estimate(prediction_type):
    scheduler = DPMSolverScheduler(
        prediction_type=prediction_type, clip_sample=True, clip_sample_min=-0.3, clip_sample_max=0.2
    )
    x = torch.linspace(-5, 5, 11)
    _, original = scheduler.step(2 * x, 999, x)
    assert (original.min(), original.max()) == (pytest.approx(-0.3), pytest.approx(0.2))


@pytest.mark.parametrize("schedule", ["linear_beta", "scaled_linear_beta", "sigmoid_beta", "cosine"])
@all_schedulers
def test_every_noise_schedule_of_monai_gives_finite_steps(scheduler_class, schedule):
    scheduler = scheduler_class(schedule=schedule)
    for steps in (1, 2, 10, 1000):
        assert torch.isfinite(scheduler.step_coefficients(scheduler.spread(steps))).all()


@pytest.mark.parametrize("spacing", ["log_snr", "uniform"])
@settings(max_examples=100, deadline=None, derandomize=True)
@given(steps=st.integers(1, 1000))
def test_timesteps_are_distinct_for_any_number_of_steps(spacing, steps):
    scheduler = _cached(spacing)
    timesteps = scheduler.spread(steps)
    assert len(timesteps) == steps
    assert timesteps[0] == 999
    assert all(a > b for a, b in pairwise(timesteps))
    assert timesteps[-1] >= 0
    assert steps == 1 or timesteps[-1] == 0
    assert torch.isfinite(scheduler.step_coefficients(timesteps)).all()


_SPACED: dict[str, DPMSolverScheduler] = {}


def _cached(spacing: str) -> DPMSolverScheduler:
    if spacing not in _SPACED:
        _SPACED[spacing] = DPMSolverScheduler(timestep_spacing=spacing)
    return _SPACED[spacing]


@settings(max_examples=50, deadline=None, derandomize=True)
@given(data=st.data())
def test_log_snr_timesteps_are_distinct_for_any_schedule(data):
    length = data.draw(st.integers(1, 60))
    betas = data.draw(st.lists(st.floats(1e-5, 0.9), min_size=length, max_size=length))
    steps = data.draw(st.integers(1, length))
    timesteps = log_snr_timesteps(torch.cumprod(1 - torch.tensor(betas, dtype=torch.float64), 0), steps)
    assert len(timesteps) == steps
    assert timesteps[0] == length - 1
    assert timesteps[-1] >= 0
    assert all(a > b for a, b in pairwise(timesteps))


@pytest.mark.parametrize("steps", [5, 10])
def test_few_steps_are_uniform_in_log_snr(steps):
    timesteps = DPMSolverScheduler().spread(steps)
    log_snr = np.log(ABAR[timesteps] / (1 - ABAR[timesteps]))
    gaps = np.diff(log_snr)
    np.testing.assert_allclose(gaps, gaps.mean(), rtol=0.05)


def test_uniform_steps_are_uniform_in_time():
    assert DPMSolverScheduler(timestep_spacing="uniform").spread(4) == [999, 666, 333, 0]


@all_schedulers
@pytest.mark.parametrize("steps", [-1, 0, 21])
def test_refuses_an_impossible_number_of_steps(scheduler_class, steps):
    scheduler = scheduler_class(**SMALL)
    for method in (scheduler.spread, scheduler.set_timesteps):
        with pytest.raises(ValueError, match=f"between 1 and the schedule's 20 trained timesteps, got {steps}"):
            method(steps)


@all_schedulers
@pytest.mark.parametrize(
    ("chain", "message"),
    [
        ([3, 9, 1], "strictly falling"),
        ([9, 9], "strictly falling"),
        ([], "strictly falling"),
        ([20, 1], "within 0 and 19"),
        ([5, -1], "within 0 and 19"),
    ],
    ids=str,
)
def test_refuses_an_impossible_chain(scheduler_class, chain, message):
    with pytest.raises(ValueError, match=message):
        scheduler_class(**SMALL).set_timesteps(timesteps=chain)


@all_schedulers
def test_refuses_a_timestep_that_is_not_in_the_chain(scheduler_class):
    scheduler = scheduler_class(**SMALL)
    scheduler.set_timesteps(timesteps=[19, 7, 0])
    with pytest.raises(ValueError, match=r"Timestep 8 is not in the chain \[19, 7, 0\]"):
        scheduler.step(torch.zeros(1), 8, torch.zeros(1))


def test_refuses_unknown_settings():
    with pytest.raises(ValueError, match=r"prediction_type must be one of .*sample.*, got 'mask'"):
        DPMSolverScheduler(prediction_type="mask")
    with pytest.raises(ValueError, match="timestep_spacing must be one of log_snr, uniform, got 'even'"):
        DPMSolverScheduler(timestep_spacing="even")
    with pytest.raises(ValueError, match=r"eta must be within 0 and 1, got 1\.5"):
        DDIMSubsequenceScheduler(eta=1.5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_noising_a_batch_of_another_precision_leaves_the_schedule_alone(dtype):
    scheduler = DPMSolverScheduler()
    before = scheduler.alphas_cumprod.double().tolist()
    batch = torch.ones(2, 1, 4, 4, dtype=dtype)
    scheduler.add_noise(batch, batch, torch.tensor([0, 999]))
    scheduler.get_velocity(batch, batch, torch.tensor([0, 999]))
    assert scheduler.alphas_cumprod.double().tolist() == before
