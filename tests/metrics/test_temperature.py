# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar

from medsegdiff_monai.metrics import MemberLogits, binary_log_loss, fit_temperature
from medsegdiff_monai.networks.fusion import scale_temperature


def drawn(temperature: float, members: int = 1, size: int = 300, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Members ``(1, N, 1, size, size)`` with references that come true as the members' mean at a temperature says."""
    rng = np.random.default_rng(seed)
    common = rng.normal(-2.0, 3.0, (1, 1, 1, size, size))
    logits = torch.from_numpy(common + rng.normal(0.0, 1.0, (1, members, 1, size, size))).clamp(-13, 13)
    truth = torch.sigmoid(logits / temperature).mean(1)
    return torch.sigmoid(logits), (torch.from_numpy(rng.random(truth.shape)) < truth).float()


def gathered(members: torch.Tensor, reference: torch.Tensor) -> MemberLogits:
    kept = MemberLogits()
    kept.update(members, reference)
    return kept


@pytest.mark.parametrize("members", [1, 4])
@pytest.mark.parametrize("temperature", [0.6, 1.0, 1.7])
def test_known_temperature_is_found(temperature: float, members: int) -> None:
    fit = fit_temperature(gathered(*drawn(temperature, members)))
    assert fit.temperature == pytest.approx(temperature, rel=0.02)
    assert not fit.at_bound


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_loss_and_errors_are_those_of_tempered_members(temperature: float) -> None:
    members, reference = drawn(1.3, 5, size=120)
    members[..., :60] = members[..., :60].clamp(max=5e-5)  # half of the image is sure to be empty, as most images are
    reference[..., :60] = 0
    kept = gathered(members, reference)
    assert kept.voxels == pytest.approx(120 * 120)
    mean = scale_temperature(members.float(), temperature).mean(1)
    assert kept.loss(temperature) == pytest.approx(float(binary_log_loss(mean, reference).mean()), rel=2e-3)
    bins, errors = kept.reliability(temperature).bins(), kept.reliability(temperature).errors()
    assert sum(bins.count) == pytest.approx(120 * 120)
    total = sum(n * p for n, p in zip(bins.count, bins.confidence) if p is not None)
    assert total == pytest.approx(float(mean.sum()), rel=1e-4)
    assert errors["brier"] == pytest.approx(float(((mean - reference) ** 2).mean()), rel=1e-3)
    assert errors["nll"] == pytest.approx(float(binary_log_loss(mean, reference).mean()), rel=2e-3)


def test_sure_voxels_do_not_move_the_temperature_from_that_of_all_voxels() -> None:
    members, reference = drawn(1.5, 3, size=100)
    members[..., :80] = 10 ** (-3.0 * members[..., :80] - 4.0)  # most voxels, between 1e-7 and 1e-4
    reference[..., :80] = 0

    def loss(log: float) -> float:
        return float(binary_log_loss(scale_temperature(members.double(), float(np.exp(log))).mean(1), reference).mean())

    expected = np.exp(minimize_scalar(loss, bounds=(-2, 2), method="bounded").x)
    assert fit_temperature(gathered(members, reference)).temperature == pytest.approx(expected, rel=2e-3)


def test_parts_of_cases_and_cases_in_turn_are_the_same() -> None:
    members, reference = drawn(1.4, 2, size=60)
    parts = MemberLogits()
    for half in (slice(0, 30), slice(30, 60)):
        parts.update(members[..., half], reference[..., half])
    assert parts.loss(1.2) == pytest.approx(gathered(members, reference).loss(1.2), rel=1e-6)


def test_end_of_the_search_is_said() -> None:
    members, reference = drawn(1.0, size=50)
    fit = fit_temperature(gathered(members, (members[:, 0] > 0.5).float()))  # never wrong: the colder the better
    assert fit.at_bound
    assert fit.temperature == pytest.approx(0.1, rel=0.02)
    assert fit_temperature(gathered(members, reference), (2.0, 5.0)).at_bound


def test_nothing_to_fit_to_is_refused() -> None:
    with pytest.raises(ValueError, match="no voxel"):
        fit_temperature(MemberLogits())
